"""General rows among the supervised ones: how many, which, and what is refused."""

import json
from collections import Counter

import pytest

from recipes import pipeline
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.places import LAB_MODEL, ROOT
from recipes.config.load import load
from recipes.lab.build import GENERAL_TEST_SEED, GENERAL_TRAIN_ROWS
from recipes.lab.world import general_train
from recipes.pipeline import Job
from recipes.stages import cpt

SMALL = [
    "data.sft_rows=90",
    "data.rl_rows=8",
    "data.tests.knowledge=8",
    "data.tests.calculation=8",
    "data.tests.transfer=4",
]


def build(runs, *sets):
    job = Job(load(ROOT / "recipes.toml", "analogseeker", "embedded", [*SMALL, *sets], True), runs)
    return pipeline.run(job, until="data")["data"]


def rows(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_general_rows_are_the_stated_share_and_bear_their_kind(tmp_path):
    plain, mixed = build(tmp_path), build(tmp_path, "mix.share=0.25")
    own, both = rows(plain / "sft.jsonl"), rows(mixed / "sft.jsonl")
    assert plain != mixed and both[: len(own)] == own
    assert Counter(row["kind"] == "world" for row in both) == {False: len(own), True: round(len(own) / 3)}
    assert set(both[0]) <= set(both[-1]) and len({row["id"] for row in both}) == len(both)
    assert json.loads((mixed / "card.json").read_text())["general"] == {"file": "embedded", "rows": round(len(own) / 3)}
    assert rows(plain / "test.jsonl") == rows(mixed / "test.jsonl")
    again = build(tmp_path / "again", "mix.share=0.25")
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
    return f"mix.general={file}"


def turn(role, text):
    return [{"role": role, "content": text}]


def test_rows_of_a_file_of_ones_own_need_only_prompt_and_completion(tmp_path):
    few = [{"prompt": turn("user", f"Say {n}."), "completion": turn("assistant", f"{n}")} for n in range(20)]
    data = build(tmp_path, lines(tmp_path / "own.jsonl", *few), "mix.share=0.1")
    assert {row["prompt"][0]["content"] for row in rows(data / "sft.jsonl")} & {
        row["prompt"][0]["content"] for row in few
    }
    with pytest.raises(RecipeError, match="cannot be mixed in") as refused:
        build(tmp_path, lines(tmp_path / "own.jsonl", *few), "mix.share=0.5")
    assert "20 rows, 89 wanted" in str(refused.value)


def test_rows_that_hold_an_item_of_the_own_test_are_left_out_and_counted(tmp_path):
    items = rows(build(tmp_path) / "test.jsonl")
    item = max(items, key=lambda row: len(row["question"]))
    same = {"prompt": item["prompt"], "completion": turn("assistant", item["reply"])}
    inside = {"prompt": turn("user", f"They ask: {item['question']} Why?"), "completion": turn("assistant", "So.")}
    good = {"prompt": turn("user", "Say it."), "completion": turn("assistant", "It.")}
    data = build(tmp_path, lines(tmp_path / "own.jsonl", same, inside, good), "mix.share=0.011")
    mixed = [row for row in rows(data / "sft.jsonl") if row["kind"] == "world"]
    assert [row["prompt"] for row in mixed] == [good["prompt"]]
    left_out = json.loads((data / "card.json").read_text())["general"]["left out"]
    assert left_out["holds an item of the test (exact)"] == sum(left_out.values()) - 1 == 1
    with pytest.raises(RecipeError, match="1 rows beside 2 that hold a test item, 2 wanted"):
        build(tmp_path, lines(tmp_path / "own.jsonl", same, inside, good), "mix.share=0.022")


def test_a_row_of_another_form_is_refused_by_its_line(tmp_path):
    good = {"prompt": turn("user", "Say it."), "completion": turn("assistant", "It.")}
    with pytest.raises(RecipeError, match="cannot be mixed in") as refused:
        build(tmp_path, lines(tmp_path / "own.jsonl", good, {"text": "no turns"}), "mix.share=0.01")
    assert "line 2: no prompt and completion" in str(refused.value)


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigErrors, match=r"mix\.general"):
        build(tmp_path, f"mix.general={tmp_path}/absent.jsonl", "mix.share=0.1")


def test_every_file_of_general_rows_is_part_of_what_a_result_is_made_from():
    """A builder's own, too: a file that changed would else leave the old rows standing."""
    drawn = {
        f"{name} {step.name}": {key for key in (*step.watched, *step.given) if key.endswith("general")}
        for name in ("loramoe", "scilitllm")
        for step in pipeline.wire(load(ROOT / "recipes.toml", name))
    }
    assert drawn["loramoe data"] == {"mix.general"} and drawn["scilitllm data"] == {"data.general", "cpt_general"}
    assert cpt.GENERAL in cpt.READS["data"]
    with pytest.raises(ConfigErrors, match=r"data\.general: no such file"):
        load(ROOT / "recipes.toml", "scilitllm", sets=["data.general=./absent.jsonl"])
