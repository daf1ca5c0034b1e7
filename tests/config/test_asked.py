"""What a stage is foreseen to read and write: an evaluation the replies that its tasks hold, training the words of its
rows."""

import re

import pytest

from eval.benchmarks import amsbench
from recipes import pipeline
from recipes.artifacts.steps import prepare
from recipes.base.places import ROOT
from recipes.config.load import load
from recipes.config.request_counts import SIZES, general_kinds, read, replies_to, role_of, tasks_of
from recipes.config.validate import known_tasks
from recipes.methods.infer import self_consistency
from recipes.stages import evaluate, rows, sft

BUILT = {"test": 700, "test_knowledge": 300, "test_calculation": 350, "test_transfer": 50, "test_problem": 80}


def replies(name, counts):
    asked, unknown = replies_to([name], counts)
    assert unknown == []
    return sum(asked.values())


def test_a_task_asks_for_the_items_of_its_own_kind():
    assert replies("analogseeker_transfer", BUILT) == 50
    assert replies("analogseeker_calculation", BUILT) == 350
    assert replies("analogseeker_format", BUILT) == 60, "an even choice of all kinds"
    assert replies("reft_gsm8k", BUILT) == 0, "no rows of that kind were built"
    parts = ["knowledge", "calculation", "transfer", "format"]
    assert replies("analogseeker", BUILT) == sum(replies(f"analogseeker_{part}", BUILT) for part in parts)


def test_before_the_data_are_built_every_kind_is_an_equal_part():
    names = ["analogseeker_knowledge", "analogseeker_calculation"]
    assert replies_to(names, {"test": 700}) == (dict.fromkeys(names, 350), [])


def test_general_tasks_count_the_items_of_the_general_test_and_known_sets_on_the_hub():
    assert sum(replies(f"general_{kind}", {}) for kind in general_kinds()) == sum(general_kinds().values()) > 400
    assert replies("general_hub", {}) == 14_042 + 1_319 + 10_042
    assert replies("glan_mmlu", {}) == replies("mmlu", {}) == 14_042
    assert {part: replies(f"amsbench_{part}", {}) for part in amsbench.SIZES} == amsbench.SIZES
    assert replies_to(["sciassess_parts"], {})[1] == ["mmlu_pro_biology", "mmlu_pro_chemistry", "mmlu_pro_health"]


def test_every_task_file_can_be_read_and_a_size_is_of_a_task_that_there_is():
    files = {name: file for name, file in known_tasks().items() if not file.name.startswith("_")}
    for name, file in files.items():
        table = read(file)
        assert table.get("group") == name or (table["task"] == name and table["dataset_kwargs"]), name
    members = {word for file in files.values() for word in re.findall(r"\w+", file.read_text())}
    assert members >= SIZES.keys()


@pytest.mark.parametrize("recipe", ["analogseeker", "reft", "scilitllm", "glan", "loramoe"])
def test_every_model_that_a_run_leaves_is_counted(recipe):
    step = prepare(load(ROOT / "recipes.toml", recipe, here=False))[-1]
    counts, own = {"test": 600, "models": step.asked}, step.spec.eval
    asked, _ = replies_to((*own.tasks, *own.general), counts)
    plain = own.model_copy(update={"infer": {}})
    forecast = evaluate.forecast(step.spec.model_copy(update={"eval": plain}), counts, None)
    assert forecast.rows == sum(asked.values()) * (1 + len(step.asked))
    shots = sum(asked[task] for task in own.tasks)  # few-shot: the base, on every task of the field
    drawn = len(step.asked) * sum(asked[task] for way in own.infer.values() for task in way.tasks)
    assert evaluate.forecast(step.spec, counts, None).rows == forecast.rows + shots + drawn
    vote = {"vote": self_consistency.Config(use="self_consistency", samples=8, items=10)}
    voted = evaluate.forecast(
        step.spec.model_copy(update={"eval": own.model_copy(update={"infer": vote})}), counts, None
    )
    fields = sum(role_of(table) == "field" for table in tasks_of(own.tasks).values())
    assert voted.rows == forecast.rows + 8 * 10 * fields * len(step.asked)


def test_the_plan_tells_an_evaluation_which_models_there_will_be(place):
    seen, job = [], place.job()
    for step in job.recipe.steps:
        watch(step.module, step.name, seen)
    pipeline.survey(job)
    assert dict(seen) == {"data": (), "sft": (), "rl": ("sft",), "evaluate": ("sft", "rl")}


def watch(module, name, seen):
    """Note in `seen` what models a fake stage's forecast is told of."""
    real = module.forecast
    module.forecast = lambda spec, counts, runs: (seen.append((name, counts["models"])), real(spec, counts, runs))[1]


def test_training_is_foreseen_from_the_words_of_the_rows_and_guessed_where_they_are_not_known():
    step = prepare(load(ROOT / "recipes.toml", "analogseeker", None, ["sft.epochs=2"], here=False))[1]
    long = sft.forecast(step.spec, {"sft": 1000, "tokens": 300_000}, None)
    assert long.tokens == round(sft.SUBWORDS * 300_000 * 2)
    short = sft.forecast(step.spec, {"sft": 1000, "tokens": 100_000}, None)
    assert short.tokens == pytest.approx(long.tokens / 3, abs=1) and short.steps < long.steps
    mixed = sft.forecast(step.spec, {"sft": 1500, "general_rows": 500, "tokens": 300_000}, None)
    assert mixed.tokens == pytest.approx(1.5 * long.tokens), "general rows are not in the card's words"
    first = step.spec.model_copy(update={"sft": step.spec.sft.model_copy(update={"rows": "sft_general"})})
    assert sft.forecast(first, {"sft": 1000, "sft_general": 10, "tokens": 300_000}, None).tokens == 20 * sft.ROW_TOKENS


def test_the_general_rows_of_a_mix_are_foreseen_before_there_are_any():
    mixed = load(ROOT / "recipes.toml", "reft", None, ["rows.mix.replay.share=0.25"], here=False)
    step, counts = prepare(mixed)[1], {"sft": 300, "rl": 10, "test": 20, "tokens": 9000}
    work = rows.forecast(step.spec, counts, ROOT / "no-such-runs")
    assert step.name == "rows" and counts["general_rows"] == 100 and counts["sft"] == work.rows == 400
    assert counts["tokens"] == 9000, "the words of the recipe's own rows"
