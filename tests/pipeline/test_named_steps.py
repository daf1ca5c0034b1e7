"""Runs of named steps: branches, a kind twice, `--until NAME`, what stays, and which setting makes which step again."""

import json

import pytest

from recipes import pipeline
from recipes.artifacts import store
from recipes.artifacts.steps import prepare
from recipes.base.errors import RecipeError
from tests.helpers.fake_pipeline import Place

BRANCH = """
[demo.steps]
data = {}
first.use = "sft"
second = { use = "sft", inputs = ["first"], measured = false, epochs = 1.0 }
beside = { use = "sft", inputs = ["data"], epochs = 2.0 }
evaluate = {}
"""
TWO = """
[demo.steps]
one.use = "data"
two = { use = "data", draws = 3 }
rows.inputs = ["one", "two"]
sft = {}
evaluate = {}
"""
GENERAL = "rows.mix.replay.general"


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "place")


def use_steps(place, steps):
    """Put named steps into the recipe, which then has no `[rl]`."""
    file = place.folder / "recipes.toml"
    kept = [line for line in file.read_text().splitlines() if not line.startswith("rl.")]
    file.write_text("\n".join([*kept, steps]))


def test_a_branch_runs_each_step_from_its_inputs_and_the_evaluation_sees_all(place):
    use_steps(place, BRANCH)
    done = place.run()
    assert place.stages.calls == list(done) == ["data", "first", "second", "beside", "evaluate"]
    read = {name: list(place.manifest(name)["inputs"]) for name in ("first", "second", "beside")}
    assert read["first"] == read["beside"] == ["data", "model", "methods"] and read["second"][:2] == ["data", "first"]
    assert {"first", "second", "beside"} <= set(place.manifest("evaluate")["inputs"])
    manifest = place.manifest("second")
    assert (manifest["stage"], manifest["kind"], manifest["measured"]) == ("second", "sft", False)
    place.run()
    assert place.stages.calls == []


def test_a_change_of_one_branch_leaves_the_other(place):
    use_steps(place, BRANCH)
    place.run()
    place.run("steps.beside.epochs=5")
    assert place.stages.calls == ["beside", "evaluate"] and "rebuild: sft.epochs 2.0 -> 5.0" in place.said
    place.run("steps.first.epochs=5")
    assert place.stages.calls == ["first", "second", "evaluate"]


def test_until_takes_the_name_of_a_step(place):
    use_steps(place, BRANCH)
    assert list(place.run(until="second")) == place.stages.calls == ["data", "first", "second"]
    with pytest.raises(RecipeError, match="no step 'sft'") as error:
        place.run(until="sft")
    assert "data, first, second, beside, evaluate, report" in str(error.value)


def test_a_step_names_several_models_in_an_order_that_counts(place):
    last = 'last = { use = "sft", inputs = ["first", "beside"] }\n'
    use_steps(place, BRANCH.replace("evaluate", last + "evaluate"))
    steps = {step.name: step for step in prepare(place.job().recipe)}
    assert steps["last"].watched["order"] == "first, beside" and "order" not in steps["evaluate"].watched
    turned = prepare(place.job('steps.last.inputs=["beside", "first"]').recipe)
    assert turned[4].watched["order"] == "beside, first" and turned[4].models == steps["last"].models


def test_an_evaluation_is_foreseen_for_the_models_that_it_asks(place):
    use_steps(place, BRANCH)
    told, job = {}, place.job()
    for step in job.recipe.steps:
        real = step.module.forecast
        step.module.forecast = lambda spec, counts, runs, name=step.name, real=real: (
            told.update({name: counts["models"]}),
            real(spec, counts, runs),
        )[1]
    pipeline.survey(job)
    assert told["evaluate"] == ("first", "beside") and told["second"] == ("first",)


def test_counts_of_joined_rows_add_up_before_and_after_they_are_made(place):
    use_steps(place, TWO)
    seen = []

    def watched():
        job = place.job()
        (rows,) = (step for step in job.recipe.steps if step.kind == "rows")
        rows.module.forecast = lambda spec, counts, runs: (seen.append(counts["sft"]), pipeline.forecasts.Work())[1]
        return job

    pipeline.survey(watched())
    pipeline.run(watched(), "rows")
    assert seen == [4, 4]


def test_a_step_on_other_rows_than_there_are_is_refused_before_the_first_training(place):
    use_steps(place, BRANCH.replace("epochs = 2.0", 'rows = "rl_forms"'))
    with pytest.raises(RecipeError, match="makes no rows for beside") as error:
        place.run()
    assert place.stages.calls == [] and "[demo.steps.beside]" in str(error.value)
    assert list(place.run(until="second")) == ["data", "first", "second"], "what comes before does not need them"


def test_until_an_early_step_does_not_hide_a_finished_run(place):
    done = place.run()
    place.run(until="data")
    assert store.latest(place.home) == done and place.stages.calls == []
    first = place.run("rl.steps=7", until="sft")
    assert store.latest(place.home) == first, "the rl of other settings is no result of these"
    place.run(until="sft")
    assert store.latest(place.home) == done


def test_until_an_early_step_hides_what_was_made_from_other_rows(place):
    place.run()
    (place.folder / "corpus" / "one.md").write_text("first\nthird\n")
    done = place.run(until="data")
    assert store.latest(place.home) == done and list(done) == ["data"]


@pytest.mark.parametrize(
    "sets",
    [
        ["sft.log_steps=3"],
        ["rl.log_steps=3", "rl.save_steps=7"],
        ["eval.alpha=0.01"],
        ["eval.margin=0.05"],
    ],
    ids=" ".join,
)
def test_what_decides_no_result_makes_nothing_again(place, sets):
    place.run()
    place.run(*sets)
    assert place.stages.calls == []


def test_another_share_of_general_rows_makes_no_data_again(place):
    file = place.folder / "general.jsonl"
    file.write_text(json.dumps({"prompt": "What?", "completion": "That."}) + "\n")
    shares = [[f"{GENERAL}={file}", f"rows.mix.replay.share={share}"] for share in (0.1, 0.2)]
    place.run(*shares[0])
    assert place.stages.calls == ["data", "rows", "sft", "rl", "evaluate"]
    place.run(*shares[1])
    assert place.stages.calls[0] == "rows" and "rebuild: rows.mix.replay.share 0.1 -> 0.2" in place.said
    place.run()
    assert place.stages.calls == []
    file.write_text('{"prompt": "What is it?", "completion": "A row."}\n')
    place.run(*shares[1])
    assert place.stages.calls[0] == "rows" and "rows.mix.replay.general/general.jsonl changed" in place.said
