"""Gates: what a record must be before it may become a row. Each gate is a name and a test that a bad record fails.

They look at the form alone, of the question, its options and the answer, and of the solution where rules wrote it;
whether an answer is true they cannot tell. The reasoning is no reason to lose a record: it is cleaned
(data_builders/core/thinking.py), and so is the solution of a model. What a model wrote may hold LaTeX.
"""

import re
from dataclasses import dataclass

from data_builders.analogseeker.records import KINDS, Qtsa
from data_builders.core.patterns import ASSISTANT, BOOK, GARBLED, SOURCE, words
from data_builders.llm.choices import CHOICES
from data_builders.sources.facts import STANCES
from data_builders.sources.reader import count_tokens
from recipes.base.options import LETTERS, option_of
from recipes.base.reply_form import holds_mark

SEVERAL = re.compile(r"\n|\bboth [A-D] and [A-D]\b|\b(?:all|none|any) of the (?:above|options)\b", re.I)
# What GARBLED refuses beside LaTeX.
BROKEN = re.compile(r"[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\[…\]|~~|\]\(")


@dataclass(frozen=True)
class Limits:
    """The longest record: words of its question and its answer, and words, numbers and signs of the whole reply; 0:
    any."""

    question: int = 120
    answer: int = 30
    reply: int = 0


RULES = Limits()  # of the rules' own records


def _schema(record: Qtsa) -> bool:
    """A teacher's reply may have passed a looser schema than a record's."""
    texts = (record.question, record.thinking, record.solution, record.answer, *(record.options or ()))
    kinds = record.kind in KINDS and record.stance in STANCES
    return not kinds or not all(isinstance(text, str) for text in texts)


def _empty(record: Qtsa) -> bool:
    return not all(field.strip() for field in (record.question, record.thinking, record.solution, record.answer))


def _tags(record: Qtsa) -> bool:
    return any(holds_mark(field) for field in (record.question, record.thinking, record.solution, record.answer))


def _garbled(record: Qtsa) -> bool:
    fields = (record.question, record.answer, *(record.options or ()))
    return any(map(_is_broken, fields)) if record.asked else any(GARBLED.search(field) for field in fields)


def _is_broken(text: str) -> bool:
    """Whether a text holds what is neither prose nor LaTeX whose braces and dollar signs come in pairs."""
    bare = text.replace(r"\{", "").replace(r"\}", "").replace(r"\$", "")
    return bool(BROKEN.search(text)) or bare.count("{") != bare.count("}") or bare.count("$") % 2 == 1


def _book(record: Qtsa) -> bool:
    return any(BOOK.search(field) for field in (*_gated(record), *(record.options or ())))


def _source(record: Qtsa) -> bool:
    return any(SOURCE.search(field) for field in _gated(record))


def _gated(record: Qtsa) -> tuple[str, ...]:
    """The texts that may not point to their source; those of a model that answers were cleaned."""
    return (record.question,) if record.asked else (record.question, record.solution)


def _assistant(record: Qtsa) -> bool:
    return any(ASSISTANT.search(field) for field in (record.question, record.solution, record.answer))


def _several(record: Qtsa) -> bool:
    listed = not record.asked and any(";" in field for field in (record.answer, *(record.options or ())))
    return listed or any(SEVERAL.search(field) for field in (record.answer, *(record.options or ())))


def _short(record: Qtsa) -> bool:
    return len(words(record.question)) < 3


def _is_long(record: Qtsa, limits: Limits) -> bool:
    whole = (record.thinking, record.solution, record.answer)
    pairs = (
        (len(record.question.split()), limits.question),
        (len(record.answer.split()), limits.answer),
        (sum(map(count_tokens, whole)) if limits.reply else 0, limits.reply),
    )
    return any(most and length > most for length, most in pairs)


def _options(record: Qtsa) -> bool:
    if record.kind != "mcq":
        return record.options is not None
    shown = [" ".join(option.casefold().split()).rstrip(".") for option in record.options or ()]
    return len(shown) != CHOICES or len(set(shown)) < CHOICES or not all(shown)


def _like_a_letter(record: Qtsa) -> bool:
    """An option that reads like the label of an option cannot be told from it in an answer."""
    return any(re.fullmatch(rf"\W*[{LETTERS}]\W*", option, re.I) for option in record.options or ())


def _one_answer(record: Qtsa) -> bool:
    if record.kind != "mcq":
        return False
    if record.answer not in tuple(LETTERS[:CHOICES]):
        return True
    if record.asked:  # a model words its solution freely
        return False
    return record.solution != f"So the right option is: {option_of(record.answer, record.options or ())}."


def _given_away(record: Qtsa) -> bool:
    answer, question = words(record.answer), words(record.question)
    return record.kind == "open" and len(answer) > 1 and f" {' '.join(answer)} " in f" {' '.join(question)} "


def _open_ended(record: Qtsa) -> bool:
    return record.kind == "calc" and not re.fullmatch(r"-?\d+(?:\.\d+)?(?: \S+)?", record.answer)


def _unit(record: Qtsa) -> bool:
    """The unit of a calculated answer is the one that the grader will ask for."""
    if record.kind != "calc":
        return False
    return (record.answer.split(" ", 1)[1] if " " in record.answer else None) != (record.unit or None)


def _not_derived(record: Qtsa) -> bool:
    """A calculation whose solution does not end at its answer contradicts itself."""
    return record.kind == "calc" and record.answer.split(" ")[0] not in re.findall(r"-?\d+(?:\.\d+)?", record.solution)


GATES = (
    ("not of the schema", _schema),
    ("empty field", _empty),
    ("think or answer tag inside a field", _tags),
    ("garbled markup or math", _garbled),
    ("refers to a figure, equation, table or other place in the book", _book),
    ("speaks of the text it was made from", _source),
    ("speaks as an assistant, or refuses", _assistant),
    ("question too short", _short),
    ("several answers in one", _several),
    ("not four distinct options", _options),
    ("option reads like a letter", _like_a_letter),
    ("not exactly one right option", _one_answer),
    ("calculated answer is not a number with a unit", _open_ended),
    ("unit of the answer is not the unit asked for", _unit),
    ("solution does not come to the answer", _not_derived),
    ("answer stands in the question", _given_away),
)


TOO_LONG = "question, answer or reply too long"


def first_failed(record: Qtsa, limits: Limits = RULES) -> str | None:
    """The name of the first gate the record fails, or None; last comes its length."""
    found = next((name for name, failed in GATES if failed(record)), None)
    return found or (TOO_LONG if _is_long(record, limits) else None)
