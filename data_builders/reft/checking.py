"""Whether a chain works out what it says: not its printed number alone, but each sum, and where each number is from.

A number of a chain has to come from the question (in digits or words, or as what a unit that it names holds: 60 of
an hour, 100 of a per cent), or from an earlier result. A chain that lands on the right answer with a number out of the
blue teaches to guess.
"""

import ast
import re
from fractions import Fraction

from data_builders.core import arithmetic
from recipes.base.errors import RecipeError

ALWAYS = (1, 2, 100)  # a thing, a pair that is named by its members, a whole in per cent
SMALL = tuple(
    [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ]
)
TENS = dict(
    zip(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], range(20, 100, 10), strict=True)
)
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
WORDS = {  # what a word of the question brings with it
    **{
        name: (value,)
        for names, value in (("twice double both pair couple", 2), ("triple thrice", 3), ("quadruple", 4))
        for name in names.split()
    },
    **{"half": (Fraction(1, 2), 2), "halve": (Fraction(1, 2), 2), "third": (Fraction(1, 3), 3)},
    **{"quarter": (Fraction(1, 4), 4, 25, Fraction(3, 4)), "dozen": (12,), "percent": (100, Fraction(1, 100))},
    **{"week": (7, 52, 5, 2), "day": (24, 7, 5), "daily": (7,), "hour": (60, 24), "minute": (60,), "second": (60,)},
    **{
        "hourly": (24,),
        "year": (12, 52, 365),
        "annual": (12,),
        "month": (12, 30, 4),
        "weekend": (2,),
        "morning": (12,),
    },
    **{"fortnight": (14,), "decade": (10,), "century": (100,), "foot": (12, 3), "feet": (12, 3), "inch": (12,)},
    **{"yard": (3, 36), "mile": (5280, 1760), "pound": (16,), "ounce": (16,), "ton": (2000, 1000), "gallon": (4, 16)},
    **{"quart": (4, 2), "pint": (2,), "cup": (2, 16, 8), "dollar": (100,), "cent": (100, 1), "dime": (10,)},
    **{"nickel": (5,), "penny": (1,), "pennies": (1,), "hundred": (100,), "thousand": (1000,), "million": (10**6,)},
    **dict.fromkeys(("kilogram", "kg", "kilometer", "km", "liter", "meter", "gram", "m", "l", "kilo"), (1000, 100)),
    **{"square": (4,), "triangle": (3,), "cube": (6, 3), "average": (2, 3), "legs": (4, 2), "alphabet": (26,)},
}
_DIGITS = re.compile(r"\d+ \d+/\d+|\d+/\d+|\d[\d,]*(?:\.\d+)?|\.\d+")
_NUMBER = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)%?"
_PART = rf"[(\s]*-?{_NUMBER}[)\s]*(?:[-+*/]\s*[(\s]*{_NUMBER}[)\s]*)*"
_RUN = re.compile(rf"{_PART}(?:=\s*{_PART})+")  # sums that are said to be equal: 30 - 8 * 3 = 30 - 24 = 6
_SIGNS = str.maketrans({"÷": "/", "×": "*", "−": "-", "–": "-", "$": None, "½": "1/2", "¼": "1/4", "¾": "3/4"})
LOOSE = Fraction(1, 100)  # relative: a chain in words rounds


def find_numbers(question: str) -> set[Fraction]:
    """Every number that a question gives, in digits or words, and what its units hold."""
    text = _plain(question).replace("-", " ")
    found = {Fraction(number) for number in ALWAYS}
    for said in _DIGITS.findall(text):
        whole, _, part = said.replace(",", "").rpartition(" ")
        if not re.search(r"/0+$", part):
            found |= {Fraction(part) + Fraction(whole or 0), *map(Fraction, part.split("/"))}
    words = re.findall(r"[a-z]+", text)
    for place, word in enumerate(words):
        bare = word if word in WORDS else word.removesuffix("s")
        found |= set(map(Fraction, WORDS.get(bare, ())))
        if bare in SMALL:
            found.add(Fraction(SMALL.index(bare)))
        if bare in ORDINALS:
            found |= {Fraction(ORDINALS.index(bare) + 1), Fraction(1, ORDINALS.index(bare) + 1)}
        if bare in TENS:
            after = words[place + 1 : place + 2]
            found |= {Fraction(TENS[bare] + (SMALL.index(after[0]) if after and after[0] in SMALL[1:10] else 0))}
            found.add(Fraction(TENS[bare]))
    if "%" in text or "percent" in text:
        shares = {number / 100 for number in found if 0 < number <= 1000}
        found |= shares | {1 + share for share in shares} | {1 - share for share in shares}
        found |= {100 + number for number in found} | {100 - number for number in found if number <= 100}
    if re.search(r"\bcents?\b|\bpenn", text):
        found |= {number / 100 for number in found}
    return found


def _plain(text: str) -> str:
    """In lower case, with plain signs, without what stands between thousands."""
    return re.sub(r"(?<=\d)[ ,](?=\d{3}\b)", "", text.casefold().translate(_SIGNS))


def check_program(question: str, program: str, answer: str) -> str | None:
    """What is wrong with a program of assignments and one print; None where nothing is.

    Anything but arithmetic on numbers and earlier names is refused, so nothing is run for it.
    """
    known, values, printed = find_numbers(question), {}, None
    try:
        for line in ast.parse(program).body:
            if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
                value, wild = _work_out(line.value, values, known)
                values[line.targets[0].id] = value
            elif _is_print(line):
                printed, wild = _work_out(line.value.args[0], values, known)
            else:
                return "the program is more than arithmetic"
            if wild is not None:
                return f"the number {wild} comes from nowhere"
    except (SyntaxError, RecipeError, arithmetic.NotExact, KeyError, ValueError, RecursionError):
        return "the program cannot be worked out"
    return None if printed is not None and _same(printed, Fraction(answer), LOOSE / 100) else "ends on another number"


def _is_print(line: ast.stmt) -> bool:
    call = line.value if isinstance(line, ast.Expr) else None
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "print"
        and len(call.args) == 1
        and not call.keywords
    )


def _work_out(tree: ast.expr, values: dict[str, Fraction], known: set[Fraction]) -> tuple[Fraction, str | None]:
    """(value, the first number that is not known) of an expression."""
    code = ast.unparse(tree).replace("//", "/")
    checked = arithmetic.parse(code, list(values), "program")
    numbers = [arithmetic.number(node.value) for node in ast.walk(checked) if isinstance(node, ast.Constant)]
    wild = next((str(number) for number in numbers if number not in known), None)
    return arithmetic.evaluate(checked, values), wild


def check_words(question: str, chain: str, answer: str) -> str | None:
    """What is wrong with a chain in words; None where nothing is.

    It needs at least one sum; each sum has to be right (to one per cent, since people round), of numbers that the
    question or an earlier sum gives, and the last of them, or the last number of the chain, has to be the answer.
    """
    known, last, gold = find_numbers(question), None, Fraction(answer)
    for run in (run for line in chain.splitlines() for run in _RUN.findall(_bare_sums(line))):
        parts = [_tree(part) for part in run.split("=")]
        if None in parts:
            continue  # not a sum after all
        try:
            values = [arithmetic.evaluate(tree, {}) for tree in parts]
        except (arithmetic.NotExact, OverflowError):
            continue
        if arithmetic.operations(parts[0]) == 0:  # another unit: 1.25 hours = 75 minutes
            if values[0] and any(_same(values[1] / values[0], other, LOOSE) for other in known):
                known.add(values[1])
            continue
        if not all(_same(value, values[0], LOOSE) for value in values):
            return "a sum is wrong"
        for number in (arithmetic.number(node.value) for node in ast.walk(parts[0]) if isinstance(node, ast.Constant)):
            if not any(_same(number, other, LOOSE / 10) for other in known):
                return f"the number {arithmetic.text(number)} comes from nowhere"
        last = values[-1]
        known |= {last, 100 * last, 1 - last} | {Fraction(number) for number in (last.numerator, last.denominator)}
    if last is None:
        return "no sum in the chain"
    ends = [Fraction(said.replace(",", "")) for said in re.findall(r"\d[\d,]*(?:\.\d+)?|\.\d+", chain)[-1:]]
    right = any(_same(abs(value), abs(gold), LOOSE / 100) for value in [last, 100 * last, *ends])
    return None if right else "ends on another number"


def _bare_sums(chain: str) -> str:
    """A chain without the words between its numbers and signs: "4 teachers x 2 lessons each = 8" is "4 * 2 = 8"."""
    text = re.sub(r"(?<=[\d)%a-z.]) *[x*] *(?=[\d(.])", " * ", _plain(chain))
    text = re.sub(r"\d[\d.]*[a-z]\b|\b[a-z](?= ?[-+*/=])", "#", text)  # 2x, and x before a sign: an equation
    text = re.sub(r"/ ?[a-z]+", " ", text)
    return re.sub(r"[a-z][a-z'’-]*[.,]?", " ", text)


def _tree(part: str) -> ast.expr | None:
    code = re.sub(r"(\d+(?:\.\d+)?|\.\d+)%", r"(\1/100)", part.replace(",", "").replace(" ", ""))
    try:
        return arithmetic.parse(re.sub(r"(?<![\d.])0+(?=\d)", "", code), [], "chain")
    except RecipeError:
        return None


def _same(first: Fraction, second: Fraction, tolerance: Fraction) -> bool:
    return abs(first - second) <= tolerance * abs(second)
