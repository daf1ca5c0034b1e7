"""Gates: what a record must be before it may become a row. Each gate is a name and a test that a bad record fails."""

import re

ANSWER_WORDS = 30
QUESTION_WORDS = 120
GARBLED = re.compile(r"[\\$\x00\ufffd]|\[…\]|@\w|[{}]|~~|\]\(")
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


GATES = (
    ("empty field", _empty),
    ("think or answer tag inside a field", _tags),
    ("garbled markup or math", _garbled),
    ("refers to a figure, equation, table or other place in the book", _book),
    ("question or answer too long", _long),
    ("not four distinct options", _options),
    ("option reads like a letter", _like_a_letter),
    ("not exactly one right option", _one_answer),
    ("calculated answer is not a number with a unit", _open_ended),
    ("answer stands in the question", _given_away),
)


def first_failed(record):
    """The name of the first gate the record fails, or None."""
    return next((name for name, failed in GATES if failed(record)), None)
