"""The ledger: at every step what came in equals what was kept plus what was dropped, and each drop has a reason."""

from collections import Counter


class Ledger:
    """Counts what each step keeps and records what it drops."""

    def __init__(self):
        self.rows, self.kept, self.dropped = [], Counter(), {}

    def keep(self, step, count=1):
        self.kept[step] += count

    def drop(self, step, reason, source, detail="", count=1):
        """Record `count` pieces dropped at `step` for `reason`; `source` says which, `detail` shows some of it."""
        self.rows.append({"step": step, "reason": reason, "source": source, "detail": detail, "count": count})
        self.dropped.setdefault(step, Counter())[reason] += count

    def totals(self):
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
