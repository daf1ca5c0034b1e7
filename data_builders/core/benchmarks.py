"""Test sets from outside, read from local files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from data_builders.core.leaks import Compared, compare_question
from recipes.base.errors import RecipeError
from recipes.base.general_rows import ROLES, iterate_records
from recipes.base.rows import read_exchange

QUESTIONS = (
    *("question", "prompt", "problem", "query", "instruction", "input", "text", "Body"),
    *("messages", "conversations"),
)
SUFFIXES = (".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".csv.gz")


def read_benchmarks(names: Iterable[str]) -> dict[str, list[Compared]]:
    """{name: its items} of the test sets that a `[data]` table names in `benchmarks`, read before anything is built.

    The items of a test set are the rows of a .jsonl or .csv file, of the list in a .json file, gzip or not, or of a
    folder of such.
    A row's question is its first field of QUESTIONS that holds text (chat messages: the last user turn); of a row that
    a recipe wrote, what it asks with its context. Raises RecipeError where there is no such file or a row has no
    question.
    """
    return {
        name: [
            compare_question(f"{file.name}:{number}", read_question(row, file, number))
            for file in files_of(name)
            for number, row in read_rows(file)
        ]
        for name in names
    }


def files_of(name: str) -> list[Path]:
    """The files of a test set; a relative path starts from the current folder.

    Raises RecipeError where there is none.
    """
    path = Path(name).expanduser()
    files = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES)) if path.is_dir() else [path]
    if not files or not all(file.is_file() and file.name.endswith(SUFFIXES) for file in files):
        raise RecipeError(
            "A test set cannot be found.",
            where="data.benchmarks",
            got=str(path),
            allowed="a file or folder of " + ", ".join(SUFFIXES),
            fix=f"correct the path; it starts from {Path.cwd()}",
        )
    return files


def read_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """(number from 1, row) of one file."""
    try:
        found = [value for _, value in iterate_records(file)]
    except RecipeError as error:
        raise RecipeError(
            "A test set cannot be read.",
            where=error.where,
            got=f"{error.what}: {error.got}",
            allowed="one JSON object a line, one list of objects, or a table with a head line",
            fix="mend the file, or take it out of data.benchmarks",
        ) from None
    return enumerate(found, 1)


def read_question(row: Any, file: Path, number: int) -> str:
    """What a row asks."""
    if isinstance(row, dict) and (exchange := read_exchange(row)):
        return exchange.asked
    value = next((row[key] for key in QUESTIONS if row.get(key)), None) if isinstance(row, dict) else row
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        turns = [(turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))) for turn in value]
        value = next((text for role, text in reversed(turns) if ROLES.get(role) == "user"), None)
    if not isinstance(value, str) or not value.strip():
        raise RecipeError(
            "A row of a test set has no question.",
            where=f"{file}, row {number}",
            got=str(row)[:80],
            allowed="a text in one of " + ", ".join(QUESTIONS),
            fix="rename the field, or take the file out of data.benchmarks",
        )
    return value
