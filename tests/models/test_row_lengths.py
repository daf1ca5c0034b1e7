"""Rows that are longer than a model is given are refused, left out or cut, and counted."""

import json
from types import SimpleNamespace

import pytest

from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.learnt_rows import make_examples
from recipes.models.row_lengths import describe_lengths, fit_rows
from recipes.report.sections import data_section

MOST = 40


def row(number, words, question="How many?", **lineage):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "word " * words}]
    return {"id": f"row{number}", "prompt": turns[:1], "completion": turns[1:], "lineage": lineage}


ROWS = [row(0, 5), row(1, 90, teacher="gpt-9"), row(2, 6), row(3, 80, teacher="gpt-9")]


def fit(rows, how, out=None):
    examples, lengths = make_examples(loader.load_tokenizer(Model()), rows)
    return (examples, *fit_rows(rows, examples, lengths, MOST, how, "sft", out))


def test_rows_that_were_paid_for_are_left_out_and_counted_with_the_reason(tmp_path):
    examples, kept, lengths, metrics = fit(ROWS, "auto", tmp_path)
    assert kept == [examples[0], examples[2]] and max(lengths) <= MOST
    reasons = {"longer than sft.max_length": 2}
    assert metrics["lengths"] == {"in": 4, "kept": 2, "dropped": 2, "cut": 0, "reasons": reasons}
    ledger = read_jsonl(tmp_path / "ledger.jsonl")
    assert [line["source"] for line in ledger] == ["row1", "row3"] and all(line["tokens"] > MOST for line in ledger)
    assert describe_lengths(metrics, "sft") == "of 4 rows 2 dropped at sft.max_length; see ledger.jsonl"


@pytest.mark.parametrize(("how", "teacher"), [("error", "gpt-9"), ("auto", ""), ("auto", "expert")])
def test_others_are_an_error_that_says_how_long_they_are(how, teacher):
    rows = [row(0, 5), row(1, 90, teacher=teacher)]
    _, lengths = make_examples(loader.load_tokenizer(Model()), rows)
    with pytest.raises(RecipeError, match="longer than the model is given") as refused:
        fit(rows, how)
    assert f"--set sft.max_length={max(lengths)}" in str(refused.value) and "1 of 2 rows" in str(refused.value)


def test_drop_leaves_out_rows_of_any_origin():
    _, kept, _, metrics = fit([row(0, 5), row(1, 90)], "drop")
    assert len(kept) == 1 and metrics["lengths"]["dropped"] == 1


def test_a_cut_row_keeps_its_prompt_and_the_beginning_of_its_reply_without_an_end(tmp_path):
    long = [row(0, 5), row(1, 90), row(2, 5, question="How many? " * 90)]
    examples, kept, lengths, metrics = fit(long, "cut", tmp_path)
    tokenizer = loader.load_tokenizer(Model())
    assert len(kept) == 2 and lengths[1] == len(kept[1]["input_ids"]) == len(kept[1]["completion_mask"]) == MOST
    assert kept[1]["input_ids"] == examples[1]["input_ids"][:MOST] and 1 in kept[1]["completion_mask"]
    assert tokenizer.eos_token_id not in kept[1]["input_ids"][kept[1]["completion_mask"].index(1) :]
    assert metrics["lengths"]["cut"] == 1
    assert metrics["lengths"]["reasons"] == {"its prompt alone is longer than sft.max_length": 1}


def test_nothing_left_is_an_error():
    with pytest.raises(RecipeError, match="no row is as short"):
        fit([row(1, 90)], "drop")


def test_rows_that_fit_leave_no_trace(tmp_path):
    examples, kept, _, metrics = fit(ROWS[:1], "error", tmp_path)
    assert kept == examples and metrics == {} and not (tmp_path / "ledger.jsonl").exists()


def test_the_report_shows_them_beside_the_steps_of_the_ledger(tmp_path):
    _, _, _, metrics = fit([*ROWS, row(5, 70)], "cut")
    (tmp_path / "card.json").write_text(json.dumps({"ledger": {}}))
    section = data_section(tmp_path, {"sft": SimpleNamespace(metrics=metrics), "rl": SimpleNamespace(metrics={})})
    (step,) = section.steps
    assert (step.name, step.came, step.kept) == ("sft: rows as long as max_length (3 cut)", 5, 5) and not section.faults
