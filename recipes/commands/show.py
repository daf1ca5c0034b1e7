"""`list`: the recipes of a file, one line each, from the raw TOML alone."""

from recipes.loader import profiles, read_file
from recipes.trained import TRAINED


def listing(file):
    """Name, stages, profiles and summary of every recipe, aligned."""
    rows = [("recipe", "stages", "profiles", "summary")]
    for name, table in read_file(file).items():
        stages = " ".join(["data", *(stage for stage in (*TRAINED, "rerank") if stage in table), "evaluate"])
        rows.append((name, stages, " ".join(profiles(table)), str(table.get("summary", ""))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]).rstrip() for row in rows
    )
