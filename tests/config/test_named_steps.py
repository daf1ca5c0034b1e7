"""Named steps: which follow from the tables, what a list of them may say, and that `show` prints what runs again."""

from dataclasses import replace

import pytest

from recipes.artifacts.steps import key_of, prepare
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.hashing import Digests
from recipes.config.load import as_toml, load
from tests.helpers.fake_pipeline import set_up

STEPS = """
[demo.steps]
data = {}
sft = {}

[demo.steps.second]
use = "sft"
inputs = ["sft"]
epochs = 1.0

[demo.steps.beside]
use = "sft"
inputs = ["data"]
adapter.use = "full"

[demo.steps.evaluate]
"""


@pytest.fixture
def file(tmp_path):
    return set_up(tmp_path / "place") / "recipes.toml"


@pytest.fixture
def write(file):
    """Writes the recipe with named steps in place of `[rl]`; the file."""

    def written(steps=STEPS, more=""):
        kept = [line for line in file.read_text().splitlines() if not line.startswith("rl.")]
        file.write_text("\n".join([*kept, more, steps]))
        return file

    return written


def refused(file, *sets, profile=None):
    with pytest.raises(RecipeError) as error:
        load(file, "demo", profile, sets)
    return str(error.value)


def test_the_default_steps_follow_from_the_tables_each_from_the_model_before(file):
    sets = ["rows.mix.replay.share=0.1", "cpt.epochs=1", "rerank.prompts=16"]
    sets += [f"rows.mix.replay.general={file.parent}/general.jsonl", "cpt.max_length=64"]
    (file.parent / "general.jsonl").write_text('{"prompt": "What is it?", "completion": "A row."}\n')
    recipe = load(file, "demo", None, sets)
    assert [(step.name, step.inputs) for step in recipe.steps] == [
        ("data", ()),
        ("rows", ("data",)),
        ("cpt", ("rows",)),
        ("sft", ("cpt",)),
        ("rl", ("sft",)),
        ("rerank", ("sft",)),
        ("evaluate", ("data", "rows", "cpt", "sft", "rl", "rerank")),
    ]
    prepared = {step.name: step for step in prepare(recipe)}
    assert prepared["evaluate"].rows == ("rows",), "and not those that they were made from"
    assert prepared["rl"].rows == ("rows",) and prepared["rl"].models == ("cpt", "sft")
    assert prepared["rerank"].models == ("cpt", "sft"), "it judges replies of the supervised model"
    assert prepared["evaluate"].models == ("cpt", "sft", "rl") and prepared["evaluate"].rerankers == ("rerank",)


def test_a_kind_may_stand_twice_and_a_step_starts_from_its_inputs(write):
    recipe = load(write(), "demo")
    assert [(step.name, step.kind, step.inputs) for step in recipe.steps] == [
        ("data", "data", ()),
        ("sft", "sft", ("data",)),
        ("second", "sft", ("sft",)),
        ("beside", "sft", ("data",)),
        ("evaluate", "evaluate", ("data", "sft", "second", "beside")),
    ]
    prepared = {step.name: step for step in prepare(recipe)}
    assert prepared["second"].models == ("sft",) and prepared["beside"].models == ()
    assert prepared["evaluate"].lines == {"sft": ("sft",), "second": ("sft", "second"), "beside": ("beside",)}
    settings = {step.name: step.settings for step in recipe.steps}
    assert settings["second"].learning_rate == settings["sft"].learning_rate == 1e-4, "[demo.sft] holds for every step"
    assert (settings["second"].epochs, settings["sft"].epochs) == (1.0, 3.0)
    assert settings["beside"].adapter.use == "full" and settings["second"].adapter.use == "lora"


def test_what_show_prints_has_the_same_fingerprints(write, tmp_path):
    file = write()
    for name, sets in (("named", []), ("default", ["steps=false", "rl.steps=3", "rl.method.use=ppo"])):
        recipe = load(file, "demo", None, sets)
        shown = tmp_path / f"{name}.toml"
        shown.write_text(as_toml(recipe))
        again = load(shown, "demo")
        assert again.explicit is recipe.explicit is (name == "named")
        assert keys(again, tmp_path / "memory") == keys(recipe, tmp_path / "memory")
        assert as_toml(again) == as_toml(recipe)


def keys(recipe, memory):
    """(name, what decides the result but for files of earlier steps) of every step."""
    digests = Digests(memory)
    return [
        (step.name, step.needs, step.lines, step.asked, step.step.inputs, key_of(without_inputs(step), {}, digests))
        for step in prepare(recipe)
    ]


def without_inputs(step):
    return replace(step, rows=(), models=(), rerankers=())


def test_set_reaches_the_settings_of_one_step_and_the_table_that_steps_share(write):
    file = write()
    recipe = load(file, "demo", None, ["steps.second.adapter.lora_plus=3", "sft.adapter.rank=5", "steps.beside=false"])
    assert [step.name for step in recipe.steps] == ["data", "sft", "second", "evaluate"]
    adapters = {step.name: step.settings.adapter for step in recipe.steps if step.kind == "sft"}
    assert {name: (one.rank, one.lora_plus) for name, one in adapters.items()} == {"sft": (5, 1.0), "second": (5, 3.0)}
    text = refused(file, "steps.second.adapter.rank=3")
    assert "--set steps.second.adapter" in text and "the adapter of the step sft is trained on" in text


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('inputs = ["sft"]', 'inputs = ["stf"]', ["steps.second.inputs: no such step before", '["stf"]', "data, sft"]),
        ('inputs = ["sft"]', 'inputs = ["beside"]', ["steps.second.inputs: no such step before this one"]),
        ('inputs = ["sft"]', 'inputs = "sft"', ["steps.second.inputs: no such step", "a list of data, sft"]),
        ('inputs = ["sft"]', "inputs = 3", ["steps.second.inputs: no such step", "got     3"]),
        ('inputs = ["sft"]', 'measured = "no"', ["steps.second.measured: wrong value", "true or false"]),
        ('use = "sft"', 'use = "stf"', ["steps.second.use: no such stage", "did you mean 'sft'"]),
        ("[demo.steps.second]", "[demo.steps.report]", ["steps.report: no name of a step"]),
        ("[demo.steps.second]", '[demo.steps."../up"]', ["no name of a step", "lower case"]),
        ("epochs = 1.0", "epocs = 1.0", ["steps.second.epocs: unknown key", "[demo.steps.second]", "'epochs'"]),
        ("sft = {}", "sft = 3", ["steps.sft: must be a table", "got     3"]),
        ("data = {}", "", ["steps.sft.inputs: no input has rows"]),
        ("[demo.steps.evaluate]", "", ["steps: no step evaluate"]),
        ("data = {}", 'data.builder = "analogseker"', ["steps.data.builder: no such builder", "'analogseeker'"]),
        ("epochs = 1.0", "batch_tokens = 100", ["steps.second.batch_tokens: a step must hold", "[demo.steps.second]"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_step_is_refused_at_its_place(write, old, new, said):
    assert old in STEPS
    text = refused(write(STEPS.replace(old, new, 1)))
    assert all(part in text for part in said), text


def test_a_wrong_key_of_the_shared_table_is_told_once_and_where_it_stands(write):
    text = refused(write(), "sft.epocs=2")
    assert text.startswith("1 configuration error;") and "sft.epocs: unknown key" in text
    assert "--set sft.epocs" in text and "steps." not in text.split("allowed")[0]


def test_two_sources_are_joined_by_a_step_of_rows_and_by_no_other(write):
    two = '[demo.steps]\ndata = {}\nmore.use = "data"\nsft.inputs = ["data", "more"]\nevaluate = {}\n'
    text = refused(write(two))
    assert "steps.sft.inputs: several inputs have rows" in text and 'use = "rows", inputs = ["data", "more"]' in text


def test_a_table_that_no_step_reads_is_refused(write):
    assert "cpt: no step of [steps] reads this table" in refused(write(), "cpt.epochs=1")


def test_all_errors_of_named_steps_come_at_once(write):
    steps = STEPS.replace("epochs = 1.0", "epochs = 0").replace('adapter.use = "full"', 'adapter.use = "ful"')
    with pytest.raises(ConfigErrors) as error:
        load(write(steps), "demo", None, ["seed=false", "steps.evaluate.batch_size=-1"])
    found = [problem.what.split(":")[0] for problem in error.value.problems]
    assert sorted(found) == ["seed", "steps.beside.adapter.use", "steps.evaluate.batch_size", "steps.second.epochs"]
