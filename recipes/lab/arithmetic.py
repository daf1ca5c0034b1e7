"""Arithmetic for the embedded world: random expressions over easy numbers, worked one operation at a time."""

import ast
import math
import random
from fractions import Fraction
from typing import Any, cast

Tree = Any  # an ast.expr of names, operations, calls, and constants that hold a Fraction, which ast's types do not know
OPERATORS = {ast.Add: ("+", 1), ast.Sub: ("-", 1), ast.Mult: ("*", 2), ast.Div: ("/", 2), ast.Pow: ("^", 3)}
NICE = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100]

# Forms of expression; letters are operands, `k` a small constant that belongs to the formula.
FORMS = {
    1: ["a * b", "a / b", "a + b", "a - b", "k / a", "k * a", "a**2", "1 / a", "1000 / a", "a * b", "a / b"],
    2: [
        "a * b * c",
        "a * b / c",
        "(a - b) / c",
        "(a + b) * c",
        "a * (k + b)",
        "a / (b * c)",
        "k * a / b",
        "k * a * b",
        "a + b * c",
        "a - b * c",
        "a / b + c",
        "(a - b) * c",
        "a * b**2",
        "a / (b + c)",
        "1 / (a * b)",
        "k / (a * b)",
        "a + b + c",
        "a - b - c",
        "a / b / c",
        "a * (b + c)",
        "1 + a / b",
        "k * log10(a)",
        "sqrt(a * b)",
        "a * b / k",
        "a**2 / b",
        "(a + b) / k",
        "1000 * a / b",
    ],
    3: [
        "a * b / (a + b)",
        "a * b / (c + d)",
        "k * a * b / c",
        "a * b * c / d",
        "a * (b - c) / d",
        "(a - b) / (c + d)",
        "k * a * b**2",
        "a * b + c * d",
        "a / (1 + a * b)",
        "a * c / (b + c)",
        "(a - b) * c / d",
        "a * (1 + b / c)",
        "a * b * c * d",
        "k * a * (b + c)",
        "a - b - c * d",
        "sqrt(k * a / b)",
        "a**2 + b**2",
        "k * a / (b * c)",
        "a / (b * (c + d))",
        "(a - b - c) / d",
    ],
}


def render_number(value: Fraction) -> str | None:
    """`value` as a plain decimal, or None when it is not exact within four significant digits and 0.001..99999."""
    if value == 0:
        return "0"
    if not Fraction(1, 1000) <= abs(value) < 100000:
        return None
    exponent = math.floor(math.log10(abs(value)))
    scaled = value / Fraction(10) ** (exponent - 3)
    if scaled.denominator != 1:
        return None
    text = f"{float(value):.7f}".rstrip("0").rstrip(".")
    return text


def _number(value: Fraction) -> Tree:
    return ast.Constant(cast(Any, value))


def _value(node: Tree) -> Fraction:
    return Fraction(cast(Any, node).value)


def _name(node: ast.Call) -> str:
    return cast(ast.Name, node.func).id


def render(node: Tree, parent: int = 0, right: bool = False) -> str | None:
    """Expression tree to text with the fewest parentheses; None when a number in it cannot be written exactly."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant):
        return render_number(_value(node))
    if isinstance(node, ast.Call):
        inside = render(node.args[0])
        return None if inside is None else f"{_name(node)}({inside})"
    sign, rank = OPERATORS[type(node.op)]
    left, right_text = render(node.left, rank), render(node.right, rank, True)
    if left is None or right_text is None:
        return None
    text = f"{left}^{right_text}" if sign == "^" else f"{left} {sign} {right_text}"
    return f"({text})" if rank < parent or (right and rank == parent) else text


def substitute(node: Tree, values: dict[str, Fraction]) -> Tree:
    """A copy of the tree with every name replaced by its value."""
    if isinstance(node, ast.Name):
        return _number(values[node.id])
    if isinstance(node, ast.Call):
        return ast.Call(node.func, [substitute(node.args[0], values)], [])
    if isinstance(node, ast.BinOp):
        return ast.BinOp(substitute(node.left, values), node.op, substitute(node.right, values))
    return _number(Fraction(str(node.value)))


def compute(node: Tree) -> Fraction | None:
    """Value of one operation on constants; None where it is undefined or not exact."""
    if isinstance(node, ast.Call):
        x = _value(node.args[0])
        if x <= 0:
            return None
        if _name(node) == "log10":
            power = round(math.log10(x))
            return Fraction(power) if Fraction(10) ** power == x else None
        root = Fraction(math.isqrt(x.numerator), math.isqrt(x.denominator))
        return root if root * root == x else None
    a, b = _value(node.left), _value(node.right)
    match node.op:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.Div():
            return a / b if b else None
    return a**b if b.denominator == 1 and 0 <= b <= 3 else None


def reduce_once(node: Tree) -> tuple[Tree, bool] | None:
    """The tree with its leftmost innermost operation computed, and whether one was; None when it cannot be."""
    if isinstance(node, ast.Constant):
        return node, False
    children = [node.args[0]] if isinstance(node, ast.Call) else [node.left, node.right]
    for position, child in enumerate(children):
        reduced = reduce_once(child)
        if reduced is None:
            return None
        children[position], done = reduced
        if done:
            new = (
                ast.Call(node.func, children, [])
                if isinstance(node, ast.Call)
                else ast.BinOp(children[0], node.op, children[1])
            )
            return new, True
    value = compute(node)
    return None if value is None else (_number(value), True)


def work(expression: str, values: dict[str, Fraction]) -> list[str] | None:
    """Worked steps `[expression, with numbers, …, result]`, or None when some step is not exact.

    `work("(a - b) / c", {"a": 5, "b": 1, "c": 2})` gives `["(a - b) / c", "(5 - 1) / 2", "4 / 2", "2"]`.
    """
    tree = ast.parse(expression, mode="eval").body
    steps = [render(tree), render(node := substitute(tree, values))]
    while not isinstance(node, ast.Constant):
        reduced = reduce_once(node)
        if reduced is None:
            return None
        node = reduced[0]
        steps.append(render(node))
    written = [step for step in steps if step is not None]
    return None if len(written) < len(steps) or written[-1].startswith("-") else written


def operand(rng: random.Random) -> Fraction:
    """An easy number: mostly from a short list, else up to 99, a decimal or a round hundred."""
    kind = rng.random()
    if kind < 0.45:
        return Fraction(rng.choice(NICE))
    if kind < 0.70:
        return Fraction(rng.randint(1, 99))
    if kind < 0.90:
        return Fraction(rng.randint(1, 99), 10)
    if kind < 0.95:
        return Fraction(rng.randint(1, 20), 100)
    return Fraction(rng.randint(1, 50) * rng.choice([10, 20, 50, 100]))


def constant(rng: random.Random) -> str:
    return rng.choice(["2", "2", "2", "0.5", "3", "4", "10", "20", "8", "100", "0.1", "6", "1", "1000"])


def problem(rng: random.Random, operations: int, names: list[str]) -> tuple[str, dict[str, Fraction], list[str]]:
    """A random expression in `names` (at least four) with easy values and its worked steps."""
    while True:
        form = rng.choice(FORMS[operations])
        if rng.random() < 0.3 and operations == 1:
            form = rng.choice(["a * b", "a / b"])
        tree = ast.parse(form.replace("k", constant(rng)), mode="eval").body
        letters = sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - {"log10", "sqrt"})
        mapping = dict(zip(letters, names, strict=False))
        for n in ast.walk(tree):
            if isinstance(n, ast.Name) and n.id in mapping:
                n.id = mapping[n.id]
        expression = ast.unparse(tree)
        values = {mapping[letter]: operand(rng) for letter in letters}
        if "log10" in form:
            values = {name: Fraction(10) ** rng.randint(0, 4) for name in values}
        if rng.random() < 0.5 and "/" in form and operations < 3 and len(letters) > 1:
            # Most random quotients are endless decimals; build an exact one from a product.
            first, last = mapping[letters[0]], mapping[letters[-1]]
            values[first] = values[first] * values[last]
        steps = work(expression, values)
        if steps and all(render_number(v) for v in values.values()):
            return expression, values, steps
