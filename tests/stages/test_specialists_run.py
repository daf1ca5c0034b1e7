"""The branching recipe, small but whole: two fields, two specialists, two merges, and one report of all five models."""

import json

import pytest

from recipes import pipeline
from recipes.artifacts import store
from tests.helpers.few_general import few_general
from tests.helpers.short_run import run

SMALL = [
    "steps.analog.sft_rows=24",
    "steps.signal.sft_rows=24",
    "steps.analog.tests={ knowledge = 4, calculation = 0, transfer = 1 }",
    "steps.signal.tests={ type = 6, parameter = 0, explain = 0, pairs = 0, composition = 0, controls = 0 }",
    'eval.tasks=["analogseeker_knowledge", "vsllava_type"]',
    "eval.general=[]",
    "eval.max_new_tokens=24",
]


@pytest.fixture(scope="module")
def specialists(tmp_path_factory):
    return run("specialists", tmp_path_factory.mktemp("specialists"), *SMALL)


def test_all_five_models_are_asked_about_both_fields_in_one_report(specialists):
    job, made = specialists
    scores = store.read_manifest(made["evaluate"])["metrics"]["scores"]
    assert {"base", "sft_analog", "sft_signal", "ties", "linear"} <= scores.keys()
    assert all({"analogseeker_knowledge", "vsllava_type"} <= scores[name].keys() for name in scores if name != "rules")
    page = (job.home / "report" / "index.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("sft_analog", "sft_signal", "ties", "linear"))


def test_each_specialist_learns_from_the_base_on_its_own_rows(specialists):
    _, made = specialists
    for step, rows, other in (("sft_analog", "analog", "sft_signal"), ("sft_signal", "signal", "sft_analog")):
        inputs = store.read_manifest(made[step])["inputs"]
        assert inputs["data"]["stage"] == made[rows].name and other not in inputs


def test_ties_leaves_a_model_and_the_linear_mean_an_adapter_of_both_ranks(specialists):
    _, made = specialists
    assert (made["ties"] / "model" / "model.safetensors").is_file() and not (made["ties"] / "adapter").exists()
    config = json.loads((made["linear"] / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["r"] == 2 * 16
    tests = [json.loads(line)["id"] for line in (made["tests"] / "test.jsonl").read_text().splitlines()]
    assert len(tests) == len(set(tests)) == 4 + 1 + 6


def test_another_weight_makes_one_merge_again_and_nothing_else(specialists):
    from recipes.base.places import ROOT
    from recipes.config.load import load
    from recipes.pipeline import Job
    from tests.helpers.short_run import SHORT

    job, made = specialists
    sets = [*SHORT, *SMALL, "steps.linear.weights=[0.7, 0.3]"]
    with few_general(job.runs):
        again = pipeline.run(Job(load(ROOT / "recipes.toml", "specialists", "embedded", sets, True), job.runs), "tests")
    assert {name for name in again if again[name] != made[name]} == {"linear"}
