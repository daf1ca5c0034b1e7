"""Numbers with units in free text, compared in SI base units. Linear in the text's length; no text is run as code."""

import math
import re
from dataclasses import dataclass

from recipes.base.units import ELECTRIC, OTHER, OTHER_WORDS, PREFIX_WORDS, PREFIXES, WORDS, Meaning

VERSION = 1

_Known = tuple[dict[str, Meaning], dict[str, str]]  # units by symbol, symbols by name
_ALL: _Known = (ELECTRIC | OTHER, WORDS | OTHER_WORDS)
_ELECTRIC: _Known = (ELECTRIC, WORDS)
_BASES = {base for _, dimension in ELECTRIC.values() for base in dimension}
_OHM = (("A", -1.0), ("V", 1.0))

_POWER = r"(?:\^-?\d(?:\.\d)?)?"
_UNIT = rf"(?:1?/)?[A-Za-z%]+{_POWER}(?:[*/][A-Za-z]+{_POWER})*"
_NUMBER = re.compile(
    r"(?<![\w.^])(?:(?P<power>[+-]?10\^[+-]?\d++)"
    r"|(?P<mantissa>[+-]?(?:(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d*+)?|\.\d++))"
    r"(?:[eE](?P<exponent>[+-]?\d++)| ?[x*] ?10\^(?P<scale>[+-]?\d++))?)"
    rf"(?![\d_^]|\.\d)(?: ?(?P<unit>{_UNIT}))?"
)

_LATEX = {
    **{r"\mu": "u", r"\Omega": "Ohm", r"\times": "*", r"\cdot": "*", r"\approx": "=", r"\sqrt": "rt", r"\circ": "deg"},
    **{r"\pm": "+-", r"\%": "%", r"\text": "", r"\mathrm": "", r"\mathbf": "", r"\boxed": ""},
}
_SIGNS = str.maketrans(
    {
        **{
            "\u00b5": "u",
            "\u03bc": "u",
            "\u2126": "Ohm",
            "\u03a9": "Ohm",
            "\u2127": "S",
            "\u00b0": "deg",
            "\u2103": "degC",
        },
        **{"\u2212": "-", "\u2013": "-", "\u2011": "-", "\u00b1": "+-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*"},
        **{"\u2248": "=", "\u2243": "=", "\u221a": "rt", "{": None, "}": None, "$": None, "`": None},
    }
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")


@dataclass(frozen=True)
class Quantity:
    """A number as it was written, and the unit behind it in plain spelling ("uA/V^2"; "" when there is none)."""

    number: float
    unit: str


def read_quantities(text: str) -> list[Quantity]:
    """Every number behind the text's last equals sign, with its unit. A number that overflows matches nothing."""
    return [_quantity(match) for match in _NUMBER.finditer(_plain(text).rpartition("=")[2])]


def matches(stated: Quantity, gold: Quantity, tolerance: float) -> bool:
    """True when `stated` is the same physical quantity as `gold` within the relative tolerance."""
    values = _in_one_unit(stated, gold)
    return values is not None and abs(values[0] - values[1]) <= tolerance * abs(values[1])


def relative_error(stated: Quantity, gold: Quantity) -> float:
    """|stated - gold| / |gold|; infinite where the units do not fit, or the gold is 0 and the other is not."""
    values = _in_one_unit(stated, gold)
    if values is None or (values[1] == 0 != values[0]):
        return math.inf
    return abs(values[0] - values[1]) / abs(values[1]) if values[1] else 0.0


def _in_one_unit(stated: Quantity, gold: Quantity) -> tuple[float, float] | None:
    """Both numbers in SI base units; None where they are not the same kind of quantity.

    A gold unit that is a pure ratio ("" or "V/V") need not be stated, and any word may follow the number, also the unit
    of a count ("5 hours", "12 litres"), but not an electric one; every other unit has to be there. Beside a gold
    resistance a bare prefix means ohms ("4.7k").
    """
    factor, dimension = _resolve(gold.unit)
    if dimension == _OHM and stated.unit in PREFIXES:
        stated = Quantity(stated.number, stated.unit + "Ohm")
    ratio = factor == 1.0 and not dimension
    stated_factor, stated_dimension = _resolve(stated.unit, _ELECTRIC if ratio else _ALL)
    if ratio and any(base not in _BASES for base, _ in stated_dimension):
        stated_dimension = ()
    if stated_dimension != dimension or (not stated.unit and factor != 1.0):
        return None
    return stated.number * stated_factor, gold.number * factor


def _plain(text: str) -> str:
    """Text in ASCII spelling, with single spaces, and none around * / ^ or behind a sign."""
    text = re.sub(r"\\mu\s?", "u", text.replace("**", ""))
    text = re.sub(r"\\[A-Za-z]+|\\[%,;! ]", lambda match: _LATEX.get(match[0], " "), text)
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+", lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text).translate(_SIGNS)
    text = re.sub(r" ?([*/^]) ?", r"\1", " ".join(text.split()).replace(" per ", "/"))
    text = re.sub(r"(?:sq)?rt\(?Hz\)?", "rtHz", text.replace("^deg", "deg").replace("deg C", "degC"))
    text = re.sub(r"/\(([^()]{1,30})\)", lambda match: "/" + match[1].replace("*", "/"), text)
    return re.sub(r"([+-]) (?=[\d.])", r"\1", re.sub(r"\^\(([+-]?\d+)\)", r"^\1", text))


def _quantity(match: re.Match) -> Quantity:
    if match["power"]:
        base, _, exponent = match["power"].partition("^")
        digits = f"{base.removesuffix('10')}1e{exponent}"
    else:
        digits = f"{match['mantissa'].replace(',', '')}e{match['exponent'] or match['scale'] or 0}"
    return Quantity(float(digits), match["unit"] or "")


def _resolve(unit: str, known: _Known = _ALL) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Factor to SI base units, and sorted (base, exponent) pairs. An unknown symbol is a dimension of its own."""
    factor, dimension = 1.0, {}
    for sign, symbol, power in re.findall(r"(^1?/|[*/]|^)([A-Za-z%]+)(?:\^(-?\d(?:\.\d)?))?", unit):
        exponent = float(power or 1) * (-1 if "/" in sign else 1)
        symbol_factor, bases = _symbol(symbol, known)
        factor *= symbol_factor**exponent
        for base, base_exponent in bases.items():
            dimension[base] = dimension.get(base, 0.0) + base_exponent * exponent
    return factor, tuple(sorted((base, exponent) for base, exponent in dimension.items() if exponent))


def _symbol(symbol: str, known: _Known) -> tuple[float, dict[str, float]]:
    """Factor and dimension of one unit symbol or name, prefix included: "uA", "kOhm", "Mrad", "kilohms", "percent"."""
    if unit := _unprefixed(symbol, known):
        return unit
    for prefixes, spelled in ((PREFIXES, symbol), (PREFIX_WORDS, symbol.lower())):
        for prefix, scale in prefixes.items():
            if spelled.startswith(prefix) and (unit := _unprefixed(spelled.removeprefix(prefix), known)):
                return scale * unit[0], unit[1]
    return 1.0, {symbol: 1}


def _unprefixed(symbol: str, known: _Known) -> tuple[float, dict[str, float]] | None:
    word, (units, names) = symbol.lower(), known
    return units.get(symbol) or units.get(names.get(word) or names.get(word.removesuffix("s")) or "")
