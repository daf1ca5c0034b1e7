"""The list of stages agrees with what lies beside it: modules, tables, specs; and the wire follows it."""

import importlib
from dataclasses import fields

import pytest
from recipes.config.stage_list import STAGES

from recipes import pipeline
from recipes.artifacts.lineage import TRAINED, reads_models
from recipes.base.places import ROOT
from recipes.config.load import load
from recipes.config.schema import OPTIONAL, TABLES, Recipe

SETS = ("cpt.epochs=1", "sft_general.method=full", "rl.steps=1", "rl.warmup_steps=0", "rerank.prompts=8")


@pytest.fixture(scope="module")
def steps():
    """The steps of a recipe that has every table."""
    return pipeline.wire(load(ROOT / "recipes.toml", "analogseeker", sets=SETS, here=False))


def test_every_stage_of_the_list_has_a_module_and_a_table_and_every_module_a_stage():
    modules = {file.stem for file in (ROOT / "recipes" / "stages").glob("[a-z]*.py")}
    assert {stage.module for stage in STAGES} == modules
    assert {stage.table for stage in STAGES} <= {field.name for field in fields(Recipe)}


def test_a_recipe_with_every_table_runs_every_stage_in_the_order_of_the_list(steps):
    assert [(step.name, step.module or step.name) for step in steps] == [(s.name, s.module) for s in STAGES]
    for stage, step in zip(STAGES[1:], steps[1:], strict=True):
        own = set(type(step.spec).model_fields) - {"model", "seed", "rows"}
        assert own == {stage.table if stage.module != "sft" else "sft"}


def test_the_reranker_judges_the_supervised_model_and_the_evaluation_sees_all(steps):
    read = {step.name: step.reads for step in steps}
    assert read["rerank"] == ("data", "cpt", "sft_general", "sft")
    assert read["evaluate"] == ("data", "cpt", "sft_general", "sft", "rl", "rerank")
    assert read["rl"] == ("data", "cpt", "sft_general", "sft")


def test_a_stage_that_starts_from_a_model_reads_whatever_the_ones_before_it_left(steps):
    assert list(reads_models("rerank")) == ["cpt", "sft_general", "sft"] and list(reads_models("evaluate")) == [
        *TRAINED
    ]
    for step in steps[2:]:
        known = importlib.import_module(f"recipes.stages.{step.module}").READS
        for earlier in set(step.reads) & set(TRAINED):
            assert known[earlier] == ["adapter/*", "model/*"]


def test_the_tables_are_those_of_a_recipe_and_what_it_may_leave_out_may_be_none():
    assert list(TABLES) == ["mix", "model", "cpt", "sft_general", "sft", "rl", "rerank", "eval"]
    assert OPTIONAL == ("mix", "cpt", "sft_general", "rl", "rerank")
