"""Read JSONL files row by row, with errors that name the file and the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file in order, read as they are asked for; empty lines are passed over.

    Raises:
        RecipeError: a line is no JSON object.
        OSError: the file cannot be read.
    """
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise RecipeError(
                    "a line is not a JSON object",
                    where=f"{file}, line {number}",
                    got=line[:80].strip(),
                    allowed="one JSON object a line",
                    fix="mend that line; in an artefact, which was edited or is damaged, build it again with --fresh",
                )
            yield row
