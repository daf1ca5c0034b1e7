"""Arithmetic in documents: bare sums, formulas of everyday fields, formulas that stand in the prompt."""

import keyword
import random

from recipes.lab.arithmetic import operand, problem, render_number, work
from recipes.lab.items import WORDS, Item, join_parts, quantity

# Formulas of everyday fields: (setting, result quantity, symbol, unit, expression, givens (symbol, quantity, unit)).
FIELDS = [
    ("A car", "speed", "v", "km/h", "s / t", [("s", "distance", "km"), ("t", "time", "h")]),
    ("A walker", "distance", "s", "km", "v * t", [("v", "speed", "km/h"), ("t", "time", "h")]),
    ("A train", "time", "t", "h", "s / v", [("s", "distance", "km"), ("v", "speed", "km/h")]),
    ("A block", "density", "d", "g/cm3", "m / V", [("m", "mass", "g"), ("V", "volume", "cm3")]),
    ("A stone", "mass", "m", "g", "d * V", [("d", "density", "g/cm3"), ("V", "volume", "cm3")]),
    ("A field", "area", "A", "m2", "a * b", [("a", "length", "m"), ("b", "width", "m")]),
    ("A box", "volume", "V", "cm3", "a * b * h", [("a", "length", "cm"), ("b", "width", "cm"), ("h", "height", "cm")]),
    ("A fence", "perimeter", "P", "m", "2 * (a + b)", [("a", "length", "m"), ("b", "width", "m")]),
    ("A worker", "pay", "W", "EUR", "r * t", [("r", "rate", "EUR/h"), ("t", "time", "h")]),
    (
        "A shop",
        "profit",
        "G",
        "EUR",
        "n * (p - c)",
        [("n", "number of goods", ""), ("p", "price", "EUR"), ("c", "cost", "EUR")],
    ),
    ("A buyer", "price per kilogram", "q", "EUR/kg", "p / m", [("p", "price", "EUR"), ("m", "mass", "kg")]),
    ("A cart", "force", "F", "N", "m * a", [("m", "mass", "kg"), ("a", "acceleration", "m/s2")]),
    ("A lift", "work", "E", "J", "F * s", [("F", "force", "N"), ("s", "height", "m")]),
    (
        "A runner",
        "acceleration",
        "a",
        "m/s2",
        "(v2 - v1) / t",
        [("v2", "final speed", "m/s"), ("v1", "initial speed", "m/s"), ("t", "time", "s")],
    ),
    ("A ball", "kinetic energy", "E", "J", "0.5 * m * v**2", [("m", "mass", "kg"), ("v", "speed", "m/s")]),
    ("A tank", "filling time", "t", "min", "V / q", [("V", "volume", "L"), ("q", "flow", "L/min")]),
    ("A pump", "flow", "q", "L/min", "V / t", [("V", "volume", "L"), ("t", "time", "min")]),
    ("A floor", "pressure", "p", "Pa", "F / A", [("F", "force", "N"), ("A", "area", "m2")]),
    ("A class", "mean mark", "M", "", "(a + b) / 2", [("a", "first mark", ""), ("b", "second mark", "")]),
    ("A loan", "interest", "Z", "EUR", "K * p / 100", [("K", "capital", "EUR"), ("p", "rate", "%")]),
    ("A map", "real distance", "D", "km", "d * k", [("d", "map distance", "cm"), ("k", "scale", "km/cm")]),
    ("A baker", "flour", "F", "g", "n * f", [("n", "number of loaves", ""), ("f", "flour per loaf", "g")]),
    ("A farm", "yield", "Y", "t", "A * y", [("A", "area", "ha"), ("y", "yield per area", "t/ha")]),
    ("A wheel", "turning rate", "n", "1/s", "1 / T", [("T", "period", "s")]),
    ("A spring", "spring force", "F", "N", "k * x", [("k", "stiffness", "N/cm"), ("x", "travel", "cm")]),
    (
        "A lever",
        "load force",
        "F2",
        "N",
        "F1 * a / b",
        [("F1", "effort force", "N"), ("a", "effort arm", "cm"), ("b", "load arm", "cm")],
    ),
    ("A mixture", "total mass", "M", "kg", "m1 + m2", [("m1", "first mass", "kg"), ("m2", "second mass", "kg")]),
    ("A school", "pupils per class", "c", "", "n / k", [("n", "number of pupils", ""), ("k", "number of classes", "")]),
    (
        "A tower",
        "potential energy",
        "E",
        "J",
        "m * g * h",
        [("m", "mass", "kg"), ("g", "gravity", "m/s2"), ("h", "height", "m")],
    ),
    (
        "A trip",
        "mean speed",
        "v",
        "km/h",
        "(s1 + s2) / t",
        [("s1", "first distance", "km"), ("s2", "second distance", "km"), ("t", "time", "h")],
    ),
]
# fmt: off
UNITS = [
    "m", "cm", "km", "g", "kg", "t", "s", "ms", "us", "ns", "min", "h", "N", "J", "W", "mW", "uW", "V", "mV", "uV", "A",
    "mA", "uA", "nA", "Ohm", "kOhm", "MOhm", "S", "mS", "uS", "F", "pF", "nF", "uF", "fF", "H", "mH", "uH", "Hz", "kHz",
    "MHz", "GHz", "dB", "K", "L", "EUR", "%", "V/V", "V/us", "mV/K", "rad/s", "deg", "bit",
]
# An entry that stands there twice is drawn twice as often.
SYMBOL_HEADS = "ABCDEFGHIJKLMNPQRSTUVWXYZabcdfghkmnprstvwxyz"
SYMBOL_TAILS = [
    "", "", "1", "2", "0", "in", "out", "ref", "x", "s", "a", "b", "m", "t", "D", "S", "L", "F", "max", "min", "tot",
    "n", "p", "o", "DD", "TH",
]
# fmt: on


def sums(rng: random.Random) -> str:
    """Bare lines of arithmetic, the densest practice there is."""
    return "\n".join(
        " = ".join(problem(rng, rng.choice([1, 1, 1, 2, 3]), ["a", "b", "c", "d"])[2][1:])
        for _ in range(rng.randint(3, 8))
    )


def bare_sum(rng: random.Random) -> Item:
    """`Compute 12 * 8.`, answered with the worked chain."""
    _, _, steps = problem(rng, rng.choice([1, 1, 1, 2, 2, 3]), ["a", "b", "c", "d"])
    ask = rng.choice(["Compute {}.", "What is {}?", "Calculate {}.", "Work out {}.", "Find the value of {}."])
    return Item(
        kind="arithmetic",
        question=ask.format(steps[1]),
        think=" = ".join(steps[1:]),
        solution=f"The result is {steps[-1]}.",
        answer=steps[-1],
        grader="numeric",
    )


def field_problem(rng: random.Random) -> Item:
    """A problem of an everyday field, whose formula is not given but has to be known."""
    while True:
        setting, result, symbol, unit, expression, givens = rng.choice(FIELDS)
        values = {name: operand(rng) for name, _, _ in givens}
        if "/" in expression and rng.random() < 0.6:
            # Most random quotients are endless decimals.
            values[givens[0][0]] *= values[givens[-1][0]]
        steps = work(expression, values)
        if steps and all(render_number(v) for v in values.values()):
            break
    given = join_parts([f"{meaning} {name} = {quantity(values[name], of)}" for name, meaning, of in givens])
    ask = rng.choice(
        [
            "{s} has {g}. Find the {r}.",
            "{s} has {g}. What is the {r}?",
            "Given {g} for {l}, compute the {r}.",
            "How large is the {r} of {l} with {g}?",
            "{s} with {g}: calculate the {r}.",
            "For {l} we know {g}. Determine the {r}.",
        ]
    )
    return worked(ask.format(s=setting, l=setting.lower(), g=given, r=result), result, symbol, unit, steps)


def stated_formula(rng: random.Random) -> Item:
    """A problem with a formula of invented quantities in the prompt: reading it and putting in the numbers."""
    names = list(dict.fromkeys(random_symbol(rng) for _ in range(16)))
    _, values, steps = problem(rng, rng.choice([1, 1, 2, 2, 3]), names[:4])
    symbol, unit = names[4], rng.choice(UNITS)
    result = noun(rng)
    given = join_parts([f"{noun(rng)} {name} = {quantity(value, rng.choice(UNITS))}" for name, value in values.items()])
    setting = noun(rng)
    ask = rng.choice(
        [
            "The {r} of a {s} is {f}. A {s} has {g}. Find the {r}.",
            "A {s} has {g}. Use {f} to find the {r}.",
            "With {f}, what is the {r} of a {s} that has {g}?",
        ]
    )
    return worked(ask.format(r=result, s=setting, f=f"{symbol} = {steps[0]}", g=given), result, symbol, unit, steps)


def worked(question: str, result: str, symbol: str, unit: str, steps: list[str]) -> Item:
    """The exchange about a formula: the chain as thought, the result with its unit as answer."""
    answer = f"{steps[-1]} {unit}".rstrip()
    return Item(
        kind="arithmetic",
        question=question,
        think=f"{symbol} = " + " = ".join(steps),
        solution=f"The {result} is {answer}.",
        answer=answer,
        grader="numeric",
        unit=unit or None,
    )


def random_symbol(rng: random.Random) -> str:
    symbol = rng.choice(SYMBOL_HEADS) + rng.choice(SYMBOL_TAILS)
    return random_symbol(rng) if keyword.iskeyword(symbol) else symbol


def noun(rng: random.Random) -> str:
    return f"{rng.choice(WORDS)} {rng.choice(WORDS)}" if rng.random() < 0.7 else rng.choice(WORDS)
