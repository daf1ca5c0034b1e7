"""Exact arithmetic on formula expressions: a small safe language, worked steps, and the choice of clean values.

The language: + - * / ** sqrt() log10() ( ), plain numbers, names of given symbols. Values are `Fraction`s, so a result
is either exact or refused; nothing is rounded on the way.
"""

import ast
import math
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NoReturn

from recipes.base.errors import RecipeError

DIGITS = 4  # significant digits an intermediate result may have
LENGTH = 5  # digits it may take to write it
PRECEDENCE = {ast.Add: 1, ast.Sub: 1, ast.Mult: 2, ast.Div: 2, ast.USub: 3, ast.Pow: 4}
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
FUNCTIONS = ("sqrt", "log10")
Tree = Any  # an ast.expr of the language; numbers in it may be Fractions, which the types of ast do not know


class NotExact(ArithmeticError):
    """The result is not a fraction, or there is none."""


def parse(expression: str, symbols: Sequence[str], where: str) -> Tree:
    """The syntax tree of an expression. Raises RecipeError for anything outside the language or an unknown symbol."""

    def refuse(got: str) -> NoReturn:
        raise RecipeError(
            "A formula expression is not allowed.",
            where=where,
            got=got,
            allowed=f"+ - * / ** sqrt() log10() ( ), numbers, and the given symbols {', '.join(symbols)}",
            fix="rewrite the expression or add the given",
        )

    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError:
        refuse(expression)
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
            todo += [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            todo.append(node.operand)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in FUNCTIONS
            and len(node.args) == 1
            and not node.keywords
        ):
            todo.append(node.args[0])
        elif isinstance(node, ast.Name):
            if node.id not in symbols:
                refuse(f"{node.id} in {expression}")
        elif not (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
            refuse(ast.unparse(node) + " in " + expression)
    return tree


def number(value: object) -> Fraction:
    """An exact value from a TOML or Python number, as it is written."""
    return Fraction(str(value))


def text(value: Fraction) -> str:
    """A plain decimal without exponent or trailing zeros. Raises NotExact where the decimal does not end."""
    sign, value = ("-", -value) if value < 0 else ("", value)
    denominator, places = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while denominator % prime == 0:
            denominator //= prime
            power += 1
        places = max(places, power)
    if denominator != 1:
        raise NotExact(value)
    digits = str(value.numerator * 10**places // value.denominator).rjust(places + 1, "0")
    return sign + (digits[:-places] + "." + digits[-places:] if places else digits)


def is_clean(value: Fraction) -> bool:
    """Whether a value can be written exactly with few digits."""
    try:
        digits = text(abs(value)).replace(".", "").lstrip("0")
        return len(digits.rstrip("0")) <= DIGITS and len(text(abs(value)).replace(".", "").removeprefix("0")) <= LENGTH
    except NotExact:
        return False


def apply(node: Tree, values: Sequence[Fraction]) -> Fraction:
    """The exact value of one operation on known operands. Raises NotExact."""
    if isinstance(node, ast.UnaryOp):
        return -values[0]
    if isinstance(node, ast.Call):
        return _root(values[0]) if _name(node) == "sqrt" else _log10(values[0])
    left, right = values
    if isinstance(node.op, ast.Add):
        return left + right
    if isinstance(node.op, ast.Sub):
        return left - right
    if isinstance(node.op, ast.Mult):
        return left * right
    if isinstance(node.op, ast.Div):
        if right == 0:
            raise NotExact("division by zero")
        return left / right
    if right == Fraction(1, 2):
        return _root(left)
    if right.denominator != 1 or abs(right) > 12 or (left == 0 and right < 0):
        raise NotExact("power")
    return left ** int(right)


def _name(node: ast.Call) -> str:
    assert isinstance(node.func, ast.Name), "`parse` lets no other call through"
    return node.func.id


def _root(value: Fraction) -> Fraction:
    if value >= 0:
        top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if top * top == value.numerator and bottom * bottom == value.denominator:
            return Fraction(top, bottom)
    raise NotExact("root")


def _log10(value: Fraction) -> Fraction:
    for power in range(-12, 13):
        if value == Fraction(10) ** power:
            return Fraction(power)
    raise NotExact("logarithm")


def operands(node: Tree) -> list[Tree]:
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    return list(node.args) if isinstance(node, ast.Call) else []


def evaluate(node: Tree, values: Mapping[str, Fraction]) -> Fraction:
    """The exact value of a tree where `values` maps symbols to Fractions. Raises NotExact."""
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant):
        return number(node.value)
    return apply(node, [evaluate(operand, values) for operand in operands(node)])


def render(node: Tree, level: int = 0, leading: bool = True) -> str:
    """The expression with spaces around signs and no needless brackets; powers as a textbook prints them, v^2."""
    if isinstance(node, Fraction):
        return f"({text(node)})" if node < 0 and (level > PRECEDENCE[ast.Mult] + 1 or not leading) else text(node)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant):
        return text(number(node.value))
    if isinstance(node, ast.Call):
        return f"{_name(node)}({render(node.args[0])})"
    if isinstance(node, ast.UnaryOp):
        shown, own = "-" + render(node.operand, PRECEDENCE[ast.USub], False), PRECEDENCE[ast.USub]
    else:
        own, power = PRECEDENCE[type(node.op)], isinstance(node.op, ast.Pow)
        left = render(node.left, own + power, leading)
        right = render(node.right, own if power else own + 1, False)
        shown = f"{left}^{right}" if power else f"{left} {SIGNS[type(node.op)]} {right}"
    return f"({shown})" if own < level else shown


def _copy(node: Tree, values: Mapping[str, Fraction]) -> Tree:
    """The tree with symbols and numbers replaced by Fractions; a sign before a number is part of the number."""
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant):
        return number(node.value)
    if isinstance(node, ast.BinOp):
        return ast.BinOp(_copy(node.left, values), node.op, _copy(node.right, values))
    if isinstance(node, ast.UnaryOp):
        inner = _copy(node.operand, values)
        return -inner if isinstance(inner, Fraction) else ast.UnaryOp(node.op, inner)
    return ast.Call(node.func, [_copy(node.args[0], values)], [])


def _reduce(node: Tree) -> tuple[Tree, Fraction]:
    """Do the first operation whose operands are all numbers; (new tree, value of that operation)."""
    inner = operands(node)
    for index, operand in enumerate(inner):
        if not isinstance(operand, Fraction):
            inner[index], done = _reduce(operand)
            if isinstance(node, ast.BinOp):
                return ast.BinOp(inner[0], node.op, inner[1]), done
            if isinstance(node, ast.UnaryOp):
                return (-inner[0] if isinstance(inner[0], Fraction) else ast.UnaryOp(node.op, inner[0])), done
            return ast.Call(node.func, inner, []), done
    value = apply(node, inner)
    return value, value


def steps(tree: Tree, values: Mapping[str, Fraction]) -> list[str]:
    """The worked line from the symbols to the result: one rewriting for each operation, as a list of equal expressions.

    The last element is the result. Raises NotExact where a result is not exact.
    """
    line, current = [render(tree)], _copy(tree, values)
    line.append(render(current))
    while not isinstance(current, Fraction):
        current, _ = _reduce(current)
        line.append(render(current))
    return [part for index, part in enumerate(line) if index == 0 or part != line[index - 1]]


def operations(tree: Tree) -> int:
    """How many operations the expression has; a sign before a term is none."""
    own = 0 if isinstance(tree, (ast.Name, ast.Constant, ast.UnaryOp)) else 1
    return own + sum(operations(operand) for operand in operands(tree))


def clean(tree: Tree, values: Mapping[str, Fraction]) -> bool:
    """Whether every result on the way is exact, short and, where no sign was put into the formula, above zero."""
    signed = any(isinstance(node, ast.UnaryOp) for node in ast.walk(tree)) or min(values.values()) < 0
    current = _copy(tree, values)
    try:
        while not isinstance(current, Fraction):
            current, value = _reduce(current)
            if not is_clean(value) or (value <= 0 and not signed):
                return False
    except NotExact:
        return False
    return is_clean(current)


def combinations(formula, seed, limit=400):
    """Up to `limit` clean value combinations of a formula, {symbol: Fraction}, in an order fixed by seed and id."""
    tree = parse(formula.expression, formula.symbols, formula.id)
    pools = [[number(value) for value in given.values] for given in formula.given]
    total = math.prod(len(pool) for pool in pools)
    found = []
    for index in random.Random(f"{seed} {formula.id}").sample(range(total), min(total, 10 * limit)):
        values = {}
        for symbol, pool in zip(formula.symbols, pools, strict=True):
            index, place = divmod(index, len(pool))
            values[symbol] = pool[place]
        if clean(tree, values):
            found.append(values)
        if len(found) == limit:
            break
    return found
