"""Measures over classes, such as yes, no and maybe: macro-F1, and the share of replies that name a class at all.

Both sum up pairs [gold class, stated class or None], one for each item. A class is the answer as the row's grader reads
it; for a choice it is the option's text, since letters change places from item to item.
"""

from collections.abc import Sequence

from eval.graders import read_answer
from recipes.base.options import option_of

VERSION = 1


def pair(row: dict, reply: str) -> list:
    """[gold class, class that the reply states or None]"""
    return [_class(row, read_answer(row, text)) for text in (row["reply"], reply)]


def _class(row: dict, answer: object) -> str | None:
    if answer is None:
        return None
    return option_of(str(answer), row["options"]).casefold() if row["grader"] == "choice" else str(answer)


def macro_f1(pairs: Sequence[Sequence]) -> float:
    """Mean F1 of the classes that occur as gold; a reply of no class is a miss for its gold class and nothing else."""
    return sum(_f1(pairs, name) for name in _golds(pairs)) / len(_golds(pairs))


def _f1(pairs: Sequence[Sequence], name: str) -> float:
    both = sum(gold == stated == name for gold, stated in pairs)
    return 2 * both / (sum(gold == name for gold, _ in pairs) + sum(stated == name for _, stated in pairs))


def recognised(pairs: Sequence[Sequence]) -> float:
    """Share of replies that state one of the classes that occur as gold."""
    classes = _golds(pairs)
    return sum(stated in classes for _, stated in pairs) / len(pairs)


def _golds(pairs: Sequence[Sequence]) -> set:
    return {gold for gold, _ in pairs}
