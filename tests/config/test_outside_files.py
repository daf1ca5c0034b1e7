"""Methods and stages beside a recipe file: none runs before a recipe names it, none from outside the folder."""

import pytest

from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.places import ROOT
from recipes.config.load import as_toml, load
from recipes.config.slots import find

STAGE = """
from pathlib import Path
Path({mark!r}).touch()
TABLE = "extra"
VERSION, PLACE, LEAVES = 1, 15, "rows"
from recipes.base.table import Table
class Config(Table):
    size: int = 1
def list_reads(spec): return {{}}
"""


def write_home(folder):
    """A folder with a recipe file and, beside it, a stage and a loss that leave a mark when they run."""
    folder.mkdir(parents=True)
    (folder / "stages").mkdir()
    (folder / "methods" / "losses").mkdir(parents=True)
    (folder / "stages" / "own.py").write_text(STAGE.format(mark=str(folder / "ran")), encoding="utf-8")
    loss = STAGE.replace("TABLE", "NAME").format(mark=str(folder / "ran"))
    (folder / "methods" / "losses" / "own_loss.py").write_text(loss, encoding="utf-8")
    text = as_toml(load(ROOT / "recipes.toml", "analogseeker", here=False))
    (folder / "recipes.toml").write_text(text, encoding="utf-8")
    return folder / "recipes.toml"


def test_a_file_beside_the_recipe_runs_when_it_is_named_and_not_before(tmp_path):
    file = write_home(tmp_path / "home")
    load(file, "analogseeker", here=False)
    assert "own_loss" in find("losses", file.parent) and not (file.parent / "ran").exists()
    recipe = load(file, "analogseeker", sets=["extra.size=3"], here=False)
    assert [step.settings.size for step in recipe.steps if step.kind == "own"] == [3]
    assert (file.parent / "ran").exists()


@pytest.mark.parametrize("name", ["../../../evil", "/tmp/evil", "os", "..evil", "_own_loss", "own_loss.py", "linked"])
def test_a_recipe_names_no_file_outside_its_folder(name, tmp_path):
    file, mark = write_home(tmp_path / "home"), tmp_path / "evil ran"
    evil = STAGE.format(mark=str(mark))
    for place in (tmp_path / "evil.py", file.parent / "methods" / "evil.py"):
        place.write_text(evil, encoding="utf-8")
    (file.parent / "methods" / "losses" / "linked.py").symlink_to(tmp_path / "evil.py")
    with pytest.raises(ConfigErrors, match="no method of the slot losses has this name"):
        load(file, "analogseeker", sets=[f'sft.losses.own_loss.use="{name}"'], here=False)
    assert not mark.exists() and not (file.parent / "ran").exists()


def test_a_broken_file_that_nobody_names_is_no_matter(tmp_path):
    file = write_home(tmp_path / "home")
    (file.parent / "stages" / "own.py").write_text("def (", encoding="utf-8")
    assert load(file, "analogseeker", here=False).name == "analogseeker"
    with pytest.raises((RecipeError, SyntaxError)):
        load(file, "analogseeker", sets=["own.size=1"], here=False)
