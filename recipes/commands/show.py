"""`list`: the recipes of a file, one line each, from the raw TOML alone; `show`: one of them resolved."""

from pathlib import Path
from typing import Any

from recipes.config.draft import stage_tables
from recipes.config.load import as_toml, profiles, read_file
from recipes.config.schema import DEFAULT_PROFILE
from recipes.config.slots import load
from recipes.config.typed import ALWAYS


def list_recipes(file: Path) -> str:
    """Name, steps, profiles and summary of every recipe, aligned."""
    rows = [("recipe", "steps", "profiles", "summary")]
    for name, table in read_file(file).items():
        rows.append((name, " ".join(name_steps(table, file)), " ".join(profiles(table)), str(table.get("summary", ""))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]).rstrip() for row in rows
    )


def name_steps(table: dict[str, Any], file: Path) -> list[str]:
    """The steps of a raw recipe table: those that it lists, or those of its tables in their order."""
    if isinstance(table.get("steps"), dict):
        return list(table["steps"])
    home = file.resolve().parent
    kinds = {kind for name, kind in stage_tables(home).items() if name in table} | set(ALWAYS)
    return sorted(kinds, key=lambda kind: (load("stages", kind, home).PLACE, kind))


def resolved(recipe):
    """The recipe as TOML that runs again. Another profile than the default one is kept as an empty table, so that its
    name can be given, and the results lie where those of the profile do."""
    if recipe.profile == DEFAULT_PROFILE:
        return as_toml(recipe)
    named = f"# run it with --profile {recipe.profile}: all of that profile is in the table\n"
    return f"{named}{as_toml(recipe)}[{recipe.name}.profiles.{recipe.profile}]\n"
