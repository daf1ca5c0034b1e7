"""Worked chains of a generated problem, in the ways that people write one: other paths to the same answer.

line      result = formula = ... = answer, one rewriting for each operation: the form that the laboratory's base writes
steps     one sum after the other, in words, the left one first
backward  the same with the right one first, where there are two ready
table     one sum on a line, without words
"""

import ast
from fractions import Fraction

from data_builders.core import arithmetic

FORMS = ("line", "steps", "backward", "table")
STARTS = ("First {}.", "Then {}.", "Next {}.", "Then {}.")
AMOUNTS = ("money", "water", "food", "sugar")


def write_chain(form: str, result: str, tree: ast.expr, values: dict[str, Fraction]) -> str:
    """The thinking of a reply: the problem worked out in one of FORMS."""
    if form == "line":
        return " = ".join([result, *arithmetic.steps(tree, values)[1:]])
    sums = [f"{said} = {arithmetic.text(value)}" for said, value in list_sums(tree, values, form == "backward")]
    if form == "table":
        return "\n".join(sums)
    told = [STARTS[min(place, 3)].format(said) for place, said in enumerate(sums)]
    return " ".join(told) if len(told) > 1 else f"{sums[0]}."


def list_sums(tree: ast.expr, values: dict[str, Fraction], backward: bool = False) -> list[tuple[str, Fraction]]:
    """[(a sum of two numbers, its value)] in the order in which they are done. Raises NotExact."""
    found: list[tuple[str, Fraction]] = []

    def work_out(node: ast.expr) -> Fraction:
        inner = arithmetic.operands(node)
        if not inner:
            return arithmetic.evaluate(node, values)
        order = inner[::-1] if backward else inner
        known = [work_out(operand) for operand in order]
        known = known[::-1] if backward else known
        value = arithmetic.apply(node, known)
        sign = arithmetic.SIGNS[type(node.op)]
        found.append((f"{arithmetic.text(known[0])} {sign} {arithmetic.text(known[1])}", value))
        return value

    work_out(tree)
    return found


def state_answer(result: str, answer: str) -> str:
    """The solution in a sentence."""
    counted = result.endswith("s") or result == "people"
    what = f"number of {result}" if counted else f"amount of {result}" if result in AMOUNTS else result
    return f"The {what} is {answer}."


def find_shape(tree: ast.expr) -> tuple:
    """What a formula is, whatever its names and the order of its terms and factors: equal formulas have equal shapes.

    A sum is ("+", terms added, terms taken away), a product ("*", factors, divisors), a name "x", a number itself.
    """
    if isinstance(tree, ast.Name):
        return ("x",)
    if isinstance(tree, ast.Constant):
        return (str(tree.value),)
    up, down = _collect(tree, isinstance(tree.op, (ast.Add, ast.Sub)))
    return ("+" if isinstance(tree.op, (ast.Add, ast.Sub)) else "*", tuple(sorted(up)), tuple(sorted(down)))


def _collect(tree: ast.expr, sums: bool) -> tuple[list, list]:
    """(shapes of what counts upwards, of what counts downwards) of a run of sums, or of products."""
    kinds, inverse = ((ast.Add, ast.Sub), ast.Sub) if sums else ((ast.Mult, ast.Div), ast.Div)
    if not isinstance(tree, ast.BinOp) or not isinstance(tree.op, kinds):
        return [find_shape(tree)], []
    (up, down), (more, less) = _collect(tree.left, sums), _collect(tree.right, sums)
    return (up + less, down + more) if isinstance(tree.op, inverse) else (up + more, down + less)
