"""Numbers with a unit in running text: where they stand, and plausible wrong ones."""

import re
from dataclasses import dataclass

from recipes.base.units import unit_pattern

VALUE = re.compile(
    rf"(?<![\w.=^*/,-])(?P<number>[-−]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?)(?P<joint>\s?)(?P<unit>{unit_pattern()})"
    r"(?![\w/^*²³]|-[A-Z])"  # "5T-OTA" is a name
)
SCALES = (2, 0.5, 10, 0.1, 5)
SPARE_SCALES = (0.75, 1.5, 0.25, 4, 0.2, 3)


@dataclass(frozen=True)
class Stated:
    """A quantity as a text states it: [start, end) of number and unit, and the number's value."""

    start: int
    end: int
    shown: str
    joint: str
    unit: str

    @property
    def value(self) -> float:
        """The number, in the unit that is written behind it."""
        return float(self.shown.replace(",", "").replace("−", "-"))


def find_quantities(text: str) -> list[Stated]:
    """Every number of a text that has a unit, in order."""
    return [
        Stated(match.start(), match.end(), match["number"], match["joint"], match["unit"])
        for match in VALUE.finditer(text)
    ]


def scale_wrong(stated: Stated) -> tuple[str, ...]:
    """Up to four wrong quantities, a plain factor away; percentages stay below 100 where the right one does."""
    value, places = stated.value, len(stated.shown.partition(".")[2])
    half = value / 2 if value / 2 == round(value / 2, places + 1) else value * 4
    found: list[str] = []
    for number in (value * 2, half, value * 10, value / 10, value * 5):
        _add(found, stated, number, f"{number:.6g}")
    for scale in SPARE_SCALES:
        if len(found) < 3:
            _add(found, stated, value * scale, _plain(value * scale))
    return tuple(found[:4])


def _add(found: list[str], stated: Stated, number: float, text: str) -> None:
    whole = stated.unit in ("%", "percent") and abs(stated.value) <= 100
    if "," in stated.shown:
        text = f"{float(text):,.10g}"
    option = f"{text}{stated.joint}{stated.unit}"
    if "e" not in text and option not in found and number != stated.value and not (whole and abs(number) > 100):
        found.append(option)


def _plain(number: float) -> str:
    """A number without an exponent, of at most six significant digits where it has a fraction."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else f"{number:.6g}"
