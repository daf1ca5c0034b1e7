"""Calculator: a tool with which the model works out arithmetic between its turns.

Expressions are read into a syntax tree of which only numbers, arithmetic and a few functions are carried out, in
floating point; nothing is ever evaluated as Python. Length, depth of nesting and calls are bounded.
"""

import ast
import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = ""
LONGEST = 200  # signs of an expression
DEEPEST = 40  # operations inside one another
CONSTANTS = {"pi": math.pi, "e": math.e}
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "abs": abs,
}
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: math.pow,
}


class Config(Method):
    """How exact the tool answers, and how often."""

    digits: int = Field(6, ge=1, le=15, description="significant digits of a result")
    calls: int = Field(4, ge=1, description="calls in one reply; later ones are told so")


class Calculator:
    """One conversation's tool; TRL makes one for each reply that is sampled at once, and resets it before each use."""

    def __init__(self, own: Config):
        self._own, self._calls = own, 0

    def reset(self, **columns: Any) -> None:
        """Begin a conversation; the row's columns play no part."""
        self._calls = 0

    def calculate(self, expression: str) -> str:
        """
        Work out an arithmetic expression.

        Args:
            expression: Numbers with + - * / % ** and parentheses, sqrt, exp, log, log10, sin, cos, tan, abs, pi and e.

        Returns:
            The result, or what is wrong with the expression.
        """
        self._calls += 1
        if self._calls > self._own.calls:
            return "error: no calls are left"
        try:
            return f"{evaluate(expression):.{self._own.digits}g}"
        except ValueError as error:
            return f"error: {error}"


def make_environment(own: Config, context: "RlContext") -> Callable[[], Calculator]:
    """What TRL calls for each reply that is sampled at once."""
    return lambda: Calculator(own)


def evaluate(expression: str) -> float:
    """The value of an arithmetic expression.

    Raises:
        ValueError: it is too long or too deep, holds anything but arithmetic, or has no finite real value.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"longer than {LONGEST} signs")
    try:
        value = value_of(ast.parse(expression.strip().replace("^", "**"), mode="eval").body, DEEPEST)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("no arithmetic expression") from None
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError("too large") from None
    if not math.isfinite(value):
        raise ValueError("no finite value")
    return value


def value_of(node: ast.expr, depth: int) -> float:
    """The value of one node of the tree."""
    if depth == 0:
        raise ValueError("nested too deep")
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = value_of(node.operand, depth - 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](value_of(node.left, depth - 1), value_of(node.right, depth - 1))
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in FUNCTIONS
        and len(node.args) == 1
        and not node.keywords
    ):
        return FUNCTIONS[node.func.id](value_of(node.args[0], depth - 1))
    raise ValueError("only numbers, + - * / % ** and the functions named are allowed")
