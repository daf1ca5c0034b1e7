"""Exact arithmetic: what an expression may hold, what a worked line looks like, which values are clean."""

from fractions import Fraction

import pytest

from data_builders.core import arithmetic
from data_builders.sources.facts import Formula
from recipes.base.errors import RecipeError


def worked(expression, **values):
    tree = arithmetic.parse(expression, tuple(values), "test")
    return " = ".join(arithmetic.steps(tree, {name: Fraction(str(value)) for name, value in values.items()}))


@pytest.mark.parametrize(
    ("expression", "values", "line"),
    [
        ("Iref * K", {"Iref": 20, "K": 3}, "Iref * K = 20 * 3 = 60"),
        ("a/b", {"a": 1, "b": 8}, "a / b = 1 / 8 = 0.125"),
        ("(a*b)/c", {"a": 4, "b": 5, "c": 8}, "a * b / c = 4 * 5 / 8 = 20 / 8 = 2.5"),
        ("a * (b - c)", {"a": 2, "b": 5, "c": 1.5}, "a * (b - c) = 2 * (5 - 1.5) = 2 * 3.5 = 7"),
        ("a - (b - c)", {"a": 9, "b": 5, "c": 1}, "a - (b - c) = 9 - (5 - 1) = 9 - 4 = 5"),
        ("-gm * R", {"gm": 2, "R": 5}, "-gm * R = -2 * 5 = -10"),
        ("sqrt(a * b)", {"a": 2, "b": 8}, "sqrt(a * b) = sqrt(2 * 8) = sqrt(16) = 4"),
        ("20 * log10(g)", {"g": 1000}, "20 * log10(g) = 20 * log10(1000) = 20 * 3 = 60"),
        ("1000 / T", {"T": 40}, "1000 / T = 1000 / 40 = 25"),
    ],
)
def test_a_worked_line_rewrites_once_for_each_operation(expression, values, line):
    assert worked(expression, **values) == line


def test_a_power_is_worked_before_the_product_and_keeps_its_brackets():
    assert worked("k * v ** 2 / 2", k=4, v="0.5").endswith("= 4 * 0.25 / 2 = 1 / 2 = 0.5")
    assert "(" in worked("(a + b) ** 2", a=1, b=2).split(" = ")[1]


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "a.b",
        "a[0]",
        "a if a else b",
        "lambda: a",
        "a // b",
        "a % b",
        "sin(a)",
        "sqrt(a, b)",
        "a +",
        "'x'",
        "True",
        "c * a",
        "sqrt",
        "log10(x=a)",
    ],
)
def test_nothing_outside_the_language_is_evaluated(expression):
    with pytest.raises(RecipeError) as error:
        arithmetic.parse(expression, ("a", "b"), "formula f")
    assert "formula f" in str(error.value)
    assert "allowed" in str(error.value)


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("a / b", {"a": 1, "b": 3}),
        ("sqrt(a)", {"a": 2}),
        ("log10(a)", {"a": 5}),
        ("a / (b - b)", {"a": 1, "b": 2}),
        ("a ** b", {"a": 2, "b": "0.3"}),
    ],
)
def test_a_result_that_is_not_exact_is_refused_not_rounded(expression, values):
    with pytest.raises(arithmetic.NotExact):
        worked(expression, **values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(60), "60"),
        (Fraction(1, 4), "0.25"),
        (Fraction(-5, 2), "-2.5"),
        (Fraction(1, 1000), "0.001"),
        (Fraction(0), "0"),
    ],
)
def test_numbers_are_plain_decimals(value, text):
    assert arithmetic.text(value) == text


def test_clean_means_exact_short_and_above_zero_at_every_step():
    tree = arithmetic.parse("a * b - c", ("a", "b", "c"), "test")

    def clean(a, b, c):
        return arithmetic.clean(tree, {"a": Fraction(str(a)), "b": Fraction(str(b)), "c": Fraction(str(c))})

    assert clean(12, 5, 10)
    assert not clean(123, 457, 1), "an intermediate of five significant digits"
    assert not clean(2, 5, 10), "a result of zero"
    assert not clean(2, 5, 11), "a result below zero"
    assert not arithmetic.clean(arithmetic.parse("a / b", ("a", "b"), "t"), {"a": Fraction(1), "b": Fraction(7)})


def formula(**changes):
    given = [
        {"symbol": "a", "quantity": "first", "unit": "V", "values": [1, 2, 3, 6]},
        {"symbol": "b", "quantity": "second", "unit": "V", "values": [1, 2, 3, 7]},
    ]
    base = {
        "id": "f",
        "stance": "analysis",
        "quantity": "ratio",
        "symbol": "r",
        "unit": "",
        "expression": "a / b",
        "statement": "s",
        "questions": ["{givens}?"],
        "wrong": ["b / a"],
        "given": given,
    }
    return Formula.model_validate(base | changes)


def test_combinations_are_the_clean_ones_once_each_in_a_seeded_order():
    found = [tuple(map(arithmetic.text, values.values())) for values in arithmetic.combinations(formula(), 1)]
    assert set(found) == {(a, b) for a in "1236" for b in "1237" if int(a) * 10**3 % int(b) == 0}
    assert len(found) == len(set(found))
    again = [tuple(map(arithmetic.text, values.values())) for values in arithmetic.combinations(formula(), 1)]
    other = [tuple(map(arithmetic.text, values.values())) for values in arithmetic.combinations(formula(), 2)]
    assert found == again
    assert found != other and sorted(found) == sorted(other)


def test_operations_are_counted():
    assert arithmetic.operations(arithmetic.parse("-a * (b + 1) ** 2", ("a", "b"), "t")) == 3
    assert arithmetic.operations(arithmetic.parse("a", ("a",), "t")) == 0
