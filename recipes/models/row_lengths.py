"""Rows that are longer than a model is given: refused, left out or cut, counted with the reason."""

from pathlib import Path
from typing import Any, Literal

from recipes.base.errors import RecipeError
from recipes.base.jsonl import write_jsonl

Rows = list[dict[str, Any]]
OverLength = Literal["auto", "error", "drop", "cut"]
LEDGER = "ledger.jsonl"  # in the folder of a step that left out or cut rows


def fit_rows(
    rows: Rows, examples: Rows, lengths: list[int], most: int, how: OverLength, place: str, out: Path | None = None
) -> tuple[Rows, list[int], dict[str, Any]]:
    """(examples, their lengths, metrics) of the rows that have at most `most` tokens, or have been made to.

    Args:
        rows: the rows; `examples` and `lengths` (tokens) are theirs, see `recipes.models.learnt_rows.make_examples`.
        how: "error"; "drop" leaves such rows out; "cut" leaves out the end of their replies, end token and all; "auto"
            leaves out rows that a teacher was paid for, and refuses others.
        place: dotted place of the table in the recipe, for messages.
        out: folder for ledger.jsonl, a line for each such row.

    Raises:
        RecipeError: rows are too long and none to be left out, images stand in the way of a cut, or nothing is left.
    """
    kept, kept_lengths, ledger = [], [], []
    refused = []
    for row, example, length in zip(rows, examples, lengths, strict=True):
        if length <= most:
            kept.append(example)
            kept_lengths.append(length)
            continue
        done = how if how != "auto" else "drop" if is_paid(row) else "error"
        asked = example["completion_mask"].index(1) if "completion_mask" in example else length
        if done == "cut" and "input_ids" in example and asked < most:
            kept.append(example | {key: example[key][:most] for key in ("input_ids", "completion_mask")})
            kept_lengths.append(most)
        elif done == "error" or (done == "cut" and "input_ids" not in example):
            refused.append((row, length))
            continue
        else:
            done = "drop"
        reason = f"longer than {place}.max_length"
        if done == "drop" and how == "cut":
            reason = f"its prompt alone is longer than {place}.max_length"
        what = {"drop": "dropped", "cut": "cut"}[done]
        ledger.append({"source": row["id"], "reason": reason, "done": what, "tokens": length})
    if refused:
        longest = max(length for _, length in refused)
        raise RecipeError(
            "rows are longer than the model is given",
            where=f"{place}.max_length",
            got=f"{len(refused)} of {len(rows)} rows, the longest {longest} tokens, such as {refused[0][0]['id']}",
            allowed=f"at most {most} tokens",
            fix=f"--set {place}.max_length={longest}, or {place}.over_length=drop or =cut (of rows with images: drop), "
            "or shorten the rows in the builder",
        )
    if not kept:
        raise RecipeError(
            "no row is as short as the model is given",
            where=f"{place}.max_length",
            got=f"{len(rows)} rows, the shortest {min(lengths)} tokens",
            allowed=f"at most {most} tokens",
            fix=f"raise {place}.max_length",
        )
    if ledger and out is not None:
        write_jsonl(out / LEDGER, ledger)
    return kept, kept_lengths, count_ledger(rows, ledger) if ledger else {}


def is_paid(row: dict[str, Any]) -> bool:
    """Whether a model wrote a row as a teacher; rules are called expert."""
    teacher = str((row.get("lineage") or {}).get("teacher") or "")
    return teacher != "" and "expert" not in teacher


def count_ledger(rows: Rows, ledger: Rows) -> dict[str, Any]:
    """{"lengths": {"in", "kept", "dropped", "cut", "reasons"}}, as the data card's ledger has its steps."""
    reasons: dict[str, int] = {}
    for line in ledger:
        if line["done"] == "dropped":
            reasons[line["reason"]] = reasons.get(line["reason"], 0) + 1
    dropped = sum(reasons.values())
    counts = {"in": len(rows), "kept": len(rows) - dropped, "dropped": dropped, "cut": len(ledger) - dropped}
    return {"lengths": counts | {"reasons": reasons}}


def describe_lengths(metrics: dict[str, Any], place: str) -> str:
    """In words what was done; empty where every row fitted."""
    counts = metrics.get("lengths")
    if not counts:
        return ""
    done = [f"{counts[what]} {what}" for what in ("dropped", "cut") if counts[what]]
    return f"of {counts['in']} rows {' and '.join(done)} at {place}.max_length; see {LEDGER}"
