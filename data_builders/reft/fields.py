"""What every reader of published problems asks of a field."""

import re
from fractions import Fraction

from data_builders.core import arithmetic
from recipes.base.reply_form import holds_mark

NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)")
LONGEST = 4000  # characters of a question or chain


def gold_number(text: object) -> str | None:
    """A stated answer as a plain decimal ("$1,200.50" is "1200.5"), or None."""
    bare = str(text).strip().replace(",", "").replace("$", "").rstrip(".%").strip()
    return arithmetic.text(Fraction(bare)) if NUMBER.fullmatch(bare) and bare != "." else None


def show_number(value: Fraction) -> str:
    """A number as a decimal where it ends, else as a quotient."""
    try:
        return arithmetic.text(value)
    except arithmetic.NotExact:
        return str(value)


def find_unfit(question: str, chain: str) -> str | None:
    """Why a question and its chain cannot be used; None where they can."""
    if not question or not chain.strip():
        return "empty question or chain"
    if len(question) > LONGEST or len(chain) > LONGEST:
        return f"longer than {LONGEST} characters"
    return "think or answer tag inside a field" if holds_mark(question + chain) else None
