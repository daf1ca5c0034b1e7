"""A row of MathQA (arXiv 1905.13319): Problem, Rationale, options, correct, linear_formula, category.

As ReFT uses it twice: *numeric* asks for the number of the right option, *choice* for one of five options, where a
wrong chain is right in one case of five. The chain is the rationale, whose text was lowered and spaced by its authors;
the program is their linear formula, where it works out to the right option within one per cent.
"""

import re
from fractions import Fraction
from typing import Any, Literal

from data_builders.core import arithmetic
from data_builders.reft.fields import find_unfit, gold_number, show_number
from data_builders.reft.worked import Worked
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id
from recipes.base.options import LETTERS

OPTION = re.compile(r"(?:^|,\s*)([a-e])\s*\)\s*(.*?)\s*(?=,\s*[a-e]\s*\)|$)", re.S)
VALUE = re.compile(r"(?:rs ?\.? ?|\$ ?)?(-?\d[\d,]*(?:\.\d+)?|-?\.\d+)(?: ?(?:%|[a-z][a-z. /]*))?")
OPERATIONS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**"}
CLOSE = Fraction(1, 100)


def read_mathqa(row: dict[str, Any], asks: Literal["numeric", "choice"]) -> tuple[Worked | None, str | None]:
    """(Worked, None), or (None, why the row cannot be used)."""
    question, letter = _set(str(row["Problem"])), str(row.get("correct", "")).strip().lower()
    options = {name: text.strip() for name, text in OPTION.findall(str(row["options"]).strip(" []'\""))}
    if letter not in options or "".join(sorted(options)) != "abcde":
        return None, "the options are not five with one of them right"
    number = VALUE.fullmatch(options[letter])
    answer = gold_number(number[1]) if number else None
    if answer is None and asks == "numeric":
        return None, "the right option is not one number"
    thinking = _chain(str(row["Rationale"]))
    if unfit := find_unfit(question, thinking):
        return None, unfit
    if asks == "choice" and len({text.casefold() for text in options.values()}) < len(options):
        return None, "two options are the same"
    linear = str(row.get("linear_formula", ""))
    chosen = LETTERS["abcde".index(letter)]
    worked = Worked(
        node_id=stable_id("mathqa", question),
        family="mathqa",
        question=question,
        thinking=thinking,
        solution=f"The answer is {options[letter] if asks == 'choice' else answer}.",
        plan="The operations follow one another.",
        program=_program(str(row["Problem"]), linear, answer) if asks == "numeric" and answer else None,
        answer=chosen if asks == "choice" else answer or "",
        difficulty=max(1, len([step for step in linear.split("|") if step])),
        options=tuple(options[name] for name in "abcde") if asks == "choice" else None,
        lineage={"source": "mathqa", "category": str(row.get("category", ""))},
    )
    return worked, None


def _set(text: str) -> str:
    text = re.sub(r" ([.,?!;%])", r"\1", " ".join(text.split()))
    return re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda match: match[0].upper(), text)


def _chain(rationale: str) -> str:
    """The rationale without its head and without the letter that it ends on, which says nothing without the options."""
    text = rationale.strip().strip("\"'").strip()
    text = re.sub(r"^(?:explanation|solution|explanations?)\s*[:.\-]*\s*", "", text, flags=re.I)
    word = r"(?:the\s+)?(?:correct\s+)?(?:answer|ans|option)\s*(?:is|:|=|-)*\s*"
    ending = rf"[\s.,;]*(?:so|hence|thus)?,?\s*(?:{word})+\(?[a-e]\)?\W*$"
    return re.sub(ending, "", text, flags=re.I).strip()


def _program(problem: str, linear: str, answer: str) -> str | None:
    """The linear formula as Python on the numbers of the problem; None where it does not give the answer."""
    numbers = [said.replace(",", "") for said in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", problem)]
    lines, values = [], {}
    try:
        for step in filter(None, linear.split("|")):
            name, inside = re.fullmatch(r"(\w+)\((.*)\)", step.strip()).groups()
            terms = [_term(term.strip(), numbers) for term in inside.split(",")]
            code = f"{terms[0]} {OPERATIONS[name]} {terms[1]}"
            values[f"t{len(lines)}"] = arithmetic.evaluate(arithmetic.parse(code, list(values), "formula"), values)
            lines.append(f"t{len(lines)} = {code}")
    except (AttributeError, KeyError, IndexError, ValueError, RecipeError, arithmetic.NotExact, OverflowError):
        return None  # geometry and others that are not the four operations
    last = f"t{len(lines) - 1}"
    gold = Fraction(answer)
    if not lines or abs(values[last] - gold) > CLOSE * abs(gold):
        return None
    exact = show_number(values[last]) == answer  # else the option is rounded, and so is what is printed
    places = len(answer.partition(".")[2])
    printed = last if exact else f"round({last}, {places})"
    if not exact and round(float(values[last]), places) != float(answer):
        return None
    return "\n".join([*lines, f"print({printed})"])


def _term(term: str, numbers: list[str]) -> str:
    if term.startswith("#"):
        return f"t{int(term[1:])}"
    if term.startswith("const_"):
        return term.removeprefix("const_").replace("_", ".", 1)
    return numbers[int(term.removeprefix("n"))]
