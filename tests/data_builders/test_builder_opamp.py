"""The opamp recipe: rows are sound and apart, the grader is the simulator, the bench answers, the table is valid."""

import io

import pytest

from data_builders.opamp import builder
from data_builders.opamp.search import snap
from data_builders.opamp.spec import Spec
from eval.graders import ROW_KEYS, grade
from eval.graders.measures import score_sizes
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.base.opamp import BOUNDS, read_sizes, read_specification, simulate
from recipes.base.places import ROOT
from recipes.base.runtime import Runtime
from recipes.config.load import load
from recipes.methods.env import opamp as env

QUIET = Runtime(io.StringIO())
SMALL = Spec.model_validate({"sft_rows": 24, "rl_rows": 8, "tests": {"design": 8, "transfer": 8}})


def build(spec, out, folder=builder.SHIPPED):
    out.mkdir(exist_ok=True)
    builder.build(spec, folder, out, 42, QUIET.bar, QUIET.say)
    return {name: read_jsonl(out / f"{name}.jsonl") for name in ("sft", "rl", "test", "rules")}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return build(SMALL, tmp_path_factory.mktemp("opamp") / "a")


def test_gold_answers_meet_every_demand_and_empty_replies_none(rows):
    for row in rows["rl"] + rows["test"]:
        assert grade({key: row.get(key) for key in ROW_KEYS}, row["reply"]) == 1.0 and grade(row, "") == 0.0
        assert score_sizes({"level": "", **row}, [row["reply"]])["met"] == 1.0
    assert len(rows["sft"]) == 24 and len(rows["test"]) == 16


def test_a_part_of_the_demands_is_worth_its_share_and_tricks_are_worth_nothing(rows):
    row = rows["test"][0]
    starved = "<answer>I5 = 0.5 uA, I7 = 0.5 uA, W1 = 1 um, W3 = 1 um, W6 = 1 um, L = 1 um, Cc = 50 pF</answer>"
    assert 0 < grade(row, starved) < 1 and score_sizes({"level": "", **row}, [starved])["fom"] == 0.0
    assert grade(row, row["reply"] + row["reply"].replace("I5 = ", "I5 = 9")) == 0.0
    assert grade(row, f"<answer>{row['specification']}</answer>") == grade(row, "<answer>" + "I5 = " * 9999) == 0.0
    with pytest.raises(ValueError):
        grade({**row, "specification": ""}, row["reply"])


def test_loads_of_the_transfer_test_are_in_no_training_row_and_no_question_stands_twice(rows):
    trained = {row["node_id"] for row in rows["sft"] + rows["rl"]}
    assert trained.isdisjoint(row["node_id"] for row in rows["test"] if row["kind"] == "transfer")
    questions = [row["question"] for row in rows["sft"] + rows["rl"] + rows["test"]]
    assert len(set(questions)) == len(questions)


def test_rules_answer_every_test_item_in_readable_sizes(rows):
    assert {rule["id"] for rule in rows["rules"]} == {row["id"] for row in rows["test"]}
    assert all(read_sizes(rule["reply"]) for rule in rows["rules"])


def test_the_same_seed_gives_the_same_bytes(rows, tmp_path):
    again = build(SMALL, tmp_path / "b")
    assert again == rows


def test_the_description_stands_before_the_question_and_is_no_leak(tmp_path):
    rows = build(Spec.model_validate(SMALL.model_dump() | {"described": True}), tmp_path / "c")
    assert all(row["prompt"][0]["content"].startswith(builder.DESCRIPTION) for row in rows["test"])


def test_a_corpus_without_values_and_demands_without_designs_are_errors(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        builder.read_demands(tmp_path)
    text = (builder.SHIPPED / "demands.toml").read_text(encoding="utf-8")
    (tmp_path / "demands.toml").write_text(text.replace("gain = [56,", "gain = [200] #"))
    with pytest.raises(RecipeError, match="too few designs"):
        build(SMALL, tmp_path / "d", tmp_path)


@pytest.mark.parametrize("name", BOUNDS)
def test_sizes_are_snapped_within_their_bounds(name):
    least, most = BOUNDS[name]
    assert least <= snap(name, least / 1000) <= snap(name, most * 1000) <= most


def test_the_bench_answers_for_the_rows_specification_until_its_calls_are_used(rows):
    row = rows["rl"][0]
    wanted, sizes = read_specification(row["specification"]), read_sizes(row["answer"])
    bench = env.make_environment(env.Config(use="opamp", calls=2), None)()
    bench.reset(**{key: row.get(key) for key in ROW_KEYS})
    said = bench.simulate(*vars(sizes).values())
    assert said.count("(met)") == 5 and f"gain {simulate(sizes, wanted.load).gain:.1f} dB" in said
    assert bench.simulate(*["x"] * 7).startswith("error: the sizes")
    assert bench.simulate(*vars(sizes).values()) == "error: no simulations are left"
    bench.reset()
    assert bench.simulate(*vars(sizes).values()) == "error: this question has no specification"
    bench.reset(specification=row["specification"])
    assert bench.simulate(*[1e400] * 7).startswith("error: I5 is outside")


def test_the_recipe_is_valid():
    assert load(ROOT / "recipes.toml", "opamp", here=False).builder == "opamp"
    assert load(ROOT / "recipes.toml", "opamp", "gpu", here=False).settings("rl").env["opamp"].calls == 4
