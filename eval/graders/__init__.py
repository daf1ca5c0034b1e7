"""One grader for reward and metric: grade(row, reply) -> score in [0, 1].

A row names its grader and holds what that grader needs (`answer`, `options`, `unit`, `tolerance`, perhaps `aliases`):

choice   The letter in the answer block: "C", "c", "C)", "(C)", "**C**", "C) option text", or the exact option text.
         Without an answer block, a letter stated as the final answer: "the answer is C", "option C is correct", a bold
         or boxed letter, a last line that is only a letter; else the option's own words, behind "the answer is", as the
         last line, or in the reply's one line of the form "C) option text". Two different letters, or none, are no
         answer; there is no default letter.
numeric  The number and unit in the answer block (behind its last "=", if any), in SI units, with a relative tolerance.
         Every number there has to be right: "10 mA (0.01 A)" passes, "10 mA or 12 mA" does not. The unit has to be
         stated when the row has one, except for pure ratios ("V/V" or ""), where the bare number says the same.
         Decibels and ratios are never converted into each other, nor cycles into radians. A row whose unit is None
         counts something that its question names: "18", "18 meters", "18 kg" and "18 %" are all 18.
text     The answer block equals the answer or one of the row's optional `aliases`, but for case, punctuation, spacing
         and articles. A row with options is a closed question, such as yes, no or maybe: the option that the block
         begins with, or that is stated as the answer where there is none. "Yes, it does" is yes; two are no answer.
verbatim The answer block is the answer, letter by letter, but for white space: for notations in which case and signs
         tell things apart, such as SMILES.
overlap  The text of the answer block, or of the visible reply where there is none, against the answer or one of its
         `aliases`, whichever is more like it: ROUGE-L F1, so a part of the answer is worth a part (overlap.py).
class    The classes among the row's options that the answer block names, or the visible reply where there is none:
         exactly the answer's, by name or synonym (eval/graders/named.py).
label    The same text, with the shaped reward of a label in place of right and wrong: for reinforcement.
close    As numeric, but worth 1 - error / tolerance: for reinforcement. Of several numbers the worst counts.
program  The Python program in the answer block, or in the only fenced code block where there is none, is run in the
         sandbox (eval/sandbox.py). All that it prints, or else what its function `solution()` returns, has to be one
         number, right within the relative tolerance.

All of it is pure and linear in the reply's length, but for the run of a program, which has limits of its own. Of a long
reply the last 20,000 characters are read.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from fractions import Fraction

from eval import sandbox
from eval.graders.choices import is_letter, read_choice, read_word
from eval.graders.named import is_class, label_reward, named
from eval.graders.overlap import rouge_l
from eval.graders.quantity import Quantity, matches, read_quantities, relative_error
from eval.graders.reply import MAX_CHARS, extract_answer
from recipes.base.reply_form import find_answers, visible, without_marks

VERSION = 2

# What a grader reads of a row, so that a reward can hand over the same as the metric has.
ROW_KEYS = ("grader", "answer", "options", "unit", "tolerance", "aliases")
EXACT = 1e-9  # relative: the rounding of unit conversion, and all that a row without a tolerance forgives


def grade(row: dict, reply: str) -> float:
    """1.0 when the reply is right, 0.0 when wrong or unreadable; `overlap`, `label` and `close` give numbers between.

    Raises ValueError when the row is malformed.
    """
    read, is_right = _grader(row)
    return _score(row, read(row, reply[-MAX_CHARS:]), is_right)


def _score(row: dict, answer: object, is_right: Callable) -> float:
    return 0.0 if answer is None else float(is_right(row, answer))


def grade_all(rows: Sequence[dict], replies: Sequence[str]) -> list[float]:
    """`grade` of each reply against its row, with all programs run as one batch."""
    pairs = list(zip(rows, replies, strict=True))
    programs = [_program_of(reply[-MAX_CHARS:]) if row["grader"] == "program" else None for row, reply in pairs]
    printed = iter(sandbox.outputs([program for program in programs if program]))
    return [
        _score(row, _number(next(printed)), _is_number) if program else grade(row, reply)
        for (row, reply), program in zip(pairs, programs, strict=True)
    ]


def grade_sampled(rows: Sequence[dict], sampled: Sequence[dict]) -> list[float]:
    """Grades of sampled replies {"id", "reply"}, each against the row of its id."""
    by_id = {row["id"]: row for row in rows}
    return grade_all([by_id[entry["id"]] for entry in sampled], [entry["reply"] for entry in sampled])


def majority(row: dict, replies: Sequence[str]) -> str:
    """The first of the replies that give the most frequent answer; the first reply where none can be read.

    Answers are the same when they are equal as read: numbers by value (and by unit, where the row has one), options by
    letter, texts by their words. Of two answers as frequent as each other the one given first is taken.
    """
    read, _ = _grader(row)
    answers = [read(row, reply[-MAX_CHARS:]) for reply in replies]
    keys = [None if answer is None else _key(row, answer) for answer in answers]
    votes = Counter(key for key in keys if key is not None)
    return replies[keys.index(votes.most_common(1)[0][0])] if votes else replies[0]


def _key(row: dict, answer: Hashable | list[Quantity]) -> Hashable:
    if not isinstance(answer, list):
        return answer
    return tuple((quantity.number, quantity.unit if row["unit"] else "") for quantity in answer)


def is_readable(row: dict, reply: str) -> bool:
    """True when the row's grader finds an answer of its kind in the reply, right or wrong."""
    return read_answer(row, reply) is not None


def read_answer(row: dict, reply: str) -> object:
    """What the row's grader reads as the reply's answer (a letter, quantities, a text, a number); None for nothing."""
    read, _ = _grader(row)
    return read(row, reply[-MAX_CHARS:])


def _read_numeric(row: dict, reply: str) -> list[Quantity] | None:
    return read_quantities(extract_answer(reply) or "") or None


def _is_quantity(row: dict, stated: list[Quantity]) -> bool:
    gold, tolerance = _gold_quantity(row), max(row["tolerance"] or 0.0, EXACT)
    return all(matches(quantity, gold, tolerance) for quantity in stated)


def _gold_quantity(row: dict) -> Quantity:
    gold = read_quantities(row["answer"])
    if len(gold) != 1 or bool(gold[0].unit) != bool(row["unit"]):
        raise ValueError(
            f"row {row.get('id')}: the answer of a numeric row must be one number with the row's unit; "
            f"got {row['answer']!r} for unit {row['unit']!r}"
        )
    return replace(gold[0], unit=None) if row["unit"] is None else gold[0]


_TOKEN = re.compile(r"(?<!\w)[+-]?\d[\w.]*|\w+|[<>=+*/^&|~≤≥≠]")


def _read_text(row: dict, reply: str) -> str | None:
    if row.get("options"):
        return read_word(row, reply)
    return _normalised(extract_answer(reply) or "") or None


def _read_verbatim(row: dict, reply: str) -> str | None:
    return "".join((extract_answer(reply) or "").split()) or None


def _is_verbatim(row: dict, text: str) -> bool:
    return text == "".join(row["answer"].split())


def _normalised(text: str) -> str:
    """Words, numbers and operators in one case, single-spaced, without articles (unless nothing else is left)."""
    text = unicodedata.normalize("NFKC", text).casefold()
    tokens = [token.rstrip(".") for token in _TOKEN.findall(text)]
    return " ".join([token for token in tokens if token not in ("a", "an", "the")] or tokens) or text.strip()


def _is_text(row: dict, text: str) -> bool:
    return text in {_normalised(accepted) for accepted in (row["answer"], *(row.get("aliases") or ()))}


def error_of(row: dict, reply: str) -> float:
    """The largest relative error of the numbers that a reply to a numeric row states; infinite where none fits."""
    stated = _read_numeric(row, reply[-MAX_CHARS:]) or ()
    return max((relative_error(quantity, _gold_quantity(row)) for quantity in stated), default=math.inf)


def _closeness(row: dict, stated: list[Quantity]) -> float:
    error = max(relative_error(quantity, _gold_quantity(row)) for quantity in stated)
    return max(0.0, 1.0 - error / max(row["tolerance"] or 0.0, EXACT))


def _read_class(row: dict, reply: str) -> str | None:
    return named(row, _read_stated(row, reply) or "")


def _read_stated(row: dict, reply: str) -> str | None:
    """The text of the one answer block, or of the visible reply where there is none."""
    blocks = set(find_answers(reply))
    if len(blocks) > 1:
        return None
    text = blocks.pop() if blocks else without_marks(visible(reply))
    return text.strip() or None


_PRINTED = re.compile(r"[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?|[+-]?\d+/\d+")
_FENCE = "```"


def _read_program(row: dict, reply: str) -> Fraction | None:
    """The one number that the reply's program prints."""
    program = _program_of(reply)
    return _number(sandbox.outputs([program])[0]) if program else None


def _number(printed: str | None) -> Fraction | None:
    """The number that a program's output consists of."""
    printed = (printed or "").strip()
    try:
        return Fraction(printed.replace(",", "")) if _PRINTED.fullmatch(printed) else None
    except ZeroDivisionError:
        return None


def _program_of(reply: str) -> str | None:
    """The text of the one program of a reply, without a fence around it."""
    found = set(find_answers(reply)) or set(_fenced(visible(reply)))
    if len(found) != 1:
        return None
    program = found.pop()
    return (_fenced(program) or [program])[0] or None


def _fenced(text: str) -> list[str]:
    blocks = text.split(_FENCE)[1:-1:2]
    return [re.sub(r"\A(?:python3?|py)?[ \t]*\n", "", block).strip() for block in blocks]


def _is_number(row: dict, stated: Fraction) -> bool:
    if not _PRINTED.fullmatch(row["answer"]) or row["unit"]:
        raise ValueError(
            f"row {row.get('id')}: the answer of a program row must be one number without unit; "
            f"got {row['answer']!r}, unit {row['unit']!r}"
        )
    gold = Fraction(row["answer"].replace(",", ""))
    return abs(stated - gold) <= Fraction(max(row["tolerance"] or 0.0, EXACT)) * abs(gold)


_GRADERS: dict[str, tuple[Callable, Callable]] = {
    "choice": (read_choice, is_letter),
    "numeric": (_read_numeric, _is_quantity),
    "text": (_read_text, _is_text),
    "verbatim": (_read_verbatim, _is_verbatim),
    "overlap": (_read_stated, rouge_l),
    "class": (_read_class, is_class),
    "label": (_read_stated, label_reward),
    "close": (_read_numeric, _closeness),
    "program": (_read_program, _is_number),
}


def _grader(row: dict) -> tuple[Callable, Callable]:
    if row["grader"] not in _GRADERS:
        raise ValueError(f"row {row.get('id')}: unknown grader {row['grader']!r}; allowed: {', '.join(_GRADERS)}")
    return _GRADERS[row["grader"]]
