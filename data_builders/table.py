"""What the `[data]` tables of all builders are made of."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
GENERAL = Path(__file__).resolve().parents[1] / "recipes" / "embedded" / "model" / "general_train.jsonl"


class Table(BaseModel):
    """A frozen TOML table in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KeptApart(Table):
    """A `[data]` table of rows that are kept apart from tests: the recipe's own, and test sets from outside."""

    leak_threshold: Share = Field(0.005, description="share of the recipe's test items found in part in training")
    benchmarks: tuple[str, ...] = Field(
        (),
        strict=False,
        description="test sets (files or folders of .jsonl, .json, .csv; paths start from the current folder) whose "
        "items no row of training may hold",
    )


def general_rows(table):
    """The file that a builder's `[data]`, `[mix]` or `[cpt]` draws general text from, as its key `general` says."""
    return GENERAL if table.general == "embedded" else Path(table.general).expanduser()
