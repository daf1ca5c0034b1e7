"""General rows among the supervised ones: how many, which, and what is refused."""

import json
from collections import Counter

import pytest

from recipes import pipeline
from recipes.artifacts.steps import prepare
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.places import LAB_MODEL, ROOT
from recipes.config.load import load
from recipes.lab.build import GENERAL_TEST_SEED, GENERAL_TRAIN_ROWS
from recipes.lab.world import general_train
from recipes.pipeline import Job

SMALL = [
    "data.sft_rows=90",
    "data.rl_rows=8",
    "data.tests.knowledge=8",
    "data.tests.calculation=8",
    "data.tests.transfer=4",
]


def build(runs, *sets):
    """The folder of rows that is learnt from under these settings."""
    job = Job(load(ROOT / "recipes.toml", "analogseeker", "embedded", [*SMALL, *sets], True), runs)
    done = pipeline.run(job, until="rows" if job.recipe.step("rows") else "data")
    return done.get("rows", done["data"])


def rows(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_general_rows_are_the_stated_share_and_bear_their_kind(tmp_path):
    plain, mixed = build(tmp_path), build(tmp_path, "rows.mix.replay.share=0.25")
    own, both = rows(plain / "sft.jsonl"), rows(mixed / "sft.jsonl")
    assert plain != mixed and both[: len(own)] == own
    assert Counter(row["kind"] == "world" for row in both) == {False: len(own), True: round(len(own) / 3)}
    assert set(both[0]) <= set(both[-1]) and len({row["id"] for row in both}) == len(both)
    assert json.loads((mixed / "card.json").read_text())["methods"] == {
        "replay": {"file": "embedded", "rows": round(len(own) / 3)}
    }
    assert rows(plain / "test.jsonl") == rows(mixed / "test.jsonl")
    again = build(tmp_path / "again", "rows.mix.replay.share=0.25")
    assert (again / "sft.jsonl").read_bytes() == (mixed / "sft.jsonl").read_bytes()


def test_no_fact_and_no_prompt_of_the_general_test_is_among_the_embedded_rows():
    test, train = rows(LAB_MODEL / "general_test.jsonl"), rows(LAB_MODEL / "general_train.jsonl")
    assert not {r["prompt"][0]["content"] for r in test} & {r["prompt"][0]["content"] for r in train}
    tested = {r["thinking"] for r in test if r["kind"] == "facts"}
    taught = {r["thinking"] for r in train if r["family"] == "facts"}
    assert len(taught) > 300 and not tested & taught
    assert train == general_train(GENERAL_TEST_SEED, GENERAL_TRAIN_ROWS, test)


def lines(file, *some):
    file.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return f"rows.mix.replay.general={file}"


def turn(role, text):
    return [{"role": role, "content": text}]


def test_rows_of_a_file_of_ones_own_need_only_prompt_and_completion(tmp_path):
    few = [{"prompt": turn("user", f"Say {n}."), "completion": turn("assistant", f"{n}")} for n in range(20)]
    data = build(tmp_path, lines(tmp_path / "own.jsonl", *few), "rows.mix.replay.share=0.1")
    assert {row["prompt"][0]["content"] for row in rows(data / "sft.jsonl")} & {
        row["prompt"][0]["content"] for row in few
    }
    with pytest.raises(RecipeError, match="too few general rows to mix in") as refused:
        build(tmp_path, lines(tmp_path / "own.jsonl", *few), "rows.mix.replay.share=0.5")
    assert "20 rows, 89 wanted" in str(refused.value)


def test_a_test_item_among_general_rows_is_left_out_and_counted(tmp_path):
    item = max(rows(build(tmp_path) / "test.jsonl"), key=lambda row: len(row["question"]))
    leak = {"prompt": item["prompt"], "completion": turn("assistant", item["reply"])}
    inside = {"prompt": turn("user", f"They ask: {item['question']} Why?"), "completion": turn("assistant", "So.")}
    few = [{"prompt": turn("user", f"Say {n}."), "completion": turn("assistant", f"{n}")} for n in range(3)]
    file = lines(tmp_path / "own.jsonl", leak, inside, *few)
    data = build(tmp_path, file, "rows.mix.replay.share=0.03")
    learnt = [row["prompt"] for row in rows(data / "sft.jsonl")]
    assert all(row["prompt"] in learnt for row in few)
    assert not any(row["prompt"] in learnt for row in (leak, inside))
    dropped = [row for row in rows(data / "rows_ledger.jsonl") if row["step"] == "replay" and row.get("reason")]
    assert len(dropped) == 2 and all("holds an item of the test" in row["reason"] for row in dropped)
    with pytest.raises(RecipeError, match="3 rows, 4 wanted"):
        build(tmp_path, file, "rows.mix.replay.share=0.04")


def test_a_row_of_another_form_is_refused_by_its_line(tmp_path):
    with pytest.raises(ConfigErrors, match="running text has no question") as refused:
        build(tmp_path, lines(tmp_path / "own.jsonl", {"text": "no turns"}), "rows.mix.replay.share=0.01")
    assert "own.jsonl, line 1" in str(refused.value)


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigErrors, match=r"rows\.mix\.replay\.general: no such file"):
        build(tmp_path, f"rows.mix.replay.general={tmp_path}/absent.jsonl", "rows.mix.replay.share=0.1")


def test_every_file_of_general_rows_is_part_of_what_a_result_is_made_from():
    """A builder's own, too: a file that changed would else leave the old rows standing."""
    watched = {
        f"{name} {step.name}": {key for key in step.watched if key.endswith(".general")}
        for name in ("loramoe", "scilitllm")
        for step in prepare(load(ROOT / "recipes.toml", name))
    }
    assert watched["loramoe data"] == set() and watched["loramoe rows"] == {"rows.mix.replay.general"}
    assert watched["scilitllm data"] == {"data.general"} and watched["scilitllm cpt"] == {"cpt.general"}
    with pytest.raises(ConfigErrors, match=r"data\.general: no such file"):
        load(ROOT / "recipes.toml", "scilitllm", sets=["data.general=./absent.jsonl"])
