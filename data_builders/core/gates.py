"""Gates: what a record must be before it may become a row. Each gate is a name and a test that a bad record fails.

They look at the form alone, and in the same way whoever the teacher is; whether an answer is true they cannot tell.
"""

import re

from data_builders.core.schema import KINDS, STANCES

ANSWER_WORDS = 30
QUESTION_WORDS = 120
# Control characters but tab, new line and CR LF are what became of something else, as of the commands of LaTeX.
GARBLED = re.compile(r"[\\$\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\[…\]|@\w|[{}]|~~|\]\(")
SOURCE = re.compile(
    r"\b(?:according to|based on|stated in|mentioned in) (?:the|this) (?:passage|context|excerpt|document|material)"
    r"|\b(?:the|this) (?:passage|excerpt|author|(?:given|provided) (?:context|material|information))\b",
    re.I,
)
ASSISTANT = re.compile(
    r"\bas an ai\b|\blanguage model\b|\bi(?:'m| am) (?:sorry|unable)\b|\bi (?:cannot|can't) (?:answer|help|assist)\b"
    r"|\bhere is (?:the|your|a) (?:question|answer)\b",
    re.I,
)
SEVERAL = re.compile(r";|\n|\bboth [A-D] and [A-D]\b|\b(?:all|none|any) of the (?:above|options)\b", re.I)
TAGS = re.compile(r"</?(?:think|answer)\b", re.I)
BOOK = re.compile(
    r"\b(?:fig(?:ure|s?\.)|tab(?:le|\.)|equations?|eqs?\.|sections?|chapters?|listing|appendix)\s*[(\[]?\d"
    r"|\((?:\d+\.)+\d+\)"
    r"|\b(?:the|this|that|these|next|previous|following|last|preceding|below|above)\s+(?:figures?(?! of merit)|tables?"
    r"|listings?|sections?|chapters?|equations?|text|paragraph|lecture|course|book|appendix|exercises?|note)\b"
    r"|\b(?:this|that|these|next|previous|following|preceding|below|above)"
    r"\s+(?:plots?|graphs?|diagrams?|schematics?|notebooks?)\b"
    r"|\b(?:shown|seen|given|mentioned|discussed|described|listed|introduced|noted|explained)"
    r"\s+(?:above|below|earlier|before)\b"
    r"|\b(?:above|below)\s+(?:equation|figure|plot|result|circuit)|\bas\s+(?:above|below)\b"
    r"|\bsee\s+(?:above|below|also|the)\b",
    re.I,
)


def words(text):
    """Lower-case words, numbers and names of a text, without punctuation."""
    return re.findall(r"[^\W_]+(?:\.\d+)?", text.casefold())


def _schema(record):
    """A teacher's reply may have passed a looser schema than a record's."""
    texts = (record.question, record.thinking, record.solution, record.answer, *(record.options or ()))
    kinds = record.kind in KINDS and record.stance in STANCES
    return not kinds or not all(isinstance(text, str) for text in texts)


def _empty(record):
    return not all(field.strip() for field in (record.question, record.thinking, record.solution, record.answer))


def _tags(record):
    return any(TAGS.search(field) for field in (record.question, record.thinking, record.solution, record.answer))


def _garbled(record):
    fields = (record.question, record.thinking, record.answer, *(record.options or ()))
    return any(GARBLED.search(field) for field in fields)


def _book(record):
    fields = (record.question, record.thinking, record.solution, *(record.options or ()))
    return any(BOOK.search(field) for field in fields)


def _source(record):
    return any(SOURCE.search(field) for field in (record.question, record.thinking, record.solution))


def _assistant(record):
    return any(ASSISTANT.search(field) for field in (record.question, record.thinking, record.solution, record.answer))


def _several(record):
    return any(SEVERAL.search(field) for field in (record.answer, *(record.options or ())))


def _short(record):
    return len(words(record.question)) < 3


def _long(record):
    return len(record.answer.split()) > ANSWER_WORDS or len(record.question.split()) > QUESTION_WORDS


def _options(record):
    if record.kind != "mcq":
        return record.options is not None
    shown = [" ".join(option.casefold().split()).rstrip(".") for option in record.options or ()]
    return len(shown) != 4 or len(set(shown)) < 4 or not all(shown)


def _like_a_letter(record):
    """An option that reads like the label of an option cannot be told from it in an answer."""
    return any(re.fullmatch(r"\W*[A-Ja-j]\W*", option) for option in record.options or ())


def _one_answer(record):
    if record.kind != "mcq":
        return False
    if record.answer not in "ABCD" or len(record.answer) != 1:
        return True
    if record.asked:  # a model words its solution freely
        return False
    return record.solution != f"So the right option is: {record.options['ABCD'.index(record.answer)]}."


def _given_away(record):
    answer, question = words(record.answer), words(record.question)
    return record.kind == "open" and len(answer) > 1 and f" {' '.join(answer)} " in f" {' '.join(question)} "


def _open_ended(record):
    return record.kind == "calc" and not re.fullmatch(r"-?\d+(?:\.\d+)?(?: \S+)?", record.answer)


def _unit(record):
    """The unit of a calculated answer is the one that the grader will ask for."""
    if record.kind != "calc":
        return False
    return (record.answer.split(" ", 1)[1] if " " in record.answer else None) != (record.unit or None)


def _not_derived(record):
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


def first_failed(record):
    """The name of the first gate the record fails, or None."""
    return next((name for name, failed in GATES if failed(record)), None)
