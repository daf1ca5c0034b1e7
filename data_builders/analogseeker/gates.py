"""Gates: what a record must be before it may become a row. Each gate is a name and a test that a bad record fails.

They look at the form alone, and in the same way whoever the teacher is; whether an answer is true they cannot tell.
"""

import re

from data_builders.analogseeker.records import KINDS, Qtsa
from data_builders.core.patterns import ASSISTANT, BOOK, GARBLED, SOURCE, words
from data_builders.llm.choices import CHOICES
from data_builders.sources.facts import STANCES
from recipes.base.options import LETTERS, option_of
from recipes.base.reply_form import holds_mark

ANSWER_WORDS = 30
QUESTION_WORDS = 120
SEVERAL = re.compile(r";|\n|\bboth [A-D] and [A-D]\b|\b(?:all|none|any) of the (?:above|options)\b", re.I)


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
    fields = (record.question, record.thinking, record.answer, *(record.options or ()))
    return any(GARBLED.search(field) for field in fields)


def _book(record: Qtsa) -> bool:
    fields = (record.question, record.thinking, record.solution, *(record.options or ()))
    return any(BOOK.search(field) for field in fields)


def _source(record: Qtsa) -> bool:
    return any(SOURCE.search(field) for field in (record.question, record.thinking, record.solution))


def _assistant(record: Qtsa) -> bool:
    return any(ASSISTANT.search(field) for field in (record.question, record.thinking, record.solution, record.answer))


def _several(record: Qtsa) -> bool:
    return any(SEVERAL.search(field) for field in (record.answer, *(record.options or ())))


def _short(record: Qtsa) -> bool:
    return len(words(record.question)) < 3


def _long(record: Qtsa) -> bool:
    return len(record.answer.split()) > ANSWER_WORDS or len(record.question.split()) > QUESTION_WORDS


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
    ("question or answer too long", _long),
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


def first_failed(record: Qtsa) -> str | None:
    """The name of the first gate the record fails, or None."""
    return next((name for name, failed in GATES if failed(record)), None)
