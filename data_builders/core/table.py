"""What the `[data]` tables of all builders are made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from recipes.base.places import GENERAL_TRAIN
from recipes.base.table import Table

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Need:
    """A package beside the core ones: `why` ends "X is not installed, and [table] …"; `must`: it stops without it."""

    package: str
    install: str
    why: str
    must: bool = True


class DataTable(Table):
    """A table of a builder, which may need packages beside the core ones."""

    @property
    def needs(self):
        """The `Need`s of this table as it is set, for `doctor` and the start of a run; those of tables in it apart."""
        return []


class Shares(DataTable):
    """The share of each kind of rows; one at least is above 0."""

    @model_validator(mode="after")
    def _some(self):
        if sum(dict(self).values()) == 0:
            raise ValueError("at least one share must be above 0")
        return self


def extra(name):
    """How an extra of this package is installed."""
    return f"pip install -c constraints.txt -e '.[{name}]'"


class KeptApart(DataTable):
    """A `[data]` table of rows that are kept apart from tests: the recipe's own, and test sets from outside."""

    leak_threshold: Share = Field(0.005, description="share of the recipe's test items found in part in training")
    answer_as: Literal["words", "letter"] = Field(
        "words",
        description="what replies to questions with lettered options say: the option's own words, or its letter (asked "
        "for and learnt; graders take both)",
    )
    benchmarks: tuple[str, ...] = Field(
        (),
        strict=False,
        description="test sets (files or folders of .jsonl, .json, .csv; paths start from the current folder) whose "
        "items no row of training may hold",
    )


def general_rows(table):
    """The file that a builder's `[data]`, `[mix]` or `[cpt]` draws general text from, as its key `general` says."""
    return GENERAL_TRAIN if table.general == "embedded" else Path(table.general).expanduser()
