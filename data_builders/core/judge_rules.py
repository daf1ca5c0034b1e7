"""Judging without a model: each rule gives an item (core.judge.Item) a share from 0 (bad) to 1 (nothing against it).

They see form and wording alone. `supported` is the nearest to a check of facts: that the answer stands in the document,
in a sentence which speaks of what is asked; a false sentence of the document passes.
"""

import re
from typing import Protocol

from data_builders.core.patterns import ASSISTANT, BOOK, GARBLED, SOURCE, words
from recipes.base.reply_form import Exchange, visible, without_marks

SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
TWICE = re.compile(r"\b([a-z]{2,})\s+\1\b", re.I)
FAULT = 0.25  # that one fault of form takes off
LONG_QUESTION, FULL_REPLY = 60, 10  # words


class Judged(Protocol):
    """What rules look at: see `core.judge.Item`."""

    shown: str
    reply: str
    exchange: Exchange
    context: str


def first_line(item: Judged) -> str:
    """The first line of the question."""
    return (item.exchange.question.strip().splitlines() or [""])[0]


def way_of(item: Judged) -> str:
    """The reply without its answer."""
    return "\n".join(part for part in (item.exchange.thinking, item.exchange.solution) if part)


def _shown(item: Judged) -> str:
    """What follows the reasoning, which may hold LaTeX and point where it likes."""
    return visible(item.reply)


def content(text: str) -> set[str]:
    """The words of a text that carry meaning: of four letters or more."""
    return {word for word in words(text) if len(word) > 3 and not word[0].isdigit()}


def form(item: Judged) -> float:
    """Question and reply are clean sentences: a quarter off for each kind of fault."""
    question, asked = first_line(item), "\n".join([item.exchange.question, *(item.exchange.options or ())])
    texts = (asked, without_marks(_shown(item)))
    faults = (
        not question or not (question[0].isupper() or question[0].isdigit()),
        not question.endswith(("?", ".", ":")),
        any(GARBLED.search(text) for text in texts),
        any(TWICE.search(text) for text in texts),
        any(sum(text.count(opened) - text.count(closed) for text in texts) for opened, closed in ("()", "[]")),
    )
    return max(0.0, 1 - FAULT * sum(map(bool, faults)))


def stands_alone(item: Judged) -> float:
    """Nothing points to a place in a book, to "the text" or to an assistant, and one short question is asked."""
    text = f"{item.shown}\n{_shown(item)}"
    faults = (
        BOOK.search(text) or SOURCE.search(text),
        ASSISTANT.search(text),
        item.shown.count("?") > 1,
        len(item.shown.split()) > LONG_QUESTION,
    )
    return max(0.0, 1 - 2 * FAULT * sum(map(bool, faults)))


def grounded(item: Judged) -> float:
    """The share of the reply's words that stand in the document or the question; a stem of four letters is enough."""
    known = {word[:4] for word in content(f"{item.context} {item.shown}")}
    told = content(without_marks(item.reply))
    return sum(word[:4] in known for word in told) / len(told) if told else 0.0


def supported(item: Judged) -> float:
    """The share of the answer's words and numbers in that sentence of the document which has most of them.

    The sentence has to share a word with the question. An answer whose number the reply derives ("= 12") is supported:
    no document states it. Without a document the reply's own sentences, but for the answer, are taken.
    """
    wanted = words(item.exchange.answer_text)
    if not wanted:
        return 0.0
    if set(wanted).intersection(re.findall(r"=\s*-?(\d+(?:\.\d+)?)", item.reply)):
        return 1.0
    about = {word[:4] for word in content(item.shown)}
    best = 0.0
    for sentence in SENTENCE.split(item.context or way_of(item)):
        if about & {word[:4] for word in content(sentence)}:
            held = set(words(sentence))
            best = max(best, sum(word in held for word in wanted) / len(wanted))
    return best


CLAIM = re.compile(r"^(?:true or false|is it true that)[:,]?\s*", re.I)


def verified(item: Judged) -> float:
    """As `supported`, but for two forms of answer that no sentence holds.

    "true" or "false" is right where a sentence of the document has all words of the claim, the question's first line
    behind "True or false:". Of a list, parted by ";", each part has to stand in a sentence; the worst part counts.
    """
    answer = item.exchange.answer_text.casefold()
    said = [set(words(sentence)) for sentence in SENTENCE.split(item.context)]
    if answer in ("true", "false"):
        claim = set(words(CLAIM.sub("", first_line(item))))
        return float(any(claim <= sentence for sentence in said) == (answer == "true"))
    parts = [words(part) for part in answer.split(";") if words(part)]
    if len(parts) < 2 or not item.context:
        return supported(item)
    return min(max(sum(word in sentence for word in part) / len(part) for sentence in said) for part in parts)


def reasoned(item: Judged) -> float:
    """There is a way to the answer: a reply of so many words beside it, up to FULL_REPLY."""
    return min(1.0, len(words(way_of(item))) / FULL_REPLY)


RULES = {rule.__name__: rule for rule in (form, stands_alone, grounded, supported, verified, reasoned)}
