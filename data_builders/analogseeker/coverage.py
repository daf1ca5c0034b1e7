"""How much of what a source states reaches a row: facts found, facts in rows, and why the others are in none."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from data_builders.analogseeker.extractive import STEP
from data_builders.core.ledger import Ledger
from data_builders.core.quantities import find_quantities
from data_builders.core.schema import Node
from recipes.base.jsonl import iterate_jsonl

FILES = ("sft.jsonl", "rl.jsonl", "test.jsonl")
NOT_DRAWN = "not drawn, or held out and not drawn for the test"


def measure_coverage(
    out: Path, nodes: Iterable[Node], facts: Collection[str], origin: Mapping[str, str], ledger: Ledger
) -> dict[str, Any]:
    """{"found", "reached", "share", "left_out": {reason: count}} of the facts that a build by rules found.

    `facts` are the ids of those that were asked for; `origin` names the fact of every record. To what was found belong
    the quantities that mining left out, and those of nodes that are not asked about.
    """
    reached = {row["fact_id"] for name in FILES for row in iterate_jsonl(out / name)} & set(facts)
    reasons = defaultdict(Counter)
    left_out = Counter()
    for drop in ledger.rows:
        if drop["step"] == STEP:
            left_out[drop["reason"]] += drop["count"]
        elif drop["source"] in origin:
            reasons[origin[drop["source"]]][drop["reason"]] += 1
    for fact in facts:
        if fact not in reached:
            left_out[reasons[fact].most_common(1)[0][0] if reasons[fact] else NOT_DRAWN] += 1
    for node in nodes:
        stated = len(find_quantities(node.text)) if node.flags else 0
        if stated:
            left_out[f"in a section that is too {node.flags[0]}"] += stated
    return _summed(len(reached), left_out)


def measure_quantities(out: Path, nodes: Iterable[Node]) -> dict[str, Any]:
    """The same for a model's build: the quantities that a section states, and those that a row about it shows."""
    shown = defaultdict(list)
    for name in FILES:
        for row in iterate_jsonl(out / name):
            turns = [*row["prompt"], *row.get("completion", ())]
            texts = [turn["content"] for turn in turns] + [row.get("reply", ""), row.get("answer", "")]
            shown[row["node_id"]] += [_squeezed(text) for text in texts if isinstance(text, str)]
    reached, left_out = 0, Counter()
    for node in nodes:
        for quantity in {_squeezed(node.text[one.start : one.end]) for one in find_quantities(node.text)}:
            if any(quantity in text for text in shown[node.node_id]):
                reached += 1
            else:
                left_out[f"in a section that is too {node.flags[0]}" if node.flags else "in no row of its section"] += 1
    return _summed(reached, left_out)


def describe_coverage(coverage: Mapping[str, Any]) -> str:
    """One line: how many of how many, and the reasons for the others."""
    line = f"coverage: {coverage['reached']:,} of {coverage['found']:,} facts of the source reach a row"
    reasons = [f"{count:,} {reason}" for reason, count in coverage["left_out"].items()]
    return f"{line}; the others: {', '.join(reasons)}" if reasons else line


def _summed(reached: int, left_out: Counter[str]) -> dict[str, Any]:
    found = reached + left_out.total()
    share = round(reached / found, 3) if found else None
    return {"found": found, "reached": reached, "share": share, "left_out": dict(left_out.most_common())}


def _squeezed(text: str) -> str:
    return "".join(text.split())
