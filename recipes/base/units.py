"""Units of every field and what they mean in base units: one table for finding quantities in text and for grading them.

Base dimensions: V A s K m g bit dB rad dec oct, and one for each unit that has no other. rad is one of them, so that
rad/s is not Hz; decibels never turn into ratios. °C counts as K: in slopes (ppm/°C) the two are the same.
"""

import math
import re

Dimension = dict[str, float]
Meaning = tuple[float, Dimension]  # factor to base units, exponents of base dimensions

ELECTRIC: dict[str, Meaning] = {
    **{base: (1.0, {base: 1}) for base in ("V", "A", "s", "K", "m", "g", "bit", "dB", "rad", "dec", "oct")},
    "Ohm": (1.0, {"V": 1, "A": -1}),
    "S": (1.0, {"A": 1, "V": -1}),
    "F": (1.0, {"A": 1, "s": 1, "V": -1}),
    "H": (1.0, {"V": 1, "s": 1, "A": -1}),
    "Hz": (1.0, {"s": -1}),
    "rtHz": (1.0, {"s": -0.5}),
    "W": (1.0, {"V": 1, "A": 1}),
    "J": (1.0, {"V": 1, "A": 1, "s": 1}),
    "eV": (1.602176634e-19, {"V": 1, "A": 1, "s": 1}),
    "C": (1.0, {"A": 1, "s": 1}),
    "degC": (1.0, {"K": 1}),
    "deg": (math.pi / 180, {"rad": 1}),
    "cm": (0.01, {"m": 1}),
    "%": (0.01, {}),
    "ppm": (1e-6, {}),
}
JOULE: Dimension = {"V": 1, "A": 1, "s": 1}
NEWTON: Dimension = JOULE | {"m": -1}
PASCAL: Dimension = JOULE | {"m": -3}
OTHER: dict[str, Meaning] = {
    "N": (1.0, NEWTON),
    "Nm": (1.0, JOULE),
    "Pa": (1.0, PASCAL),
    "bar": (1e5, PASCAL),
    "mbar": (100.0, PASCAL),
    "atm": (101325.0, PASCAL),
    "psi": (6894.757293168, PASCAL),
    "mmHg": (133.322387415, PASCAL),
    "min": (60.0, {"s": 1}),
    "h": (3600.0, {"s": 1}),
    "day": (86400.0, {"s": 1}),
    "week": (604800.0, {"s": 1}),
    "rpm": (1 / 60, {"s": -1}),
    "l": (1e-3, {"m": 3}),
    "L": (1e-3, {"m": 3}),
    "t": (1e6, {"g": 1}),
    "Wh": (3600.0, JOULE),
    "Ah": (3600.0, {"A": 1, "s": 1}),
    "cal": (4.184, JOULE),
    "hp": (745.69987158227, {"V": 1, "A": 1}),
    "T": (1.0, {"V": 1, "s": 1, "m": -2}),
    "Wb": (1.0, {"V": 1, "s": 1}),
    "ha": (1e4, {"m": 2}),
    "inch": (0.0254, {"m": 1}),
    "ft": (0.3048, {"m": 1}),
    "mile": (1609.344, {"m": 1}),
    "lb": (453.59237, {"g": 1}),
    "ppb": (1e-9, {}),
    **{base: (1.0, {base: 1}) for base in ("mol", "cd", "lm", "lx", "Bq", "Gy", "Sv", "kat", "degF", "B", "Bd", "px")},
    **{base: (1.0, {base: 1}) for base in ("year", "month", "EUR", "USD", "dollar", "cent")},
}
PREFIXES = {
    **{"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "K": 1e3},
    **{"M": 1e6, "meg": 1e6, "Meg": 1e6, "G": 1e9, "T": 1e12},
}
PREFIX_WORDS = {
    **{"femto": 1e-15, "pico": 1e-12, "nano": 1e-9, "micro": 1e-6, "milli": 1e-3},
    **{"kilo": 1e3, "kil": 1e3, "mega": 1e6, "giga": 1e9, "tera": 1e12},
}
WORDS = {
    **{"volt": "V", "ampere": "A", "amp": "A", "ohm": "Ohm", "siemens": "S", "farad": "F", "henry": "H", "henrie": "H"},
    **{"hertz": "Hz", "hz": "Hz", "watt": "W", "joule": "J", "coulomb": "C", "kelvin": "K", "second": "s", "sec": "s"},
    **{"decibel": "dB", "db": "dB", "degree": "deg", "radian": "rad", "percent": "%", "bit": "bit", "decade": "dec"},
    **{"octave": "oct", "meter": "m", "metre": "m", "gram": "g"},
}
OTHER_WORDS = {
    **{"newton": "N", "pascal": "Pa", "litre": "l", "liter": "l", "minute": "min", "hour": "h", "hr": "h"},
    **{"day": "day", "week": "week", "month": "month", "year": "year", "ton": "t", "tonne": "t", "calorie": "cal"},
    **{"tesla": "T", "weber": "Wb", "hectare": "ha", "inche": "inch", "foot": "ft", "feet": "ft", "mile": "mile"},
    **{"pound": "lb", "mole": "mol", "candela": "cd", "lumen": "lm", "lux": "lx", "becquerel": "Bq", "gray": "Gy"},
    **{"sievert": "Sv", "byte": "B", "pixel": "px", "euro": "EUR", "dollar": "dollar", "cent": "cent"},
    **{"centimetre": "cm", "centimeter": "cm", "gramme": "g", "min": "min"},
}
# What is read as a unit behind a number in running text, by the prefixes that it takes there.
_SCALED = {
    "GMkmµμunpf": "V A Hz F s W S Ω Ω J H m",
    "kM": "Ohm",
    "GMkmµμun": "N Pa eV Wh Ah T C Gy Sv Bq mol cal",
    "kmcµμun": "g l L m mol",
    "kmh": "bar N t",
    "kMGT": "B bit bit/s B/s Bd",
    "mk": "lm lx cd px",
}
_ALONE = (
    "dB dBm dBA dBc % ‰ ppm ppm/K ppb K °C ° °F degC degF bit V/µs degrees rpm min h t hp psi mmHg atm ha lb ft √Hz "
    "Nm kNm mNm N·m kN·m m² m³ mm² mm³ cm² cm³ dm³ km² µm² km/h kWh MWh GWh mAh inches EUR USD fps dpi "
    "kg/h l/h m³/h 1/min min⁻¹ 1/s s⁻¹"
)
_SPELLED = (
    "volt ampere amp ohm hertz watt joule coulomb kelvin second minute hour day week month year radian percent metre "
    "meter gram gramme kilogram litre liter newton pascal ton tonne bar calorie tesla mole lumen lux byte pixel euro "
    "dollar cent mile hectare pound"
)
_SPELLED_PREFIXES = "|".join(("micro", "milli", "centi", "kilo", "mega", "giga"))


def unit_pattern() -> str:
    """A regular expression, without groups that capture, of a unit as it stands behind a number in running text."""
    scaled = [f"[{prefixes}]?(?:{'|'.join(names.split())})" for prefixes, names in _SCALED.items()]
    behind = "(?: (?:Celsius|Fahrenheit|per (?:second|minute|hour|day)))?"
    words = f"(?:{_SPELLED_PREFIXES})?(?:{'|'.join(_SPELLED.split())})s?{behind}"
    simple = "|".join([*map(re.escape, sorted(_ALONE.split(), key=len, reverse=True)), *scaled])
    power = r"(?:[²³]|\^-?\d)?"
    compound = rf"(?:{simple}){power}(?:[/·](?:{simple}){power}){{0,2}}"
    return rf"(?:degrees Celsius|degrees Fahrenheit|revolutions per minute|{words}|{compound})"
