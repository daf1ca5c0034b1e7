"""True closed-book facts with four options each: countries, cities, elements, units; from the tables of eval/tables.

Every item is drawn from a random generator seeded by its own id, so a longer table leaves the other items as they are.
"""

import json
import random
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from recipes.base.places import ROOT

TABLES = ROOT / "eval" / "tables"
OPTIONS = 4
LENGTHS = {"a kilometre": ("metres", 1000), "a metre": ("centimetres", 100), "a centimetre": ("millimetres", 10)}
MASSES = {"a kilogram": ("grams", 1000), "a tonne": ("kilograms", 1000), "a gram": ("milligrams", 1000)}
TIMES = {"a minute": ("seconds", 60), "an hour": ("minutes", 60), "a day": ("hours", 24), "a week": ("days", 7)}
OTHERS = {
    "a litre": ("millilitres", 1000), "a foot": ("inches", 12), "a yard": ("feet", 3), "a pound": ("ounces", 16),
    "a century": ("years", 100), "a decade": ("years", 10), "a year": ("months", 12), "a dozen": ("items", 12),
    "a kilowatt": ("watts", 1000), "a full circle": ("degrees", 360),
}  # fmt: skip
SI_UNITS = {
    "force": "newton", "energy": "joule", "power": "watt", "pressure": "pascal", "frequency": "hertz",
    "electric charge": "coulomb", "voltage": "volt", "electric resistance": "ohm", "electric current": "ampere",
    "temperature": "kelvin", "mass": "kilogram", "length": "metre", "time": "second", "capacitance": "farad",
    "inductance": "henry", "amount of substance": "mole", "luminous intensity": "candela", "magnetic flux": "weber",
    "magnetic flux density": "tesla", "electric conductance": "siemens", "radioactive activity": "becquerel",
}  # fmt: skip


@cache
def read_table(name: str) -> tuple[dict[str, Any], ...]:
    """The rows of a table."""
    lines = (TABLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def ask_choice(name: str, question: str, right: str, wrong: Iterable[str], level: str) -> dict[str, Any] | None:
    """A row with the right option and three wrong ones; None where there are not three."""
    dice = random.Random(f"common/{name}")
    others = sorted(set(wrong) - {right})
    if len(others) < OPTIONS - 1:
        return None
    options = [right, *dice.sample(others, OPTIONS - 1)]
    dice.shuffle(options)
    return {"id": name, "question": question, "answer": right, "options": options, "level": level}


def list_countries() -> Iterator[dict[str, Any] | None]:
    """Capital, continent, currency and neighbours; wrong options are of the same continent where that is no hint."""
    rows = read_table("countries")
    for row in rows:
        name, near = row["name"], [one for one in rows if one["continent"] == row["continent"]]
        yield ask_choice(
            f"capital/{name}",
            f"What is the capital of {name}?",
            row["capital"],
            (c["capital"] for c in near),
            "capital",
        )
        continents = [one["continent"] for one in rows]
        yield ask_choice(
            f"continent/{name}", f"On which continent is {name}?", row["continent"], continents, "continent"
        )
        currencies = [one["currency"] for one in rows]
        yield ask_choice(
            f"currency/{name}", f"What is the currency of {name} called?", row["currency"], currencies, "currency"
        )
        if row["neighbours"]:
            right = random.Random(name).choice(sorted(row["neighbours"]))
            strange = [one["name"] for one in near if one["name"] not in row["neighbours"] and one["name"] != name]
            yield ask_choice(f"border/{name}", f"Which country has a border with {name}?", right, strange, "border")


def list_cities() -> Iterator[dict[str, Any] | None]:
    """The country of a city; wrong options are of the same continent."""
    home = {row["name"]: row["continent"] for row in read_table("countries")}
    for row in read_table("cities"):
        near = [name for name, continent in home.items() if continent == home[row["country"]]]
        yield ask_choice(
            f"city/{row['name']}", f"In which country is the city of {row['name']}?", row["country"], near, "city"
        )


def list_elements() -> Iterator[dict[str, Any] | None]:
    """Symbol, name and number; wrong numbers are near the right one, wrong symbols begin with the same letter."""
    rows = read_table("elements")
    for row in rows:
        name, number = row["name"], row["number"]
        alike = [one["symbol"] for one in rows if one["symbol"][0] == name[0]]
        alike += [one["symbol"] for one in rows if abs(one["number"] - number) <= 3] if len(alike) < OPTIONS else []
        close = [one for one in rows if abs(one["number"] - number) <= 4]
        yield ask_choice(
            f"symbol/{name}", f"What is the chemical symbol of {name.lower()}?", row["symbol"], alike, "symbol"
        )
        yield ask_choice(
            f"element/{name}",
            f"Which chemical element has the symbol {row['symbol']}?",
            name,
            (one["name"] for one in close),
            "name",
        )
        yield ask_choice(
            f"number/{name}",
            f"What is the atomic number of {name.lower()}?",
            str(number),
            (str(one["number"]) for one in close),
            "number",
        )


def list_units() -> Iterator[dict[str, Any] | None]:
    """Units of quantities, and how many of the small one make some of the large one."""
    for quantity, unit in SI_UNITS.items():
        others = SI_UNITS.values()
        yield ask_choice(f"unit/{quantity}", f"What is the SI unit of {quantity}?", unit, others, "unit")
    for large, (small, factor) in (LENGTHS | MASSES | TIMES | OTHERS).items():
        wrong = {str(number) for number in (1, 10, 12, 24, 30, 60, 100, 360, 1000, 10_000)}
        yield ask_choice(f"in/{large}", f"How many {small} are in {large}?", str(factor), wrong, "factor")
        for count in (2, 3, 5, 8):
            noun = large.split(" ", 1)[1]
            plural = {"foot": "feet", "century": "centuries", "dozen": "dozen"}.get(noun, f"{noun}s")
            right = count * factor
            wrong = {str(n) for n in (right * 10, right // 10, right * 2, count + factor, right + factor) if n > 0}
            question = f"How many {small} are in {count} {plural}?"
            yield ask_choice(f"in/{count} {large}", question, str(right), wrong, "several")


FACTS = {"countries": list_countries, "cities": list_cities, "elements": list_elements, "units": list_units}
