"""What a repair of damaged text may not change: numbers, the units beside them, and negations.

A comparison by form, with limits: a sign, a number that stands inside a word (M1, 2nd) and every other word may change
unseen; a number or negation that is as damaged as the text may be set right, and then nobody knows whether it is.
"""

import re
import unicodedata
from collections import Counter

UNIT = r"(?:[pnumkMG] ?)?(?:Ohms?|Hz|eV|Pa|bits?|dB|[VAWFHSsJCKTNm])(?![A-Za-z])|%|°C?"
NUMBER = re.compile(rf"(?<![A-Za-z\d])(?<!\d[.,])(\d++(?:[.,]\d++)*+)(?:\s*({UNIT})|(?![A-Za-z]))")
NEGATION = re.compile(r"\b(?:no|not|never|without|cannot)\b|n't\b", re.I)
SPELLING = str.maketrans({"μ": "u", "Ω": "Ohm", "’": "'"})
SPLIT = re.compile(r"(?<=\d)\s+(?=[.,]?\d)|(?<=\d[.,])\s+(?=\d)")
WORD = re.compile(r"[\w|]+")
# A word that may be a damaged number: digits among letters, or nothing but letters that look like digits.
LIKE_NUMBER = re.compile(r"(?=\w*\d)\w*[A-Za-z]\w*|[OoIlSBZ|]+")
LONG_NEGATIONS = ("not", "never", "without", "cannot")  # of which a word that differs by one letter says something


def find_change(raw: str, text: str) -> str | None:
    """The first of "number changed", "unit changed", "negation changed" that holds for `text`, restored `raw`, or None.

    What the raw text has the other has to have, as often. What it has beyond that has to be what became of a word that
    is gone: one that looks like a number, or differs from a negation by one letter.
    """
    raw, text = plain(raw), plain(text)
    gone = list((Counter(WORD.findall(raw)) - Counter(WORD.findall(text))).elements())
    old, new = NUMBER.findall(raw), NUMBER.findall(text)
    before, after = (Counter(number for number, _ in found) for found in (old, new))
    if before - after or (after - before).total() > sum(map(bool, map(LIKE_NUMBER.fullmatch, gone))):
        return "number changed"
    before, after = (Counter((number, unit.replace(" ", "")) for number, unit in found if unit) for found in (old, new))
    if before - after:
        return "unit changed"
    more = len(NEGATION.findall(text)) - len(NEGATION.findall(raw))
    if more < 0 or more > sum(map(like_negation, gone)):
        return "negation changed"
    return None


def plain(text: str) -> str:
    """One spelling of units and apostrophes, and no white space inside numbers."""
    return SPLIT.sub("", unicodedata.normalize("NFKC", text).translate(SPELLING))


def like_negation(word: str) -> bool:
    """Whether a word differs from a negation by one letter."""
    word = word.casefold()
    alike = [known for known in LONG_NEGATIONS if len(known) == len(word)]
    return any(sum(a != b for a, b in zip(word, known, strict=True)) == 1 for known in alike)
