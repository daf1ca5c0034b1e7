"""The leak gate: does a training row hold a test item? Four kinds of overlap of training rows with test items.

*exact* and *normalised* compare whole questions, *13-gram* runs of thirteen words, and *50 characters* three pieces of
that length, drawn from the item's letters and digits alone (the protocol of the GPT-4 report, arXiv 2303.08774,
appendix C; the draw here depends on the item alone). A run or piece that lies inside a whitelisted phrase, as
textbooks share them, is no hit; those that were excused are counted.

The unit compared. Of a test item its *question* counts, without the options: a knowledge test asks taught facts in
unseen wording, so options and explanation may stand in the training text by design. Of a training row everything
counts, prompt and reply. Of a calculation also the gold reply counts. Numbers are tokens: wordings of a calculation are
templates, and a 13-gram that lacks one of the item's numbers belongs to the template, not to the item. A calculation is
therefore hit where a run of at least 13 tokens of its question that holds all its numbers stands in a training row, or
where its whole gold reply does (symbols, numbers and result); of one that is answered by a program the question alone
counts, since programs of different questions may be the same. For the same reason a piece of 50 characters is taken of
a calculation only where it holds all numbers.
"""

import re
from dataclasses import dataclass

from data_builders.core.gates import words
from data_builders.core.schema import order
from recipes.base.errors import RecipeError
from recipes.base.jsonl import write_json

N = 13
PIECE, PIECES, SHORTEST = 50, 3, 25  # characters; pieces of an item; a shorter item has none
KINDS = ("exact", "normalised", "13-gram", "50 characters")
EXAMPLES = 10
REQUEST = re.compile(r"Give the .* in <answer> tags.*")  # the last line of a recipe's own prompts
OPTION = re.compile(r"[A-Z]\) ")
CALCULATED = ("numeric", "program")  # graders of rows whose question is a template with numbers


@dataclass(frozen=True)
class Stretch:
    """A run of at least N tokens of one test item that no training row may hold."""

    item: int
    tokens: tuple[str, ...]


def question_of(content):
    """A user turn without the request for the answer format that ends it and the options before that.

    A turn that does not end so, as an item of an outside test set, is a question from its first letter to its last.
    """
    *lines, last = content.split("\n")
    if not REQUEST.fullmatch(last):
        return content
    while lines and OPTION.match(lines[-1]):
        lines.pop()
    return "\n".join(lines)


def tokens_of(text):
    """The words and numbers of a turn without its think and answer tags."""
    return words(re.sub(r"</?(?:think|answer)>", " ", text))


def stretches(item, row):
    """What of a test row is compared as runs of tokens."""
    question = words(question_of(row.prompt[-1]["content"]))
    if row.grader not in CALCULATED:
        return [Stretch(item, tuple(question[start : start + N])) for start in range(len(question) - N + 1)]
    places = [place for place, token in enumerate(question) if token[0].isdigit()]
    found = []
    if places:
        first, size = places[0], max(N, places[-1] + 1 - places[0])
        found = [
            Stretch(item, tuple(question[start : start + size]))
            for start in range(max(0, places[-1] + 1 - size), min(first, len(question) - size) + 1)
        ]
    reply = tokens_of(row.reply) if row.grader == "numeric" else []
    return [*found, Stretch(item, tuple(reply))] if len(reply) >= N else found


def squeezed(text):
    """The letters and digits of a text, lower case, with nothing between them."""
    return "".join(re.findall(r"[^\W_]+", text.casefold()))


def pieces(row):
    """The pieces of a test row's question that no training row may hold: PIECES of PIECE characters, fewer if short."""
    question = squeezed(question_of(row.prompt[-1]["content"]))
    if len(question) < SHORTEST:
        return []
    if len(question) < PIECE and row.grader not in CALCULATED:
        question = question[: len(question) // 5 * 5]  # each length costs a pass over the training rows
    places = range(max(1, len(question) - PIECE + 1))
    if row.grader in CALCULATED:
        digits = [match.start() for match in re.finditer(r"\d", question)]
        places = [at for at in places if digits and at <= digits[0] and digits[-1] < at + PIECE]
    drawn = sorted(places, key=lambda at: order(0, question, at))[:PIECES]
    return [question[at : at + PIECE] for at in sorted(drawn)]


def cuts_number(text, start, end):
    """Whether text[start:end] begins or ends inside a number, so that another number may stand there in full."""
    return any(at and text[at - 1].isdigit() and text[at : at + 1].isdigit() for at in (start, end))


def same_fact(row, item):
    """Whether a row teaches the very fact that a test item asks for, as knowledge tests want it.

    Such a row may share nine words with the item; that its wording is another one is for the 13-grams to see.
    """
    fact = getattr(item, "fact_id", None)
    return fact is not None and getattr(row, "fact_id", None) == fact


class Phrases:
    """Phrases that any text of the field may hold. `excused` counts the runs and pieces that lay inside one."""

    def __init__(self, phrases):
        self.runs = [f" {' '.join(words(phrase))} " for phrase in phrases]
        self.pieces = [squeezed(phrase) for phrase in phrases]
        self.excused = 0

    def hold(self, text, found):
        inside = any(text in phrase for phrase in found)
        self.excused += inside
        return inside

    def hold_run(self, tokens):
        return self.hold(f" {' '.join(tokens)} ", self.runs)

    def hold_piece(self, piece):
        return self.hold(piece, self.pieces)


def find_leaks(training, tests, phrases=None):
    """Every overlap of training rows with test rows as {"kind", "row", "item", "text"}; the kinds are KINDS.

    One entry for each pair of row and item, of the first kind in KINDS that applies. `phrases` (a `Phrases`) excuses.
    """
    exact, normal, index, cut = {}, {}, {}, {}
    phrases = phrases or Phrases(())
    for item, row in enumerate(tests):
        question = question_of(row.prompt[-1]["content"])
        exact.setdefault(question, []).append(item)
        normal.setdefault(" ".join(words(question)), []).append(item)
        for piece in pieces(row):
            if not phrases.hold_piece(piece):
                cut.setdefault(len(piece), {}).setdefault(piece, []).append(item)
        for stretch in stretches(item, row):
            if phrases.hold_run(stretch.tokens):
                continue
            index.setdefault(stretch.tokens[:N], []).append(stretch)
    found = []
    for row in training:
        question = question_of(row.prompt[-1]["content"])
        texts = [turn["content"] for turn in row.prompt] + [turn["content"] for turn in getattr(row, "completion", ())]
        same, alike, runs = set(exact.get(question, ())), set(normal.get(" ".join(words(question)), ())), {}
        parts = {}
        for text in texts:
            tokens = tokens_of(text)
            for start in range(len(tokens) - N + 1):
                for stretch in index.get(tuple(tokens[start : start + N]), ()):
                    if tuple(tokens[start : start + len(stretch.tokens)]) == stretch.tokens:
                        runs.setdefault(stretch.item, stretch.tokens)
            letters = squeezed(text) if cut else ""
            for size, known in cut.items():
                for start in range(len(letters) - size + 1):
                    piece = letters[start : start + size]
                    if piece in known and not cuts_number(letters, start, start + size):
                        parts |= {item: piece for item in known[piece] if not same_fact(row, tests[item])}
        for item in sorted(same | alike | runs.keys() | parts.keys()):
            kind = next(kind for kind, hits in zip(KINDS, (same, alike, runs, parts), strict=True) if item in hits)
            found.append(
                {
                    "kind": kind,
                    "row": row.id,
                    "item": tests[item].id,
                    "text": {"13-gram": " ".join(runs.get(item, ())), "50 characters": parts.get(item)}.get(
                        kind, question
                    ),
                }
            )
    return found


def leak_report(training, tests, threshold, phrases=()):
    """What leaks.json holds. `phrases` are texts that any book of the field may hold; overlaps inside them are excused.

    `passed` is false for any exact or normalised hit, or where more than the share `threshold` of the test items have a
    13-gram hit, or a hit of 50 characters.
    """
    phrases = Phrases(phrases)
    found = find_leaks(training, tests, phrases)
    counts = {
        kind: {
            "pairs": sum(hit["kind"] == kind for hit in found),
            "test_items": len({hit["item"] for hit in found if hit["kind"] == kind}),
            "training_rows": len({hit["row"] for hit in found if hit["kind"] == kind}),
        }
        for kind in KINDS
    }
    runs, parts = (counts[kind]["test_items"] / len(tests) if tests else 0.0 for kind in KINDS[2:])
    passed = not counts["exact"]["pairs"] and not counts["normalised"]["pairs"] and max(runs, parts) <= threshold
    return {
        "passed": passed,
        "threshold": threshold,
        "share_13_gram": round(runs, 6),
        "share_50_characters": round(parts, 6),
        "excused": phrases.excused,
        "counts": counts,
        "training_rows": len(training),
        "test_items": len(tests),
        "examples": found[:EXAMPLES],
        "compared": "questions (and gold replies of calculations) of test items with whole sft and rl rows",
    }


def leak_gate(training, tests, threshold, out, phrases=(), removed=None):
    """Write leaks.json under `out` and return it; `removed` counts the rows that benchmarks took out before.

    Raises RecipeError where the report does not pass.
    """
    leaks = leak_report(training, tests, threshold, phrases) | {"benchmarks": removed or {}}
    write_json(out / "leaks.json", leaks)
    if not leaks["passed"]:
        raise RecipeError(
            "Training rows hold test items.",
            where=str(out / "leaks.json"),
            got=str(leaks["counts"]),
            allowed=f"no exact or normalised hit, 13-gram and 50-character hits on {threshold:.1%} of items each",
            fix="reword the items shown there, or raise data.leak_threshold knowingly",
        )
    return leaks
