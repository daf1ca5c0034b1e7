"""Judging without a model: each rule gives an item (quality.judge.Item) a share from 0 (bad) to 1 (nothing against it).

They see form and wording alone. `supported` is the nearest to a check of facts: that the answer stands in the document,
in a sentence which speaks of what is asked; a false sentence of the document passes.
"""

import re

from data_builders.core.gates import ASSISTANT, BOOK, GARBLED, SOURCE, words

ANSWER = re.compile(r"<answer>(.*?)</answer>", re.S)
LETTER = re.compile(r"^[A-J]\) ", re.M)  # of an option
TAG = re.compile(r"</?(?:think|answer)>")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
TWICE = re.compile(r"\b([a-z]{2,})\s+\1\b", re.I)
FAULT = 0.25  # that one fault of form takes off
LONG_QUESTION, FULL_REPLY = 60, 12  # words


def answer_of(item):
    """What stands between the answer tags of the reply; without tags its last line."""
    found = ANSWER.search(item.reply)
    return found[1].strip() if found else (item.reply.strip().splitlines() or [""])[-1]


def content(text):
    """The words of a text that carry meaning: of four letters or more."""
    return {word for word in words(text) if len(word) > 3 and not word[0].isdigit()}


def form(item):
    """Question and reply are clean sentences: a quarter off for each kind of fault."""
    text = LETTER.sub("", TAG.sub(" ", f"{item.question}\n{item.reply}"))
    question = item.question.strip().splitlines()[0] if item.question.strip() else ""
    faults = (
        not question or not (question[0].isupper() or question[0].isdigit()),
        not question.endswith(("?", ".", ":")),
        GARBLED.search(text),
        TWICE.search(text),
        any(text.count(opened) != text.count(closed) for opened, closed in ("()", "[]")),
    )
    return max(0.0, 1 - FAULT * sum(map(bool, faults)))


def stands_alone(item):
    """Nothing points to a place in a book, to "the text" or to an assistant, and one short question is asked."""
    text = f"{item.question}\n{item.reply}"
    faults = (
        BOOK.search(text) or SOURCE.search(text),
        ASSISTANT.search(text),
        item.question.count("?") > 1,
        len(item.question.split()) > LONG_QUESTION,
    )
    return max(0.0, 1 - 2 * FAULT * sum(map(bool, faults)))


def grounded(item):
    """The share of the reply's words that stand in the document or the question; a stem of four letters is enough."""
    known = {word[:4] for word in content(f"{item.context} {item.question}")}
    told = content(TAG.sub(" ", item.reply))
    return sum(word[:4] in known for word in told) / len(told) if told else 0.0


def supported(item):
    """The share of the answer's words and numbers in that sentence of the document which has most of them.

    The sentence has to share a word with the question. An answer whose number the reply derives ("= 12") is supported:
    no document states it. Without a document the reply's own sentences, but for the answer, are taken.
    """
    wanted = words(answer_of(item))
    if not wanted:
        return 0.0
    if set(wanted).intersection(re.findall(r"=\s*-?(\d+(?:\.\d+)?)", item.reply)):
        return 1.0
    about = {word[:4] for word in content(item.question)}
    best = 0.0
    for sentence in SENTENCE.split(item.context or ANSWER.sub(" ", item.reply)):
        if about & {word[:4] for word in content(sentence)}:
            held = set(words(sentence))
            best = max(best, sum(word in held for word in wanted) / len(wanted))
    return best


CLAIM = re.compile(r"^(?:true or false|is it true that)[:,]?\s*", re.I)


def verified(item):
    """As `supported`, but for two forms of answer that no sentence holds.

    "true" or "false" is right where a sentence of the document has all words of the claim, the question's first line
    behind "True or false:". Of a list, parted by ";", each part has to stand in a sentence; the worst part counts.
    """
    answer = answer_of(item).casefold()
    said = [set(words(sentence)) for sentence in SENTENCE.split(item.context)]
    if answer in ("true", "false"):
        claim = set(words(CLAIM.sub("", (item.question.strip().splitlines() or [""])[0])))
        return float(any(claim <= sentence for sentence in said) == (answer == "true"))
    parts = [words(part) for part in answer.split(";") if words(part)]
    if len(parts) < 2 or not item.context:
        return supported(item)
    return min(max(sum(word in sentence for word in part) / len(part) for sentence in said) for part in parts)


def reasoned(item):
    """There is a way to the answer: a reply of so many words beside it, up to FULL_REPLY."""
    return min(1.0, len(words(ANSWER.sub(" ", item.reply))) / FULL_REPLY)


RULES = {rule.__name__: rule for rule in (form, stands_alone, grounded, supported, verified, reasoned)}
