"""Replay: general rows among the supervised ones, against forgetting."""

import random
from pathlib import Path
from typing import Any

from pydantic import Field

from data_builders.core.benchmarks import without_items
from data_builders.core.table import general_rows
from recipes.artifacts.rows_context import RowsContext
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.config.schema import WORLD
from recipes.config.slots import Method

VERSION = 1
PAPER = ""
CONFLICTS = [('rows.mix.replay.share=0.1 model.name="a/b"', "rows.mix.replay.general")]


class Config(Method):
    """Where general rows come from, and how many."""

    general: str = Field(
        "embedded",
        pattern=r"^(embedded|[./~].*)$",
        examples=["embedded"],
        description='"embedded", or a JSONL file (./x, /x, ~/x) of rows with prompt and completion, as in sft.jsonl',
    )
    share: float = Field(gt=0, lt=1, description="share of the supervised rows that are general")

    @property
    def files(self) -> dict[str, Path]:
        """Files from outside that decide the result."""
        return {"general": general_rows(self)}


def count_rows(own: Config, rows: int) -> int:
    """Rows after it, of so many before."""
    return rows + count_general(own, rows)


def count_general(own: Config, rows: int) -> int:
    """General rows for so many of the recipe's own."""
    return round(rows * own.share / (1 - own.share))


def mix(rows: list[dict[str, Any]], own: Config, context: RowsContext) -> list[dict[str, Any]]:
    """The general rows to add, drawn by the seed; rows that hold a test item are left out.

    Raises:
        RecipeError: a row of the file has no prompt and completion, or there are too few.
    """
    pool, wanted = read_jsonl(general_rows(own)), count_general(own, len(rows))
    faults = [
        f"line {number}: no prompt and completion"
        for number, row in enumerate(pool, 1)
        if not (row.get("prompt") and row.get("completion"))
    ]
    if not faults:
        pool, _ = without_items(pool, context.tests, context.ledger, "replay")
    if not faults and wanted > len(pool):
        faults.append(f"{len(pool)} rows, {wanted} wanted for {len(rows)} of the recipe's own")
    if faults:
        raise RecipeError(
            "the general rows cannot be mixed in",
            where=general_rows(own),
            got="; ".join(faults[:5]),
            allowed="enough rows of the form of sft.jsonl, none of them a test item",
            fix="mend the file, or lower share of [rows.mix.replay]",
        )
    context.note["replay"] = {"file": own.general, "rows": wanted}
    return [
        {"fact_id": "", "family": "general", "lineage": {"file": own.general}, "node_id": "general"}
        | row
        | {"kind": WORLD, "id": row.get("id") or f"{WORLD}-{number:06d}"}
        for number, row in enumerate(random.Random(context.seed).sample(pool, wanted))
    ]
