"""A row of GSM8K: question, and an answer with calculator marks, <<3*4=12>>, that ends in "#### N"."""

import re
from fractions import Fraction
from typing import Any

from data_builders.core import arithmetic
from data_builders.reft.checking import check_program
from data_builders.reft.fields import find_unfit, gold_number, show_number
from data_builders.reft.worked import Worked
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id

MARK = re.compile(r"<<([^<>]*)=([^<>=]*)>>")


def read_gsm8k(row: dict[str, Any], programs: bool = True) -> tuple[Worked | None, str | None]:
    """(Worked, None), or (None, why the row cannot be used). `fault` tells what keeps it from being taught.

    `programs`: whether its program is wanted, which takes most of the time.
    """
    question, chain = str(row["question"]).strip(), str(row["answer"]).strip()
    body, mark, stated = chain.rpartition("####")
    answer = gold_number(stated) if mark else None
    if not mark:
        return None, 'the answer has no "####"'
    if answer is None:
        return None, "the stated answer is not a number"
    if unfit := find_unfit(question, body):
        return None, unfit
    steps = MARK.findall(body)
    worked = Worked(
        node_id=stable_id("gsm8k", question),
        family="gsm8k",
        question=question,
        thinking=re.sub(r"<<[^<>]*>>", "", body).strip(),
        solution=f"The answer is {answer}.",
        plan="The steps are worked out one by one.",
        program=write_program(question, steps, answer) if programs else None,
        answer=answer,
        difficulty=len(steps),
        fault=_find_fault(steps, body, answer),
        lineage={"source": "gsm8k"},
    )
    return worked, None


def _find_fault(steps: list[tuple[str, str]], body: str, answer: str) -> str | None:
    """What is wrong with the worked chain: one that teaches a wrong sum, or another answer, is not taught."""
    for expression, result in steps:
        value, stated = _work_out(_code(expression)), gold_number(result)
        if value is not None and stated is not None and abs(value - Fraction(stated)) > abs(value) / 50:
            return "a calculator mark is wrong"
    ends = [gold_number(result) for _, result in steps[-1:]]
    ends += [gold_number(said) for said in re.findall(r"-?[\d,]*\.?\d+", re.sub(r"<<[^<>]*>>", "", body))[-1:]]
    return None if answer in ends or not ends else "the chain ends on another number"


def write_program(question: str, steps: list[tuple[str, str]], answer: str) -> str | None:
    """A program of the calculator marks that prints the answer; None where they do not make a sound one.

    A number that an earlier step has computed becomes that step's name, unless the question gives it too. One that is
    neither explained by the question nor computed, such as a sum done in the head, makes the program unsound.
    """
    lines, values, given = [], {}, set(re.findall(r"\d+(?:\.\d+)?", question.replace(",", "")))
    for number, (expression, _) in enumerate(steps, 1):
        code = _code(expression)
        value = _work_out(code)
        if value is None:
            return None
        for name, earlier in reversed(values.items()):
            if earlier not in given:
                code = re.sub(rf"(?<![\d.\w]){re.escape(earlier)}(?![\d.])", name, code)
        lines.append(f"v{number} = {code}")
        values[f"v{number}"] = show_number(value)
    program = "\n".join([*lines, f"print(v{len(lines)})"])
    return program if lines and check_program(question, program, answer) is None else None


def _code(expression: str) -> str:
    code = re.sub(r"(?<![\d.])(\d+(?:\.\d+)?)%", r"(\1/100)", expression.replace(",", "").replace("$", ""))
    return re.sub(r"(?<![\d.])0+(?=\d)", "", code.replace("x", "*").replace(" ", ""))


def _work_out(code: str) -> Fraction | None:
    try:
        return arithmetic.evaluate(arithmetic.parse(code, [], "mark"), {})
    except (RecipeError, arithmetic.NotExact, SyntaxError, OverflowError):
        return None
