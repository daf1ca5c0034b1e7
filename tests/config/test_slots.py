"""Tables of slots: which method a table is of, what a profile and --set change of it, and methods beside the file."""

import pytest

from recipes.artifacts.steps import prepare
from recipes.base.errors import ConfigErrors
from recipes.config import slots
from recipes.config.load import load
from tests.helpers.fake_pipeline import set_up

BESIDE = '''"""A loss of its own."""
from pydantic import Field

from recipes.config.slots import Method

VERSION = 1


class Config(Method):
    """Its weight."""

    weight: float = Field(0.5, gt=0, description="of the term")
'''


@pytest.fixture
def file(tmp_path):
    file = set_up(tmp_path / "place") / "recipes.toml"
    file.write_text(file.read_text() + "[demo.sft.adapter]\nrank = 4\nalpha = 8.0\n")
    return file


def adapter(file, *sets, profile=None):
    return load(file, "demo", profile, sets).settings("sft").adapter


def overlay(file, text):
    file.write_text(file.read_text() + text)
    return file


def test_a_table_without_use_is_of_the_default_method(file):
    assert slots.name_of(adapter(file)) == "lora" and adapter(file).rank == 4


def test_set_of_another_method_drops_the_keys_of_the_old_one_but_keeps_what_is_set_with_it(file):
    assert adapter(file, "sft.adapter.use=full").model_dump() == {"use": "full"}
    for sets in (["sft.adapter.use=loramoe", "sft.adapter.rank=2"], ["sft.adapter.rank=2", "sft.adapter.use=loramoe"]):
        found = adapter(file, *sets)
        assert (found.use, found.rank, found.alpha) == ("loramoe", 2, 32.0)
    with pytest.raises(ConfigErrors, match=r"sft\.adapter\.rank: unknown key"):
        adapter(file, "sft.adapter.use=full", "sft.adapter.rank=2")


def test_naming_the_method_that_stands_there_already_changes_nothing(file):
    assert adapter(file, "sft.adapter.use=lora") == adapter(file)
    overlay(file, '[demo.profiles.big.sft.adapter]\nuse = "lora"\nrank = 64\n')
    assert (adapter(file, profile="big").rank, adapter(file, profile="big").alpha) == (64, 8.0)


def test_a_profile_that_names_another_method_takes_the_place_of_its_whole_table(file):
    overlay(file, '[demo.profiles.big.sft.adapter]\nuse = "loramoe"\nexperts = 8\n')
    big = adapter(file, profile="big")
    assert (big.use, big.experts, big.rank, big.alpha) == ("loramoe", 8, 16, 32.0)
    assert adapter(file, "sft.adapter.use=lora", "sft.adapter.rank=3", profile="big").rank == 3


def test_a_label_names_a_method_and_false_leaves_it_out(file):
    overlay(file, "[demo.sft.losses.kl_to_reference]\nweight = 0.2\n[demo.profiles.plain.sft.losses]\n")
    overlay(file, "kl_to_reference = false\n")
    losses = load(file, "demo").settings("sft").losses
    assert {label: (slots.name_of(loss), loss.weight) for label, loss in losses.items()} == {
        "kl_to_reference": ("kl_to_reference", 0.2)
    }
    assert load(file, "demo", "plain").settings("sft").losses == {}
    assert load(file, "demo", None, ["sft.losses.kl_to_reference=false"]).settings("sft").losses == {}
    with pytest.raises(ConfigErrors, match=r"sft\.losses\.kl_to_reference: must be a table"):
        load(file, "demo", None, ["sft.losses.kl_to_reference=true"])


def test_a_method_may_stand_twice_under_labels_of_its_own(file):
    sets = [f"sft.losses.{label}.use=kl_to_reference" for label in ("near", "far")]
    losses = load(file, "demo", None, [*sets, "sft.losses.far.direction=reference"]).settings("sft").losses
    assert {label: loss.direction for label, loss in losses.items()} == {"near": "policy", "far": "reference"}


def test_only_what_may_be_left_out_is_left_out_by_false(file):
    for key in ("seed", "model", "data"):
        with pytest.raises(ConfigErrors, match=f"{key}: (wrong value|must be a table)"):
            load(file, "demo", None, [f"{key}=false"])


def test_a_file_beside_the_recipe_is_a_method_and_its_content_part_of_the_result(file):
    own = file.parent / "methods" / "losses" / "evenness.py"
    own.parent.mkdir(parents=True)
    own.write_text(BESIDE)
    recipe = load(file, "demo", None, ["sft.losses.evenness.weight=2.0"])
    (loss,) = recipe.settings("sft").losses.values()
    assert (loss.use, loss.weight) == ("evenness", 2.0) and slots.outside(loss) == own
    sft = next(step for step in prepare(recipe) if step.name == "sft")
    assert sft.watched["methods"] == "evenness 1, lora 1" and sft.watched["methods from outside"] == {own.name: own}
    with pytest.raises(ConfigErrors, match="did you mean 'evenness'"):
        load(file, "demo", None, ["sft.losses.eveness.weight=2.0"])
    with pytest.raises(ConfigErrors, match=r"sft\.losses\.evenness\.weight: wrong value"):
        load(file, "demo", None, ["sft.losses.evenness.weight=-1"])


def test_names_that_begin_with_an_underscore_are_no_methods_and_a_broken_file_is_told(file):
    folder = file.parent / "methods" / "losses"
    folder.mkdir(parents=True)
    (folder / "_shared.py").write_text("")
    (folder / "torn.py").write_text("import no_such_package\n")
    (folder / "bare.py").write_text("VERSION = 1\n")
    assert "_shared" not in slots.find("losses", file.parent) and "torn" in slots.find("losses", file.parent)
    for name, said in (("torn", "cannot be imported"), ("bare", "its file has no Config")):
        with pytest.raises(ConfigErrors, match=rf"sft\.losses\.{name}: {said}|its file cannot be imported"):
            load(file, "demo", None, [f"sft.losses.{name}.weight=1.0"])


def test_this_package_comes_before_a_file_of_the_same_name(file):
    own = file.parent / "methods" / "adapters" / "lora.py"
    own.parent.mkdir(parents=True)
    own.write_text("raise RuntimeError\n")
    assert adapter(file).rank == 4 and slots.find_one("adapters", "lora", file.parent).origin == "recipes"


def test_a_stage_beside_the_recipe_that_cannot_be_imported_is_refused_by_its_file(file):
    (file.parent / "stages").mkdir()
    (file.parent / "stages" / "torn.py").write_text("import no_such_package\n")
    load(file, "demo")  # it is not looked into before a recipe names it
    with pytest.raises(Exception, match="the file of a stage cannot be imported") as refused:
        load(file, "demo", sets=["torn.steps=3"])
    assert "torn.py" in str(refused.value) and "no_such_package" in str(refused.value)
