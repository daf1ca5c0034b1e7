"""Replay: general rows among the supervised ones, against forgetting."""

import random
from pathlib import Path
from typing import Any

from pydantic import Field

from data_builders.core.table import general_rows
from recipes.artifacts.rows_context import RowsContext
from recipes.base.errors import RecipeError
from recipes.base.general_rows import FORMS, read_general_rows
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
        description='"embedded", or a file (./x, /x, ~/x) of rows with a question and a reply: as in sft.jsonl, '
        "messages, ShareGPT, Alpaca, question and answer; JSONL, JSON or CSV",
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
        RecipeError: a row of the file has no known form, or there are too few rows.
    """
    wanted = count_general(own, len(rows))
    pool, counts = read_general_rows(general_rows(own), texts=False)
    for reason, count in counts.left_out.items():
        context.ledger.drop("replay", reason, own.general, count=count)
    pool = context.remove_test_items(pool, "replay")
    if wanted > len(pool):
        raise RecipeError(
            "there are too few general rows to mix in",
            where=general_rows(own),
            got=f"{len(pool)} rows, {wanted} wanted for {len(rows)} of the recipe's own",
            allowed="enough rows, none of them a test item: " + FORMS,
            fix="name a larger file, or lower share of [rows.mix.replay]",
        )
    read = counts.describe()
    if read:
        context.runtime.say(f"{own.general}: {read}")
    context.note["replay"] = {"file": own.general, "rows": wanted, **({"read": read} if read else {})}
    return [
        {"fact_id": "", "family": "general", "lineage": {"file": own.general}, "node_id": "general"}
        | row
        | {"kind": WORLD, "id": row.get("id") or f"{WORLD}-{number:06d}"}
        for number, row in enumerate(random.Random(context.seed).sample(pool, wanted))
    ]
