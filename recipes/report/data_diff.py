"""Compare two data artefacts: which rows were added, removed or changed, and from which source they come."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.report.jsonfiles import read_json, read_rows
from recipes.report.sections import flatten

FILES = ("sft.jsonl", "rl.jsonl", "test.jsonl")
WORDS = ("same", "changed", "added", "removed")
NOT_PLACE = ("record", "requests", "filters", "span", "judge")  # of a lineage: follows from the content
NOT_CONTENT = ("id", "lineage")
SHOWN = 5  # examples of each kind of change
SOURCES = 20  # sources that are listed; the others are summed up
LONG = 100  # characters of a text that is shown


@dataclass(frozen=True)
class DataDiff:
    """`files` and `sources` count rows by name and WORDS; a changed row counts at its new source.

    `examples` are (word, file, row before or None, row after or None); `nodes` counts learning nodes by WORDS; `card`
    holds (key, before, after) of the data cards where they differ.
    """

    files: dict[str, Counter]
    sources: dict[str, Counter]
    examples: list[tuple[str, str, dict | None, dict | None]]
    nodes: Counter
    card: list[tuple[str, str, str]]


def compare_data(a: Path, b: Path) -> DataDiff:
    """Rows of artefact `b` against `a`.

    Two rows are the *same* where file and id are equal, the id being a hash of the content. What is left is paired by
    where it comes from: file, kind, node, fact, and what its lineage says of wording and draw; such a pair is
    *changed*. Every row of either side is counted once (a pair once). Raises RecipeError for broken files.
    """
    homes = [{node["node_id"]: node for node in read_rows(folder / "nodes.jsonl")} for folder in (a, b)]
    files, sources, examples = {}, defaultdict(Counter), []
    for name in FILES:
        before, after = (list(read_rows(folder / name)) for folder in (a, b))
        files[name] = Counter()
        for word, old, new in _pairs(before, after):
            files[name][word] += 1
            source = _source(new, homes[1]) if new is not None else _source(old or {}, homes[0])
            sources[source][word] += 1
            if word != "same" and sum(kind == word for kind, *_ in examples) < SHOWN:
                examples.append((word, name, old, new))
    nodes = Counter()
    for node_id in homes[0].keys() | homes[1].keys():
        old, new = (home.get(node_id) for home in homes)
        if old is None or new is None:
            nodes["added" if old is None else "removed"] += 1
        else:
            nodes["same" if old.get("text") == new.get("text") else "changed"] += 1
    return DataDiff(files, dict(sources), examples, nodes, _cards(a, b))


def as_text(found: DataDiff) -> list[str]:
    """The comparison in lines."""
    lines = ["", _head("rows"), *(_line(name, count) for name, count in found.files.items())]
    lines += [_line("learning nodes", found.nodes)] if found.nodes else []
    moved = {name: count for name, count in found.sources.items() if set(count) - {"same"}}
    if moved:
        order = sorted(moved, key=lambda name: (moved[name]["same"] - moved[name].total(), name))
        lines += ["", _head("by source"), *(_line(name, moved[name]) for name in order[:SOURCES])]
        rest = sum((moved[name] for name in order[SOURCES:]), Counter())
        lines += [_line(f"{len(order) - SOURCES} more", rest)] if rest else []
        untouched = len(found.sources) - len(moved)
        lines += [f"{untouched} more sources without a change"] if untouched else []
    for word, name, old, new in found.examples:
        row = new or old or {}
        lines += ["", f"{word} in {name}: {row['id']}"]
        if old is not None and new is not None:
            for key in sorted(old.keys() | new.keys()):
                if key not in NOT_CONTENT and old.get(key) != new.get(key):
                    lines += [f"  {key}", f"    - {_short(old.get(key), new.get(key))}"]
                    lines += [f"    + {_short(new.get(key), old.get(key))}"]
        else:
            lines.append(f"  {_short(row.get('prompt'))}")
    if found.card:
        lines += ["", "data cards"] + [f"  {key}: {old} -> {new}" for key, old, new in found.card]
    return lines


def _pairs(before: list[dict], after: list[dict]) -> Iterator[tuple[str, dict | None, dict | None]]:
    """Yields (word, row before or None, row after or None)."""
    old, left = {row["id"]: row for row in before}, defaultdict(list)
    new = {row["id"] for row in after}
    for row in before:
        if row["id"] not in new:
            left[_place(row)].append(row)
    for row in after:
        if row["id"] in old:
            yield "same", old[row["id"]], row
        elif left[_place(row)]:
            yield "changed", left[_place(row)].pop(0), row
        else:
            yield "added", None, row
    for rows in left.values():
        for row in rows:
            yield "removed", row, None


def _place(row: dict[str, Any]) -> str:
    """Where a row comes from, as a key."""
    lineage = {key: value for key, value in row.get("lineage", {}).items() if key not in NOT_PLACE}
    return json.dumps([row.get("kind"), row.get("node_id"), row.get("fact_id"), lineage], sort_keys=True)


def _source(row: dict[str, Any], nodes: dict[str, dict]) -> str:
    node = nodes.get(row.get("node_id", ""), {})
    return str(node.get("source") or row.get("family") or "unknown source").split(":")[0]


def _cards(a: Path, b: Path) -> list[tuple[str, str, str]]:
    cards = []
    for folder in (a, b):
        card = read_json(folder / "card.json") if (folder / "card.json").is_file() else {}
        cards.append(flatten({key: value for key, value in card.items() if key not in ("similarity", "leaks")}))
    keys = dict.fromkeys([*cards[0], *cards[1]])
    pairs = [(key, cards[0].get(key, "–"), cards[1].get(key, "–")) for key in keys]
    return [(key, _short(old), _short(new)) for key, old, new in pairs if old != new]


def _head(title: str) -> str:
    return f"{title:<34}" + "".join(f"{word:>10}" for word in WORDS)


def _line(name: str, count: Counter) -> str:
    return f"{name[-34:]:<34}" + "".join(f"{count[word]:>10,}" for word in WORDS)


def _short(value: Any, other: Any = None) -> str:
    """One line of a value, from a little before the place where it begins to differ from `other`."""
    texts = []
    for each in (value, other):
        if isinstance(each, list) and each and isinstance(each[-1], dict):
            each = each[-1].get("content", each[-1])
        texts.append(" ".join(str(each).split()))
    text, rival = texts
    first = next((i for i, (x, y) in enumerate(zip(text, rival)) if x != y), min(len(text), len(rival)))
    start = max(0, first - LONG // 3) if other is not None and len(text) > LONG else 0
    cut = text[start : start + LONG]
    return "…" * (start > 0) + cut + "…" * (start + LONG < len(text))
