"""The order in which reinforcement meets its prompts: easy ones first (Curr-ReFT, arXiv 2503.07065)."""

import random

from recipes.errors import RecipeError

YES_NO = {"yes", "no", "true", "false"}


def form(row: dict) -> int:
    """0 for a question of yes or no, 1 for a choice between options, 2 for an open one."""
    if str(row["answer"]).strip().casefold() in YES_NO:
        return 0
    options = row.get("options") or ()
    if options and {str(option).strip().rstrip(".").casefold() for option in options} <= YES_NO:
        return 0
    return 1 if row["grader"] == "choice" else 2


def drawn(rows: list[dict], order: str, prompts: int, seed: int) -> list[dict]:
    """The `prompts` rows that a run meets, in that order: by rising `difficulty`, by `form` ("kind"), or "random".

    Rows are drawn at random, all of them before any a second time, and sorted afterwards, so that a short run goes from
    easy to hard too and a long one has one ascent. Rows that are equally hard stay in random order.

    Raises:
        RecipeError: rows without a difficulty.
    """
    lacking = [row for row in rows if order == "difficulty" and row.get("difficulty") is None]
    if lacking:
        raise RecipeError(
            "rows cannot be put in order of difficulty",
            where="rl.order",
            got=f"{len(lacking)} of {len(rows)} rows without a difficulty",
            allowed='"random" or "kind"',
            fix="let the builder write a difficulty into every row of rl.jsonl",
        )
    shuffled, source = [], random.Random(seed)
    while len(shuffled) < prompts:
        shuffled += source.sample(rows, min(len(rows), prompts - len(shuffled)))
    if order == "random":
        return shuffled
    return sorted(shuffled, key=(lambda row: row["difficulty"]) if order == "difficulty" else form)
