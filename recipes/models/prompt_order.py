"""The order in which reinforcement meets its prompts: easy ones first (Curr-ReFT, arXiv 2503.07065)."""

import random
from collections import Counter

from recipes.base.errors import RecipeError

YES_NO = {"yes", "no", "true", "false"}
CHOICES = {"choice", "class", "label"}  # graders of replies that name one of a few things
FORMS = ("yes or no", "choice", "open")


def form(row: dict) -> int:
    """Place in `FORMS` of what a row asks for; to name one of the classes that a signal may be of is a choice."""
    if str(row["answer"]).strip().casefold() in YES_NO:
        return 0
    options = row.get("options") or ()
    if options and {str(option).strip().rstrip(".").casefold() for option in options} <= YES_NO:
        return 0
    return 1 if row["grader"] in CHOICES else 2


def check_order(rows: list[dict], order: str) -> None:
    """Whether `order` has something to go by.

    Raises:
        RecipeError: rows without a difficulty, or rows that are all of one level, among which there is no order.
    """
    if order == "random":
        return
    lacking = [row for row in rows if order == "difficulty" and row.get("difficulty") is None]
    if lacking:
        raise RecipeError(
            "rows cannot be put in order of difficulty",
            where="rl.order",
            got=f"{len(lacking)} of {len(rows)} rows without a difficulty",
            allowed='"random" or "kind"',
            fix="let the builder write a difficulty into every row of rl.jsonl",
        )
    levels = Counter(FORMS[form(row)] if order == "kind" else f"difficulty {row['difficulty']}" for row in rows)
    if len(levels) < 2:
        raise RecipeError(
            "the rows are all of one level, so no order is among them",
            where="rl.order",
            got=f'"{order}" over ' + ", ".join(f"{count} rows of {name}" for name, count in levels.items()),
            allowed='"random", or rows of at least two levels',
            fix="leave out rl.order, or let the builder write rows of several levels into rl.jsonl",
        )


def drawn(rows: list[dict], order: str, prompts: int, seed: int) -> list[dict]:
    """The `prompts` rows that a run meets, in that order: by rising `difficulty`, by `form` ("kind"), or "random".

    Rows are drawn at random, all of them before any a second time, and sorted afterwards, so that a short run goes from
    easy to hard too and a long one has one ascent. Rows that are equally hard stay in random order.
    """
    shuffled, source = [], random.Random(seed)
    while len(shuffled) < prompts:
        shuffled += source.sample(rows, min(len(rows), prompts - len(shuffled)))
    if order == "random":
        return shuffled
    return sorted(shuffled, key=(lambda row: row["difficulty"]) if order == "difficulty" else form)
