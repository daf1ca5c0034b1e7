"""Review: rows that a reviewer judged wrong are left out, with the other rows made from the same fact."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from recipes.artifacts.rows_context import RowsContext
from recipes.config.schema import Names
from recipes.config.slots import Method

VERSION = 1
PAPER = ""
CONFLICTS: list[tuple[str, str]] = []


class Config(Method):
    """Whose answers count. `run` names those under the recipe's own results by itself."""

    answers: Names = Field((), description="files of answers that `review --read` has kept")
    kin: bool = Field(True, description="leave out the rows of the same fact too: what made one wrong made them")

    @property
    def files(self) -> dict[str, Path]:
        """Files from outside that decide the result."""
        return {f"answers {number}": Path(name).expanduser() for number, name in enumerate(self.answers)}


def find_answers(home: Path) -> list[Path]:
    """The files of answers under a recipe's results in which a row is judged wrong."""
    return [file for file in sorted(home.glob("review-*/answers.json")) if read_wrong([str(file)])]


def read_wrong(names: list[str] | tuple[str, ...]) -> set[str]:
    """Ids of the rows that these files of answers judge wrong."""
    found: set[str] = set()
    for name in names:
        answers = json.loads(Path(name).expanduser().read_text(encoding="utf-8")).get("answers", {})
        found |= {key for key, answer in answers.items() if answer.get("verdict") == "wrong"}
    return found


def select(
    rows: list[dict[str, Any]], own: Config, context: RowsContext
) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], str]]]:
    """The rows that nobody judged wrong; the others with the reason."""
    wrong = read_wrong(own.answers)
    facts = {row["fact_id"] for row in rows if row["id"] in wrong and row.get("fact_id")} if own.kin else set()
    kept, dropped = [], []
    for row in rows:
        if row["id"] in wrong:
            dropped.append((row, "judged wrong in a review"))
        elif row.get("fact_id") in facts:
            dropped.append((row, "of the same fact as a row judged wrong"))
        else:
            kept.append(row)
    context.note["reviewed"] = {"judged wrong": len(wrong), "left out": len(dropped)}
    return kept, dropped
