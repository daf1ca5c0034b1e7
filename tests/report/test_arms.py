"""The benchmarks that compare trained models: pooling over seeds, and arms that sample alike."""

from types import SimpleNamespace

import pytest

from benchmarks.arms import compare, use_settings
from benchmarks.reinforcement import METHODS, reinforced
from recipes.artifacts.steps import spec_of
from recipes.base.places import ROOT
from recipes.config.conflicts import find_conflicts
from recipes.config.load import load
from recipes.models.answering import AnsweringContext
from recipes.models.rl_trainer import count_completions
from recipes.models.variants import plan_variants
from recipes.report.seeds import pooled


def answers(scores, clusters):
    return SimpleNamespace(scores=scores, clusters=clusters, mean=sum(scores) / len(scores))


def test_a_node_is_one_cluster_over_seeds_and_an_item_without_one_a_cluster_of_its_seed():
    scores, clusters = pooled([answers([1, 0], ["node a", "item 1"]), answers([0, 1], ["node a", "item 1"])])
    assert scores == [1, 0, 0, 1]
    assert clusters[0] == clusters[2] and len(set(clusters)) == 3


def test_an_arm_is_compared_item_by_item_with_the_one_named():
    nodes = [f"item {n}" for n in range(40)]
    worse, better = answers([0] * 40, nodes), answers([1] * 20 + [0] * 20, nodes)
    lines = compare("sums", {"sft": [worse, worse], "rl": [better, worse]}, "sft")
    assert lines[0] == "sums, 80 items" and len(lines) == 3
    assert "against sft +25.0 (" in lines[2] and lines[2].endswith("by seed +50.0 +0.0")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_samples_the_same_number_of_replies_under_settings_that_it_reads(method):
    arm = reinforced(load(ROOT / "recipes.toml", "reft"), method, rollouts=5)
    assert count_completions(arm.settings("rl"), 2_000) == 5 * 64
    assert list(find_conflicts(arm.steps, arm.model)) == []


def test_an_arm_without_a_step_starts_the_next_from_the_one_before():
    recipe = load(ROOT / "recipes.toml", "reft")
    alone = use_settings(recipe, "rl", None)
    assert [step.name for step in alone.steps] == ["data", "sft", "evaluate"] and alone.step("rl") is None
    assert alone.steps[-1].inputs == ("data", "sft") and recipe.step("rl") is not None


@pytest.mark.slow
def test_one_evaluation_asks_every_model_that_it_is_given(tmp_path):
    recipe = load(ROOT / "recipes.toml", "reft")
    inputs = {"data": tmp_path} | dict.fromkeys(("sft", "longer", "ppo"), tmp_path / "arm")
    (tmp_path / "arm" / "adapter").mkdir(parents=True)
    spec = spec_of("evaluate", model=recipe.model, eval=recipe.settings("evaluate"), seed=1)
    context = AnsweringContext(recipe.model, inputs, 1, str)
    asked = plan_variants(spec, inputs, None, {"reft_problems": ["reft_problems"]}, {}, context)
    assert [variant.name for variant in asked if not variant.label] == ["base", "sft", "longer", "ppo"]
    ways = [variant.name for variant in asked if variant.label]
    assert ways[0] == "base · few_shot" and "ppo · sampled" in ways and "base · sampled" not in ways
