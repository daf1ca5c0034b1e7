"""`list`: the recipes of a file, one line each, from the raw TOML alone; `show`: one of them resolved."""

from recipes.config.load import as_toml, profiles, read_file
from recipes.config.schema import DEFAULT_PROFILE
from recipes.config.stage_list import STAGES

ALWAYS = ("data", "evaluate")  # stages of every recipe, whatever its file says of them


def listing(file):
    """Name, stages, profiles and summary of every recipe, aligned."""
    rows = [("recipe", "stages", "profiles", "summary")]
    for name, table in read_file(file).items():
        stages = " ".join(stage.name for stage in STAGES if stage.table in table or stage.name in ALWAYS)
        rows.append((name, stages, " ".join(profiles(table)), str(table.get("summary", ""))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]).rstrip() for row in rows
    )


def resolved(recipe):
    """The recipe as TOML that runs again. Another profile than the default one is kept as an empty table, so that its
    name can be given, and the results lie where those of the profile do."""
    if recipe.profile == DEFAULT_PROFILE:
        return as_toml(recipe)
    named = f"# run it with --profile {recipe.profile}: all of that profile is in the table\n"
    return f"{named}{as_toml(recipe)}[{recipe.name}.profiles.{recipe.profile}]\n"
