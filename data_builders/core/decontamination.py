"""Rows that hold a test item are taken out: of the recipe's own test, and of test sets from outside."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from data_builders.core.leaks import KINDS, Compared, Phrases, compare_row, find_leaks
from data_builders.core.ledger import Ledger
from data_builders.core.paraphrases import Paraphrases, find_paraphrases
from recipes.base.rows import Row, SftRow

LEARNT = ("sft", "sft_general", "cpt", "dpo", "rl")  # files of rows that a model is trained on, by their stems
OWN = "the test"  # what the ledger calls the recipe's own test
SHOWN = 160  # characters of an overlap in the ledger

AnyRow = TypeVar("AnyRow", bound=Row | Mapping[str, Any])


def remove_test_items(
    rows: Sequence[AnyRow],
    own: Sequence[Compared],
    outside: Mapping[str, Sequence[Compared]],
    ledger: Ledger,
    step: str,
    *,
    kinds: Iterable[str] = KINDS,
    phrases: Iterable[str] = (),
    alike: Paraphrases | None = None,
) -> tuple[list[AnyRow], dict[str, dict[str, int]]]:
    """(the rows that hold no test item, {test set: {"items", "items_hit", "rows_removed"}}).

    Rows are those of a builder, or objects as JSONL files hold them. Of the recipe's `own` test only overlaps of
    `kinds` count; of test sets from `outside`, {name: items}, all do. With `alike` rows that ask the same in other
    words go too. Each row that goes is counted at this step of the ledger with the test set and the kind of overlap, an
    own test item before others. Fails closed: there is no threshold of how many.
    """
    compared = [compare_row(row, str(place)) for place, row in enumerate(rows)]
    gone: dict[int, tuple[str, dict[str, str]]] = {}
    counts = {}
    for name, items, counted in [(OWN, own, set(kinds)), *((name, outside[name], set(KINDS)) for name in outside)]:
        found = [hit for hit in find_leaks(compared, items, Phrases(phrases)) if hit["kind"] in counted]
        found += find_paraphrases(compared, items, alike) if alike else []
        places = {int(hit["row"]) for hit in found}
        counts[name] = {
            "items": len(items),
            "items_hit": len({hit["item"] for hit in found}),
            "rows_removed": len(places - gone.keys()),
        }
        for hit in found:
            gone.setdefault(int(hit["row"]), (name, hit))
    kept = []
    for place, row in enumerate(rows):
        if place in gone:
            name, hit = gone[place]
            reason = f"holds an item of {name} ({hit['kind']})"
            ledger.drop(step, reason, _source(row, place), f"{hit['item']}: {hit['text']}"[:SHOWN])
        else:
            ledger.keep(step)
            kept.append(row)
    return kept, counts


def is_learnt(stem: str, rows: Sequence[Any]) -> bool:
    """Whether a file of rows is one to train on: by its name, or because it holds replies to learn."""
    return stem in LEARNT or any(
        isinstance(row, SftRow) or (isinstance(row, Mapping) and ("completion" in row or "chosen" in row))
        for row in rows
    )


def _source(row: Row | Mapping[str, Any], place: int) -> str:
    """Which row it was, for the ledger: the record that it was made from, else its id, else its place from 1."""
    about = {"lineage": row.lineage, "id": row.id} if isinstance(row, Row) else row
    lineage = about.get("lineage") or {}
    return lineage.get("record") or about.get("id") or f"row {place + 1}"
