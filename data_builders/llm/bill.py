"""What questions to a model will come to, before any is asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_builders.llm.table import Teacher

FEW = 20  # earlier replies below which a mean of their lengths says little


class Lengths:
    """Tokens that replies will have. `replies` is the file of stored replies (see `store`), or None.

    How much a model writes is what a bill cannot know: where the file holds FEW or more replies of the same agent and
    model, their mean is taken, thinking and unusable ones included; else the guess, whose agent `guessed` then names.
    """

    def __init__(self, replies: Path | None = None) -> None:
        self.guessed: set[str] = set()
        self._means: dict[tuple[str, str], float] = {}
        if replies is not None and replies.is_file():
            self._means = _means(replies)

    def of(self, agent: str, model: str, guess: float) -> float:
        """Mean tokens of a reply to `agent` by `model`."""
        if (agent, model) not in self._means:
            self.guessed.add(agent)
        return self._means.get((agent, model), guess)


def _means(replies: Path) -> dict[tuple[str, str], float]:
    """{(agent, model): mean tokens}; empty where the file is no store: the build says so, a plan does not stop."""
    import sqlite3

    try:
        db = sqlite3.connect(f"{replies.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    except sqlite3.Error:
        return {}
    try:
        found = db.execute(
            "SELECT agent, model, avg(tokens_out) FROM replies GROUP BY agent, model HAVING count(*) >= ?", (FEW,)
        )
        return {(agent, model): mean for agent, model, mean in found}
    except sqlite3.Error:
        return {}
    finally:
        db.close()


def bill(table: Teacher, requests: int, sent: float, written: float, model: str = "") -> dict[str, float]:
    """{"requests", "tokens_in", "tokens_out", "cost"} of so many requests and tokens, cost in dollars by the table.

    `model` is the one that is asked, where it is not the table's `model`.
    """
    price_in, price_out = table.prices(model)
    cost = (sent * price_in + written * price_out) / 1e6
    return {"requests": requests, "tokens_in": round(sent), "tokens_out": round(written), "cost": cost}


def together(bills: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sum of bills."""
    return {key: sum(part[key] for part in bills) for key in ("requests", "tokens_in", "tokens_out", "cost")}
