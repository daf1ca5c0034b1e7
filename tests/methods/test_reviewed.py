"""Rows that a reviewer judged wrong leave the training rows, with their kin, and the next run rebuilds."""

import json
from types import SimpleNamespace

from data_builders.core.ledger import Ledger
from recipes import cli
from recipes.artifacts.rows_context import RowsContext
from recipes.methods.select import reviewed


def write_answers(folder, **verdicts):
    folder.mkdir(parents=True)
    answers = {name: {"verdict": verdict, "comment": ""} for name, verdict in verdicts.items()}
    (folder / "answers.json").write_text(json.dumps({"format": 1, "answers": answers}), encoding="utf-8")
    return folder / "answers.json"


def test_a_wrong_row_goes_with_the_rows_of_its_fact_and_each_is_counted(tmp_path):
    file = write_answers(tmp_path / "review-1", a="wrong", b="right", c="unclear")
    rows = [{"id": name, "fact_id": fact} for name, fact in (("a", "f"), ("b", "g"), ("c", "h"), ("d", "f"), ("e", ""))]
    context = RowsContext(1, {}, Ledger(), tmp_path, None)
    kept, dropped = reviewed.select(rows, reviewed.Config(answers=(str(file),)), context)
    assert [row["id"] for row in kept] == ["b", "c", "e"]
    assert [(row["id"], reason.split()[0]) for row, reason in dropped] == [("a", "judged"), ("d", "of")]
    kept, _ = reviewed.select(rows, reviewed.Config(answers=(str(file),), kin=False), context)
    assert [row["id"] for row in kept] == ["b", "c", "d", "e"]


def test_a_run_after_a_review_takes_the_answers_by_itself(tmp_path):
    (tmp_path / "recipes.toml").write_text("[demo]\n[other.steps.data]\n", encoding="utf-8")
    options = SimpleNamespace(runs=tmp_path, name="demo", profile=None, file=tmp_path / "recipes.toml")
    assert cli.sets_of_reviews(options) == []
    write_answers(tmp_path / "demo" / "embedded" / "review-1", a="right")
    assert cli.sets_of_reviews(options) == []
    file = write_answers(tmp_path / "demo" / "embedded" / "review-2", a="wrong")
    (found,) = cli.sets_of_reviews(options)
    assert found == f'rows.select.reviewed.answers=["{file}"]'
    write_answers(tmp_path / "other" / "embedded" / "review-1", a="wrong")
    options.name = "other"
    assert cli.sets_of_reviews(options) == []
