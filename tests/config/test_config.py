"""Recipe files: every one in the repository, how profiles and --set overlay, and that `show` prints what runs again."""

import importlib
import math
import tomllib
from dataclasses import replace

import pytest
from pydantic import ValidationError

from recipes.artifacts.steps import runtime_keys
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.places import ROOT
from recipes.base.toml import short_float, toml_table, toml_value
from recipes.config import validate
from recipes.config.load import as_toml, load, profiles, read_file
from recipes.config.schema import DEFAULT_PROFILE, Head, Model, model_folder
from recipes.config.slots import SLOTS, list_own, load_source
from recipes.config.typed import builders
from tests.helpers.fake_pipeline import set_up
from tests.helpers.tables import rl_table, sft_table

FILE = ROOT / "recipes.toml"
RECIPES = read_file(FILE)
CORE = ("analogseeker",)  # recipes of a published system; one that `new` has written needs no gpu or paper profile
CASES = [(name, profile) for name, table in RECIPES.items() for profile in profiles(table)]


def test_how_many_recipes_and_builders_there_are():
    assert (
        len(RECIPES) >= 1
        and len(CASES) >= 3
        and {table["builder"] for table in RECIPES.values() if "builder" in table} <= set(builders())
    )


@pytest.mark.parametrize("name, profile", CASES)
def test_every_recipe_of_the_repository_is_valid_and_shows_toml_that_runs_again(name, profile, tmp_path):
    recipe = load(FILE, name, profile, here=False)
    shown = tmp_path / "shown.toml"
    shown.write_text(as_toml(recipe))
    again = load(shown, name, here=False)
    scalars = ("summary", "builder", "seed", "model")
    assert [getattr(again, name) for name in scalars] == [getattr(recipe, name) for name in scalars]
    assert [comparable(step) for step in again.steps] == [comparable(step) for step in recipe.steps]


def comparable(step):
    """All of a step that decides its result."""
    return replace(step, place="")


@pytest.mark.parametrize("name", CORE)
def test_every_core_recipe_has_the_core_profiles_and_opens_with_its_command(name):
    assert {"embedded", "gpu", "paper"} <= set(profiles(RECIPES[name]))
    assert f"# python -m recipes run {name}\n[{name}]\n" in FILE.read_text()


@pytest.fixture
def file(tmp_path):
    return set_up(tmp_path / "place") / "recipes.toml"


def test_a_profile_overlays_one_value_and_leaves_its_neighbours(file):
    file.write_text(
        file.read_text()
        + '[demo.profiles.big.sft.adapter]\nrank = 4\n[demo.profiles.big.eval]\ntasks = ["analogseeker_transfer"]\n'
    )
    plain, big = load(file, "demo"), load(file, "demo", "big")
    ours, theirs = plain.settings("sft"), big.settings("sft")
    assert (ours.adapter.rank, plain.profile) == (16, DEFAULT_PROFILE) and (theirs.adapter.rank, big.profile) == (
        4,
        "big",
    )
    assert theirs.learning_rate == ours.learning_rate == 1e-4
    assert big.settings("evaluate").tasks == ("analogseeker_transfer",)  # a list is replaced, not joined


def test_an_optional_table_is_left_out_by_false_in_a_profile_or_by_set(file):
    file.write_text(file.read_text() + "[demo.profiles.plain]\nrl = false\n")
    assert load(file, "demo").step("rl") is not None
    assert load(file, "demo", "plain").step("rl") is None and load(file, "demo", sets=["rl=false"]).step("rl") is None
    with pytest.raises(ConfigErrors, match="eval: the table is missing"):
        load(file, "demo", sets=["eval=false"])


def test_reinforcement_of_prompts_without_their_signal_is_refused():
    with pytest.raises(ConfigErrors, match=r"data\.view: reinforcement would reward guesses"):
        load(FILE, "vsllava", sets=["data.view=none"], here=False)
    assert load(FILE, "vsllava", "ablation", here=False).step("rl") is None
    assert load(FILE, "vsllava", "paper", here=False).settings("data").view == "image"


def test_set_comes_last_and_reads_toml_values_or_bare_strings(file):
    file.write_text(file.read_text() + "[demo.profiles.big.sft.adapter]\nrank = 4\n")
    sets = [
        "sft.adapter.rank=8",
        'sft.scheduler="linear"',
        "sft.packing=false",
        "sft.adapter.target=['q_proj', \"v_proj\"]",
        "sft.epochs=2",
        "sft.learning_rate = 2e-4",
        "data.tests.knowledge=7",
        "summary=two words = one summary",
    ]
    recipe = load(file, "demo", "big", sets)
    sft = recipe.settings("sft")
    assert sft.adapter.rank == 8 and sft.scheduler == "linear" and sft.packing is False
    assert sft.adapter.target == ("q_proj", "v_proj") and sft.epochs == 2.0 and sft.learning_rate == 2e-4
    assert recipe.settings("data").tests.knowledge == 7 and recipe.summary == "two words = one summary"


def test_a_recipe_without_rl_gets_none_until_it_is_set(file):
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("rl.")))
    assert load(file, "demo").step("rl") is None
    assert load(file, "demo", None, ["rl.steps=3"]).settings("rl") == rl_table(steps=3)


def test_tables_are_frozen_and_refuse_infinities():
    with pytest.raises(ValidationError):
        sft_table().adapter.rank = 3
    with pytest.raises(ValidationError):
        sft_table(learning_rate=math.inf)


def test_every_field_says_what_it_is():
    modules = [load_source(source) for slot in ("stages", *SLOTS) for source in list_own(slot).values()]
    tables = [Head, Model, *(module.Config for module in modules if hasattr(module, "Config"))]
    assert len(tables) > 12
    for table in tables:
        assert all(field.description for field in table.model_fields.values()), table


def test_what_is_execution_and_what_is_identity():
    assert runtime_keys(sft_table()) == {"save_steps", "log_steps", "micro_batch", "micro_tokens"}
    assert runtime_keys(Model()) == {"attn"}
    assert runtime_keys(sft_table("loramoe", {"expert_balance": {"form": "lbl"}})) == {"save_steps", "log_steps"}
    assert runtime_keys(rl_table()) == {"save_steps", "log_steps", "micro_batch", "use_vllm", "probe_prompts"}


def test_model_names_that_are_folders():
    assert model_folder("embedded") == ROOT / "recipes" / "lab" / "model"
    assert (
        model_folder("./x").name == "x" and model_folder("/a/b").is_absolute() and "~" not in str(model_folder("~/m"))
    )
    assert model_folder("Qwen/Qwen2.5-7B-Instruct") is None


def test_a_hub_id_that_is_also_a_folder_here_is_refused(file, tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"write \./owner/name"):
        load(file, "demo", None, ["model.name=owner/name"])
    assert load(file, "demo", None, ["model.name=owner/other"]).model.name == "owner/other"


def test_an_empty_corpus_folder_is_refused(file, tmp_path):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / ".hidden").write_text("x")
    with pytest.raises(RecipeError, match="corpus folder is empty"):
        load(file, "demo", None, [f"data.corpus={tmp_path}/nothing"])


def test_task_names_are_found_in_quotes_and_with_comments(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.yaml").write_text('task: "first_task"  # the first\ndataset: x\n')
    (tmp_path / "a" / "two.yaml").write_text("group: all\ntask:\n  - first_task\n")
    assert set(validate.known_tasks(tmp_path)) == {"first_task", "all"}


@pytest.mark.parametrize(
    "number, text",
    [
        (1e-4, "1e-4"),
        (2e-5, "2e-5"),
        (0.05, "0.05"),
        (1.0, "1.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1.5e-3, "0.0015"),
        (1.25e-4, "1.25e-4"),
        (1e22, "1e22"),
        (-0.0, "-0.0"),
        (123456.789, "123456.789"),
    ],
)
def test_numbers_are_short_and_exact(number, text):
    assert short_float(number) == text and tomllib.loads(f"x = {text}")["x"] == number


def test_toml_text_reads_back_as_it_was():
    table = {
        "text": 'a "quoted" \\ back\nslash\x7f',
        "flag": True,
        "many": [1, 2.5, "x"],
        "deep": {"er": {"n": -3}, "list": [["a"], []]},
        "with space": "é",
        "inline": [{"a": 1}, {"b": 2e-4}],
        "tables alone": {"of": {"tables": {"x": 1}, "empty": {}}},
    }
    assert tomllib.loads(toml_table("t", table))["t"] == table
    assert tomllib.loads(toml_table("t", {"none": None, "x": 1}))["t"] == {"x": 1}
    with pytest.raises(RecipeError, match="cannot hold"):
        toml_value(object())


@pytest.mark.parametrize("builder", ["analogseeker", "reft", "vsllava"])
def test_shares_that_are_all_zero_are_refused_by_every_builder_that_has_some(builder):
    mix = importlib.import_module(f"data_builders.{builder}.spec").Mix
    zeros = dict.fromkeys(mix.model_fields, 0.0)
    with pytest.raises(ValueError, match="at least one share must be above 0"):
        mix(**zeros)
    for name in zeros:
        assert getattr(mix(**zeros | {name: 0.5}), name) == 0.5
