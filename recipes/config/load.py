"""Recipe files: TOML in, a typed `Recipe` or every error at once out; and back to TOML that runs again.

table of the recipe  <-  [NAME.profiles.PROFILE]  <-  --set dotted.key=value
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.toml import read_toml, toml_table, toml_value
from recipes.config.schema import DEFAULT_PROFILE, Recipe
from recipes.config.typed import NAME, TypedDraft
from recipes.config.validate import nearest


def read_file(file):
    """The recipe tables of a TOML file, by name. Raises `RecipeError`; a syntax error or double key names its line."""
    file = Path(file)
    try:
        tables = read_toml(file)
    except FileNotFoundError:
        raise RecipeError("no such recipe file", where=file, fix="give another with --file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError("the recipe file cannot be read", where=file, got=error) from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError("the file is not valid TOML", where=file, got=error, fix="mend that line") from None
    for name, table in tables.items():
        if not isinstance(table, dict) or not NAME.fullmatch(name):
            raise RecipeError(
                f"{name!r} is not a recipe",
                where=file,
                got=toml_value(table) if not isinstance(table, dict) else f"[{name}]",
                allowed="one table per recipe, named in lower case letters, digits and _",
                fix=f"rename or remove {name!r}",
            )
    return tables


def profiles(table):
    """The profiles of a raw recipe table; the default one exists even where it overlays nothing."""
    named = table.get("profiles", {})
    return list(dict.fromkeys([DEFAULT_PROFILE, *(named if isinstance(named, dict) else ())]))


def load(
    file: str | Path, name: str, profile: str | None = None, sets: Iterable[str] = (), here: bool = True
) -> Recipe:
    """The recipe `name` of `file` under `profile` with `--set` strings applied last.

    Every profile of the recipe is validated, not only the chosen one. `here=False` leaves out the checks that look at
    this machine (folders that must exist). Raises `RecipeError` for a file or name that is not there, else
    `ConfigErrors` with every problem found.
    """
    tables = read_file(file)
    if name not in tables:
        raise RecipeError(
            f"no recipe {name!r}",
            where=file,
            allowed=", ".join(tables) or "(the file is empty)",
            fix=nearest(name, tables),
        )
    profile = profile or DEFAULT_PROFILE
    if profile not in profiles(tables[name]):
        raise RecipeError(
            f"recipe {name!r} has no profile {profile!r}",
            where=f"{file} [{name}.profiles]",
            allowed=", ".join(profiles(tables[name])),
            fix=nearest(profile, profiles(tables[name])),
        )
    problems, chosen = [], None
    for other in [profile] + [p for p in profiles(tables[name]) if p != profile]:
        draft = TypedDraft(Path(file), name, other, tables[name])
        for text in sets if other == profile else ():
            draft.set(text)
        recipe = draft.validate(here and other == profile)
        chosen = recipe if other == profile else chosen
        problems += [p for p in draft.problems if str(p) not in {str(q) for q in problems}]
    if problems:
        raise ConfigErrors(problems)
    assert chosen is not None, "a draft without problems gives a recipe"
    return chosen


def as_toml(recipe: Recipe) -> str:
    """The resolved recipe as one TOML table without profiles; running it gives the same fingerprints."""
    head = {"summary": recipe.summary, "builder": recipe.builder, "seed": recipe.seed}
    head = {key: value for key, value in head.items() if value != ""}
    tables: dict[str, Any] = {"model": recipe.model.model_dump(mode="json")}
    steps: dict[str, Any] = {}
    for step in recipe.steps:
        settings = step.settings.model_dump(mode="json")
        if not recipe.explicit:
            tables[getattr(step.module, "TABLE", step.kind)] = settings
            continue
        about: dict[str, Any] = {"use": step.kind}
        about |= {"builder": step.builder} if step.kind == "data" else {"inputs": list(step.inputs)}
        about |= {} if step.measured else {"measured": False}
        steps[step.name] = about | settings
    return toml_table(recipe.name, {**head, **tables, **({"steps": steps} if steps else {})})
