"""JSON and JSONL files: read with errors that name file and line, written so that nobody reads half a file."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError


def iterate_jsonl(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file in order, read as they are asked for; empty lines and a byte order mark do not count.

    Raises:
        RecipeError: a line is no JSON object.
        OSError: the file cannot be read.
    """
    return (row for _, row in iterate_lines(file))


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """All objects of a JSONL file. Raises as `iterate_jsonl`."""
    return list(iterate_jsonl(file))


def iterate_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("FILE, line N", object) of each line. Raises as `iterate_jsonl`."""
    with open(file, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row, problem = json.loads(line), "another kind of value"
            except ValueError as error:
                row, problem = None, str(error)
            if not isinstance(row, dict):
                raise RecipeError(
                    "a line is not a JSON object",
                    where=f"{file}, line {number}",
                    got=f"{line[:80].strip()} ({problem})",
                    allowed="one JSON object a line",
                    fix="mend that line; in an artefact, which was edited or is damaged, build it again with --fresh",
                )
            yield f"{file}, line {number}", row


def encode_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces that carry no meaning, non-ASCII kept."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def write_jsonl(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines under another name, then rename. Half a surrogate pair, as cut texts hold it, is written
    as JSON's own escape, for UTF-8 has no bytes for it."""
    part = file.with_name(file.name + ".part")
    with part.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        for row in rows:
            stream.write(encode_json(row) + "\n")
    os.replace(part, file)


def write_json(file: Path, value: Any) -> None:
    """Write one JSON document for people to read, in the same safe way."""
    part = file.with_name(file.name + ".part")
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1) + "\n"
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(part, file)
