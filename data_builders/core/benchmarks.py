"""Test sets from outside: read from local files, and training rows that hold one of their items taken out."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_builders.core.leaks import KINDS, Phrases, find_leaks
from data_builders.core.paraphrases import find_paraphrases
from recipes.base.errors import RecipeError
from recipes.base.general_rows import ROLES, iterate_records

QUESTIONS = (
    *("question", "prompt", "problem", "query", "instruction", "input", "text", "Body"),
    *("messages", "conversations"),
)
SUFFIXES = (".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".csv.gz")


@dataclass(frozen=True)
class Item:
    """A test item as leaks.find_leaks compares it: by its question alone."""

    id: str
    prompt: list[dict]
    reply: str = ""
    grader: str = "text"


def outside(names: Iterable[str]) -> dict[str, list[Item]]:
    """{name: its items} of the test sets that a `[data]` table names in `benchmarks`, read before anything is built.

    The items of a test set are the rows of a .jsonl or .csv file, of the list in a .json file, gzip or not, or of a
    folder of such.
    A row's question is its first field of QUESTIONS that holds text (chat messages: the last user turn). Raises
    RecipeError where there is no such file or a row has no question.
    """
    return {
        name: [Item(f"{file.name}:{n}", question(row, file, n)) for file in files_of(name) for n, row in rows(file)]
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


def rows(file: Path) -> Iterator[tuple[int, Any]]:
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


def question(row: object, file: Path, number: int) -> list[dict[str, str]]:
    """The prompt of a row, one user turn."""
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
    return [{"role": "user", "content": value}]


def without_items(rows, benchmarks, ledger, step, phrases=()):
    """(rows that hold no item of any benchmark, {benchmark: how many went}); `benchmarks` is {name: items}.

    `rows` are objects as JSONL files hold them: a `text` to go on with, or turns in `prompt` and in `completion`, or in
    `chosen` and `rejected`. Each row that goes is counted at this step of the ledger with the benchmark and the kind of
    overlap.
    """

    def turns(row):
        if "text" in row:
            return [{"content": row["text"]}]
        return [turn for key in ("completion", "chosen", "rejected", "prompt") for turn in row.get(key, ())]

    items, gone = [Item(str(place), turns(row)) for place, row in enumerate(rows)], {}
    for name, tests in benchmarks.items():
        for hit in find_leaks(items, tests, Phrases(phrases)):
            gone.setdefault(int(hit["row"]), (name, hit))
    for place in sorted(gone):
        name, hit = gone[place]
        detail = f"{hit['item']}: {hit['text']}"[:160]
        ledger.drop(step, held(name, hit), rows[place].get("id", f"row {place + 1}"), detail)
    kept = [row for place, row in enumerate(rows) if place not in gone]
    ledger.keep(step, len(kept))
    return kept, Counter(name for name, _ in gone.values())


def held(name, hit):
    """The reason for which a row goes."""
    return f"holds an item of {name} ({hit['kind']})"


def without_leaks(training, tests, benchmarks, phrases, ledger, kinds=KINDS[-1:], alike=None):
    """(training rows that hold no item of any benchmark, {name: counts}); `benchmarks` is {name: [Item]}.

    Of the recipe's own `tests` only overlaps of `kinds` count here. Without them these are pieces of 50 characters,
    which two sentences of one book may share: what is worse is then a fault of the builder, and for leaks.leak_report
    to stop at. With `alike` (a Paraphrases) rows that ask the same in other words go too. Each row that goes is counted
    with the benchmark and the kind of overlap. Fails closed: there is no threshold of how many.
    """

    def hits(items, kinds):
        found = [hit for hit in find_leaks(training, items, Phrases(phrases)) if hit["kind"] in kinds]
        return found + (find_paraphrases(training, items, alike) if alike else [])

    own = hits(tests, kinds)
    gone, counts = {hit["row"]: ("the test", hit) for hit in reversed(own)}, {}
    for name, items in benchmarks.items():
        found = hits(items, KINDS)
        counts[name] = {
            "items": len(items),
            "items_hit": len({hit["item"] for hit in found}),
            "rows_removed": len({hit["row"] for hit in found} - gone.keys()),
        }
        for hit in found:
            gone.setdefault(hit["row"], (name, hit))
    kept = []
    for row in training:
        if row.id in gone:
            name, hit = gone[row.id]
            ledger.drop(
                "decontamination",
                held(name, hit),
                row.lineage.get("record", row.id),
                f"{hit['item']}: {hit['text']}"[:160],
            )
        else:
            ledger.keep("decontamination")
            kept.append(row)
    return kept, counts
