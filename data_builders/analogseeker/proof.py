"""The proof that every record of a build is one row of one file or was dropped once, from the files alone."""

import json
from collections import Counter
from pathlib import Path

from data_builders.core.ledger import CLEANED, unbalanced
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl

CHOSEN = ("sft", "rl", "knowledge", "calculation", "transfer")  # steps that choose records for a use
JUDGED = "judge"
USES = {"sft.jsonl": ("sft",), "rl.jsonl": ("rl",), "test.jsonl": ("knowledge", "calculation", "transfer")}


def prove(folder: Path) -> int:
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
