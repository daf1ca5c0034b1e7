"""The ledger: at every step what came in equals what was kept plus what was dropped, and each drop has a reason."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

from recipes.base.errors import RecipeError

REASONS = 8  # of an empty build that are told
CLEANED = "decontamination"  # the step at which training rows that hold a test item go


class Ledger:
    """Counts what each step keeps and records what it drops."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.kept: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {}

    def keep(self, step: str, count: int = 1) -> None:
        """Count pieces kept at `step`."""
        self.kept[step] += count

    def drop(self, step: str, reason: str, source: str, detail: str = "", count: int = 1) -> None:
        """Record `count` pieces dropped at `step` for `reason`; `source` says which, `detail` shows some of it."""
        self.rows.append({"step": step, "reason": reason, "source": source, "detail": detail, "count": count})
        self.dropped.setdefault(step, Counter())[reason] += count

    def add(self, other: "Ledger") -> None:
        """Take in all that another ledger has counted and recorded."""
        self.kept.update(other.kept)
        for row in other.rows:
            self.drop(**row)

    def totals(self) -> dict[str, dict[str, Any]]:
        """{step: {"in", "kept", "dropped", "reasons": {reason: count}}}"""
        table = {}
        for step in sorted(self.kept.keys() | self.dropped.keys()):
            reasons = self.dropped.get(step, Counter())
            dropped = sum(reasons.values())
            table[step] = {
                "in": self.kept[step] + dropped,
                "kept": self.kept[step],
                "dropped": dropped,
                "reasons": dict(sorted(reasons.items())),
            }
        return table


def require_rows(rows: Sized, ledger: Ledger, what: str) -> None:
    """Raises RecipeError, with the most frequent reasons of the drops so far, where `rows` is empty.

    `what` says what the rows are.
    """
    if len(rows):
        return
    drops = Counter({(step, reason): n for step, counts in ledger.dropped.items() for reason, n in counts.items()})
    told = "; ".join(f"{n:,} {step}: {reason}" for (step, reason), n in drops.most_common(REASONS))
    raise RecipeError(
        "The build keeps nothing that could be trained on.",
        where=what,
        got=f"0 left; dropped were: {told or 'none, for nothing was made'}",
        allowed="1 row or more",
        fix="correct [data] by the reasons; replies that were paid for are kept, and none is asked for twice",
    )


def unbalanced(totals: Mapping[str, Mapping[str, Any]], flow: Iterable[Sequence[Sequence[str]]]) -> list[str]:
    """What does not add up in a ledger's `totals`, one sentence each: a step by itself, or a pair of `flow`.

    `flow` is a card's: [(steps, steps that together take in what those keep)]. Steps that did not occur count nothing.
    """
    faults = []
    for step, total in totals.items():
        if total["in"] != total["kept"] + total["dropped"] or total["dropped"] != sum(total["reasons"].values()):
            faults.append(f"{step}: {total['in']} in, {total['kept']} kept, dropped {total['reasons']}")
    for steps, following in flow:
        kept = sum(totals[step]["kept"] for step in steps if step in totals)
        taken = sum(totals[step]["in"] for step in following if step in totals)
        if kept != taken:
            faults.append(f"{', '.join(steps)} keep {kept}, {', '.join(following)} take in {taken}")
    return faults
