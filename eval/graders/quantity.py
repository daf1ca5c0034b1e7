"""Numbers with units in free text, compared in SI base units. Linear in the text's length; no text is run as code.

A number may be written as people write it: 1,000 and 1 000 and 1'000; 0.5 and 0,5 (a comma before one, two or more than
three digits, or behind a bare 0, is a decimal comma); 1/2 and 2 1/2 and a LaTeX fraction; 3e6, 3 x 10^6, 10^6.
"""

import math
import re
from dataclasses import dataclass

from recipes.base.units import ELECTRIC, OTHER, OTHER_WORDS, PREFIX_WORDS, PREFIXES, WORDS, Meaning

VERSION = 2

_Known = tuple[dict[str, Meaning], dict[str, str]]  # units by symbol, symbols by name
_ALL: _Known = (ELECTRIC | OTHER, WORDS | OTHER_WORDS)
_ELECTRIC: _Known = (ELECTRIC, WORDS)
_BASES = {base for _, dimension in ELECTRIC.values() for base in dimension}
_OHM = (("A", -1.0), ("V", 1.0))

_POWER = r"(?:\^-?\d(?:\.\d)?)?"
# A factor behind a space needs its power ("rad s^-1"), so that no word of a sentence is taken for a unit.
_FACTOR = rf"(?:[*/][A-Za-z]+{_POWER}| [A-Za-z]{{1,4}}\^-?\d)"
_UNIT = rf"(?:1?/)?[A-Za-z%]+{_POWER}{_FACTOR}*"
_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})++(?!\d)(?:\.\d*+)?"  # 1,000.5
    r"|[1-9]\d{0,2}(?:[ ']\d{3})++(?![\d'])(?:[.,]\d++)?"  # 1 000
    r"|\d{1,3}(?:\.\d{3})++,\d++"  # 1.000,5
    r"|(?:0|\d++(?!,\d{3}(?!\d))),\d++(?![,.]\d)"  # 0,5
    r"|\d++(?:\.\d*+)?|\.\d++)"
)
_NUMBER = re.compile(
    r"(?<![\w.^])(?:(?P<power>[+-]?10\^[+-]?\d++)"
    r"|(?P<mixed>[+-]?\d++ \d++/\d++)(?!/)"
    rf"|(?P<mantissa>[+-]?{_DIGITS})"
    r"(?:[eE](?P<exponent>[+-]?\d++)| ?[x*] ?10\^(?P<scale>[+-]?\d++)|/(?P<divisor>\d++(?:\.\d++)?)(?!/))?)"
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
        **{"\u00bd": " 1/2", "\u00bc": " 1/4", "\u00be": " 3/4", "\u2044": "/", "\u2019": "'"},
        **{"\u2248": "=", "\u2243": "=", "\u221a": "rt", "{": None, "}": None, "$": None, "`": None},
    }
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")


SCALES = {"%": 0.01, "percent": 0.01, "hundred": 1e2, "dozen": 12.0, "thousand": 1e3, "million": 1e6, "billion": 1e9}
LETTERS = {"k": 1e3, "K": 1e3, "M": 1e6}  # glued to a count they can mean nothing else: "18k"


@dataclass(frozen=True)
class Quantity:
    """A number as it was written, and the unit behind it in plain spelling ("uA/V^2"; "" when there is none).

    The unit of a gold that is a count is None: the question says what is counted, and any unit or word may follow.
    """

    number: float
    unit: str | None


def read_quantities(text: str) -> list[Quantity]:
    """Every number behind the text's last equals sign, with its unit. A number that overflows matches nothing."""
    return [_quantity(match) for match in _NUMBER.finditer(_plain(text).rpartition("=")[2])]


def matches(stated: Quantity, gold: Quantity, tolerance: float) -> bool:
    """True when `stated` is the same physical quantity as `gold` within the relative tolerance."""
    return any(abs(said - right) <= tolerance * abs(right) for said, right in _readings(stated, gold))


def relative_error(stated: Quantity, gold: Quantity) -> float:
    """|stated - gold| / |gold|; infinite where the units do not fit, or the gold is 0 and the other is not."""
    return min((_error(said, right) for said, right in _readings(stated, gold)), default=math.inf)


def _error(said: float, right: float) -> float:
    if right == 0:
        return 0.0 if said == 0 else math.inf
    return abs(said - right) / abs(right)


def _readings(stated: Quantity, gold: Quantity) -> list[tuple[float, float]]:
    """Pairs of both numbers in one unit: one as a rule, none where they are not the same kind of quantity.

    Beside a count a word of scale has two readings, since the question may count in it: "18 million" is 18 and
    18,000,000, "18 %" is 18 and 0.18.
    """
    if gold.unit is not None:
        values = _in_one_unit(stated, gold)
        return [values] if values else []
    unit = stated.unit or ""
    if unit in LETTERS:
        return [(stated.number * LETTERS[unit], gold.number)]
    scale = SCALES.get(unit.casefold().removesuffix("s"), 1.0)
    return [(stated.number, gold.number), *([(stated.number * scale, gold.number)] if scale != 1.0 else [])]


def _in_one_unit(stated: Quantity, gold: Quantity) -> tuple[float, float] | None:
    """Both numbers in SI base units; None where they are not the same kind of quantity.

    A gold unit that is a pure ratio ("" or "V/V") need not be stated, and a word that is no electric unit may follow
    the number; every other unit has to be there. Beside a gold resistance a bare prefix means ohms ("4.7k").
    """
    factor, dimension = _resolve(gold.unit or "")
    said = stated.unit or ""
    if dimension == _OHM and said in PREFIXES:
        said += "Ohm"
    ratio = factor == 1.0 and not dimension
    stated_factor, stated_dimension = _resolve(said, _ELECTRIC if ratio else _ALL)
    if ratio and any(base not in _BASES for base, _ in stated_dimension):
        stated_dimension = ()
    if stated_dimension != dimension or (not said and factor != 1.0):
        return None
    return stated.number * stated_factor, gold.number * factor


def _plain(text: str) -> str:
    """Text in ASCII spelling, with single spaces, and none around * / ^ or behind a sign."""
    text = re.sub(r"\\mu\s?", "u", text.replace("**", ""))
    text = re.sub(r"\\[dt]?frac ?\{([\d.]{1,12})\} ?\{([\d.]{1,12})\}", r" \1/\2", text)
    text = re.sub(r"\\[A-Za-z]+|\\[%,;! ]", lambda match: _LATEX.get(match[0], " "), text)
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+", lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text).translate(_SIGNS)
    text = re.sub(r" ?([*/^]) ?", r"\1", " ".join(text.split()).replace(" per ", "/"))
    text = re.sub(r"(?:sq)?rt\(?Hz\)?", "rtHz", text.replace("^deg", "deg").replace("deg C", "degC"))
    text = re.sub(r"/\(([^()]{1,30})\)", lambda match: "/" + match[1].replace("*", "/"), text)
    return re.sub(r"([+-]) (?=[\d.])", r"\1", re.sub(r"\^\(([+-]?\d+)\)", r"^\1", text))


def _quantity(match: re.Match) -> Quantity:
    if match["power"]:
        base, _, exponent = match["power"].partition("^")
        number = float(f"{base.removesuffix('10')}1e{exponent}")
    elif match["mixed"]:
        whole, _, part = match["mixed"].partition(" ")
        number = math.copysign(abs(float(whole)) + _ratio(*part.split("/")), -1.0 if whole.startswith("-") else 1.0)
    elif match["divisor"]:
        number = _ratio(_decimal(match["mantissa"]), match["divisor"])
    else:
        number = float(f"{_decimal(match['mantissa'])}e{match['exponent'] or match['scale'] or 0}")
    return Quantity(number, match["unit"] or "")


def _ratio(above: str, below: str) -> float:
    """A quotient; infinite, which matches nothing, where it is divided by zero."""
    return float(above) / float(below) if float(below) else math.inf


def _decimal(digits: str) -> str:
    """Digits with a decimal point and nothing between thousands."""
    bare = re.sub(r"[ ']", "", digits)
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?", bare):
        return bare.replace(",", "")
    return bare.replace(".", "").replace(",", ".") if "," in bare else bare


def _resolve(unit: str, known: _Known = _ALL) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Factor to SI base units, and sorted (base, exponent) pairs. An unknown symbol is a dimension of its own."""
    factor, dimension = 1.0, {}
    for sign, symbol, power in re.findall(r"(^1?/|[*/ ]|^)([A-Za-z%]+)(?:\^(-?\d(?:\.\d)?))?", unit):
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
