"""Rows of SVAMP: its own JSON (Body, Question, Equation, Answer), and the tables of its published split.

The split (data/mawps-asdiv-a_svamp of its repository, and the protocol of its paper and of ReFT) trains on MAWPS and
ASDiv-A and tests on all of SVAMP: train.csv and dev.csv, Question with number0, number1 ... for the numbers, Numbers,
Equation in prefix form, Answer. Text there is spaced for a tokenizer; it is set as text again.
"""

import re
from typing import Any

from data_builders.core import arithmetic
from data_builders.reft.fields import find_unfit, gold_number
from data_builders.reft.worked import Worked
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id

SIGNS = "+-*/"


def read_svamp(row: dict[str, Any]) -> tuple[Worked | None, str | None]:
    """(Worked, None) of a row of the JSON file, or (None, reason)."""
    body, asked = str(row["Body"]).strip(), str(row.get("Question", "")).strip()
    question = " ".join(f"{body.rstrip('.')}{'.' if asked[:1].isupper() else ','} {asked}".split())
    return _worked("svamp", stable_id("svamp", body), question if asked else "", str(row.get("Equation", "")), row)


def read_table_row(row: dict[str, Any]) -> tuple[Worked | None, str | None]:
    """(Worked, None) of a row of the tables, or (None, reason); one with a Type is of SVAMP"""
    numbers = [gold_number(number) for number in str(row["Numbers"]).split()]
    if None in numbers:
        return None, "a number of the question is not exact"
    try:
        question = _filled(str(row["Question"]), numbers)
        equation = _infix(_filled(str(row["Equation"]), numbers).split())
    except (IndexError, ValueError):
        return None, "the equation cannot be read"
    family = "svamp" if row.get("Type") else "mawps"
    body = _filled(str(row.get("Body") or row["Question"]), numbers)
    return _worked(family, stable_id(family, body), _set(question), equation, row)


def _filled(text: str, numbers: list[str]) -> str:
    return re.sub(r"number(\d+)", lambda match: numbers[int(match[1])], text)


def _infix(tokens: list[str]) -> str:
    """An expression in prefix form with brackets instead. Raises ValueError, IndexError where it is none."""

    def take() -> str:
        token = tokens.pop(0)
        return f"({take()} {token} {take()})" if token in SIGNS else token

    found = take()
    if tokens:
        raise ValueError(tokens)
    return found


def _set(text: str) -> str:
    """A spaced text as people write it: no space before a mark, capitals where sentences begin."""
    text = re.sub(r" ([.,?!;:%])", r"\1", " ".join(text.split()))
    text = re.sub(r" ('s|n't)\b", r"\1", re.sub(r"\$ (?=\d)", "$", text))
    return re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda match: match[0].upper(), text)


def _worked(
    family: str, node: str, question: str, equation: str, row: dict[str, Any]
) -> tuple[Worked | None, str | None]:
    answer = gold_number(row["Answer"])
    if answer is None:
        return None, "the stated answer is not a number"
    if unfit := find_unfit(question, equation):
        return None, unfit
    try:
        tree = arithmetic.parse(equation.strip(), [], "Equation")
        line = arithmetic.steps(tree, {})
        result = arithmetic.text(arithmetic.evaluate(tree, {}))
    except (RecipeError, arithmetic.NotExact):
        return None, "the equation cannot be worked out exactly"
    if result != answer:
        return None, "the equation does not give the stated answer"
    worked = Worked(
        node_id=node,
        family=family,
        question=question,
        thinking=" = ".join(line),
        solution=f"The answer is {answer}.",
        plan="The numbers of the question go into one expression.",
        program=f"print({line[0].replace('^', '**')})",
        answer=answer,
        difficulty=arithmetic.operations(tree),
        lineage={"source": family},
    )
    return worked, None
