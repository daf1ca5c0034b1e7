"""Length: rows whose prompt and reply are more tokens of the base than it is to be given are left out."""

from typing import Any

from pydantic import Field

from recipes.artifacts.rows_context import RowsContext
from recipes.config.slots import Method

VERSION = 1
PAPER = ""
NEEDS = ("base_tokenizer",)
Rows = list[dict[str, Any]]


class Config(Method):
    """The longest row that is kept."""

    most: int = Field(512, ge=8, description="tokens of a row; the same as sft.max_length, most often")


def select(rows: Rows, own: Config, context: RowsContext) -> tuple[Rows, list[tuple[dict[str, Any], str]]]:
    """(rows kept in their order, the others with the reason)"""
    from recipes.models.learnt_rows import make_examples

    assert context.load_reader is not None
    _, lengths = make_examples(context.load_reader(rows), rows)
    reason = f"longer than {own.most} tokens"
    kept = [row for row, length in zip(rows, lengths, strict=True) if length <= own.most]
    dropped = [(row, reason) for row, length in zip(rows, lengths, strict=True) if length > own.most]
    context.note["length"] = {"longest": max(lengths, default=0), "most": own.most, "left out": len(dropped)}
    return kept, dropped
