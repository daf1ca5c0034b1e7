"""Recipe files: every one in the repository, how profiles and --set overlay, and that `show` prints what runs again."""

import importlib
import math
import tomllib

import pytest
from pydantic import ValidationError

from recipes.artifacts.steps import how_keys
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.places import ROOT
from recipes.base.toml import short_float, toml_table, toml_value
from recipes.config import validate
from recipes.config.load import as_toml, builders, load, profiles, read_file
from recipes.config.schema import DEFAULT_PROFILE, Balance, Experts, Mix, Model, Rl, Sft, model_folder
from tests.helpers.fake_pipeline import set_up

FILE = ROOT / "recipes.toml"
RECIPES = read_file(FILE)
CORE = ("analogseeker",)  # recipes of a published system; one that `new` has written needs no gpu or paper profile
CASES = [(name, profile) for name, table in RECIPES.items() for profile in profiles(table)]


def test_how_many_recipes_and_builders_there_are():
    assert len(RECIPES) >= 1 and len(CASES) >= 3 and {table["builder"] for table in RECIPES.values()} <= set(builders())


@pytest.mark.parametrize("name, profile", CASES)
def test_every_recipe_of_the_repository_is_valid_and_shows_toml_that_runs_again(name, profile, tmp_path):
    recipe = load(FILE, name, profile, here=False)
    shown = tmp_path / "shown.toml"
    shown.write_text(as_toml(recipe))
    again = load(shown, name, here=False)
    tables = ("summary", "builder", "seed", "data", "model", "sft", "rl", "eval")
    assert [getattr(again, table) for table in tables] == [getattr(recipe, table) for table in tables]


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
        + '[demo.profiles.big.sft]\nrank = 4\n[demo.profiles.big.eval]\ntasks = ["analogseeker_transfer"]\n'
    )
    plain, big = load(file, "demo"), load(file, "demo", "big")
    assert (plain.sft.rank, plain.profile) == (16, DEFAULT_PROFILE) and (big.sft.rank, big.profile) == (4, "big")
    assert big.sft.learning_rate == plain.sft.learning_rate == 1e-4
    assert big.eval.tasks == ("analogseeker_transfer",)  # a list is replaced, not joined


def test_an_optional_table_is_left_out_by_false_in_a_profile_or_by_set(file):
    file.write_text(file.read_text() + "[demo.profiles.plain]\nrl = false\n")
    assert load(file, "demo").rl is not None
    assert load(file, "demo", "plain").rl is None and load(file, "demo", sets=["rl=false"]).rl is None
    with pytest.raises(ConfigErrors, match="sft: must be a table"):
        load(file, "demo", sets=["sft=false"])


def test_reinforcement_of_prompts_without_their_signal_is_refused():
    with pytest.raises(ConfigErrors, match=r"data\.view: reinforcement would reward guesses"):
        load(FILE, "vsllava", sets=["data.view=none"], here=False)
    assert load(FILE, "vsllava", "ablation", here=False).rl is None
    assert load(FILE, "vsllava", "paper", here=False).data.view == "image"


def test_set_comes_last_and_reads_toml_values_or_bare_strings(file):
    file.write_text(file.read_text() + "[demo.profiles.big.sft]\nrank = 4\n")
    sets = [
        "sft.rank=8",
        "sft.method=full",
        'sft.scheduler="linear"',
        "sft.packing=false",
        "sft.target=['q_proj', \"v_proj\"]",
        "sft.epochs=2",
        "sft.learning_rate = 2e-4",
        "data.tests.knowledge=7",
        "summary=two words = one summary",
    ]
    recipe = load(file, "demo", "big", sets)
    assert (
        recipe.sft.rank == 8
        and recipe.sft.method == "full"
        and recipe.sft.scheduler == "linear"
        and recipe.sft.packing is False
    )
    assert recipe.sft.target == ("q_proj", "v_proj") and recipe.sft.epochs == 2.0 and recipe.sft.learning_rate == 2e-4
    assert recipe.data.tests.knowledge == 7 and recipe.summary == "two words = one summary"


def test_a_recipe_without_rl_gets_none_until_it_is_set(file):
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("rl.")))
    assert load(file, "demo").rl is None
    assert load(file, "demo", None, ["rl.steps=3"]).rl == Rl(steps=3)


def test_tables_are_frozen_and_refuse_infinities():
    with pytest.raises(ValidationError):
        Sft().rank = 3
    with pytest.raises(ValidationError):
        Sft(learning_rate=math.inf)


def test_every_field_says_what_it_is():
    for table in (Balance, Experts, Mix, Model, Sft, Rl):
        assert all(field.description for field in table.model_fields.values()), table


def test_what_is_execution_and_what_is_identity():
    assert how_keys(Sft()) == {"save_steps", "micro_batch", "micro_tokens"} and how_keys(Model()) == {"attn"}
    assert how_keys(Sft(balance=Balance(weight=1.0))) == {"save_steps"}
    assert how_keys(Rl()) == {"save_steps", "micro_batch", "use_vllm"}


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
