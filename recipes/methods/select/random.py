"""Random selection: so many of the rows, drawn by the seed; what other selections are compared with."""

from random import Random
from typing import Any

from pydantic import Field

from recipes.artifacts.rows_context import RowsContext
from recipes.config.slots import Method

VERSION = 1
PAPER = ""
REASON = "not drawn"
Rows = list[dict[str, Any]]


class Config(Method):
    """How many are kept."""

    keep: float = Field(0.25, gt=0, le=1, description="share of the rows that is kept")


def count_rows(own: Config, rows: int) -> int:
    """Rows after it, of so many before."""
    return max(1, round(rows * own.keep)) if rows else 0


def select(rows: Rows, own: Config, context: RowsContext) -> tuple[Rows, list[tuple[dict[str, Any], str]]]:
    """(rows kept in their order, the others with the reason)"""
    kept = set(Random(context.seed).sample(range(len(rows)), count_rows(own, len(rows))))
    return (
        [row for place, row in enumerate(rows) if place in kept],
        [(row, REASON) for place, row in enumerate(rows) if place not in kept],
    )
