"""Read JSON and JSONL files of an artefact, with errors that name the file and the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.base.jsonl import iterate_jsonl


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object. Raises RecipeError where the file is absent or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(
            "A file of the artefact cannot be read",
            where=str(path),
            got=str(error),
            allowed="a JSON object",
            fix="the artefact is damaged: build it again with --fresh",
        ) from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file in order; none where the artefact has no such file. Raises RecipeError as
    `iterate_jsonl`.
    """
    return iterate_jsonl(path) if path.is_file() else iter(())
