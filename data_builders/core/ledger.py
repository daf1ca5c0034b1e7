"""The ledger: at every step what came in equals what was kept plus what was dropped, and each drop has a reason."""

import json
from collections import Counter
from collections.abc import Sized

from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl

CHOSEN = ("sft", "rl", "knowledge", "calculation", "transfer")
JUDGED = "judge"
USES = {"sft.jsonl": ("sft",), "rl.jsonl": ("rl",), "test.jsonl": ("knowledge", "calculation", "transfer")}
REASONS = 8  # of an empty build that are told
CLEANED = "decontamination"  # takes training rows out after they were chosen


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


def unbalanced(totals, flow):
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


def prove(folder):
    """Prove from the files of a data artefact that no row's fate is unknown; the number of records accounted for.

    Read are card.json, ledger.jsonl, qtsa.jsonl and the three files of rows. It holds that (1) the drops of
    ledger.jsonl sum to the card's, step by step and reason by reason; (2) what steps keep is what the next ones take in
    (the card's `flow`); (3) the files hold exactly the rows that were kept; (4) every record is either one row of one
    file or was dropped once, after it was made, and no row comes from anything else. Raises RecipeError with all that
    fails.
    """
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    totals = card["ledger"]
    drops = read_jsonl(folder / "ledger.jsonl")
    counted = {}
    for row in drops:
        counted.setdefault(row["step"], Counter())[row["reason"]] += row["count"]
    faults = unbalanced(totals, card["flow"])
    for step in totals.keys() | counted.keys():
        told = totals.get(step, {"reasons": {}})["reasons"]
        if told != counted.get(step, {}):
            faults.append(f"{step}: the card tells {told}, ledger.jsonl {dict(counted.get(step, {}))}")
    records = [record["id"] for record in read_jsonl(folder / "qtsa.jsonl")]
    fates = Counter(row["source"] for row in drops if row["step"] in (*CHOSEN, JUDGED, CLEANED))
    cleaned = Counter()
    for row in drops:
        if row["step"] == CLEANED:
            cleaned["all"] += row["count"]
    written = 0
    for file, steps in USES.items():
        rows = read_jsonl(folder / file)
        written += len(rows)
        fates.update(row["lineage"].get("record") for row in rows)
        kept = sum(totals[name]["kept"] for name in steps if name in totals)
        if file == "test.jsonl" and len(rows) != kept:
            faults.append(f"{file} holds {len(rows)} rows, {kept} were kept")
    kept = sum(totals[name]["kept"] for name in CHOSEN if name in totals) - cleaned["all"]
    if written != kept:
        faults.append(f"the files hold {written} rows, {kept} were kept")
    faults += [f"record {record} has {fates[record]} fates" for record in records if fates[record] != 1]
    faults += [f"record {record} was never made" for record in sorted(set(map(str, fates)) - set(records))]
    if faults:
        raise RecipeError(
            "The ledger does not add up.",
            where=str(folder),
            got="\n".join(faults[:8]) + (f"\n… {len(faults)} in all" if len(faults) > 8 else ""),
            allowed="one known fate for every record",
            fix="this is a fault of the builder; nothing has been trained",
        )
    return len(records)
