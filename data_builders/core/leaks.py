"""The leak gate: does a training row hold a test item? Four kinds of overlap of training rows with test items.

*exact* and *normalised* compare whole questions, *13-gram* runs of thirteen words, and *50 characters* three pieces of
that length, drawn from the item's letters and digits alone (the protocol of the GPT-4 report, arXiv 2303.08774,
appendix C; the draw here depends on the item alone). A run or piece that lies inside a whitelisted phrase, as
textbooks share them, is no hit; those that were excused are counted.

The unit compared. Of a test item its *question* counts, without the options: a knowledge test asks taught facts in
unseen wording, so options and explanation may stand in the training text by design. Of a training row everything
counts, prompt and reply. A row from outside, of which only the text is known, is compared as a whole: with the question
of an item, and with its whole prompt. Of a calculation also the gold reply counts. Numbers are tokens: wordings of a
calculation are templates, and a 13-gram that lacks one of the item's numbers belongs to the template, not to the item.
A calculation is therefore hit where a run of at least 13 tokens of its question that holds all its numbers stands in a
training row, or where its whole gold reply does (symbols, numbers and result); of one that is answered by a program the
question alone counts, since programs of different questions may be the same. For the same reason a piece of 50
characters is taken of a calculation only where it holds all numbers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data_builders.core.patterns import words
from data_builders.core.schema import order
from recipes.base.errors import RecipeError
from recipes.base.jsonl import write_json
from recipes.base.reply_form import without_marks
from recipes.base.rows import GradedRow, Row, read_exchange

N = 13
PIECE, PIECES, SHORTEST = 50, 3, 25  # characters; pieces of an item; a shorter item has none
KINDS = ("exact", "normalised", "13-gram", "50 characters")
EXAMPLES = 10
TURNS = ("prompt", "completion", "chosen", "rejected")  # what of a row of a file holds turns
CALCULATED = ("numeric", "program", "sizing")  # graders of rows whose question is a template with numbers


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What of a row, a test item or a text is compared with others.

    Attributes:
        id: tells it apart from the others.
        question: what is asked, without options and request; of what is known by its text alone the whole text.
        prompt: the user turn as it is shown, from its first letter to its last.
        texts: all that a training row says, turn by turn.
        reply: the gold reply of a test item.
        grader, kind, node_id, fact_id: as of the row; empty where it has none.
        running: whether it is a running text, which asks nothing.
    """

    id: str
    question: str
    prompt: str
    texts: tuple[str, ...] = ()
    reply: str = ""
    grader: str = ""
    kind: str = ""
    node_id: str = ""
    fact_id: str = ""
    running: bool = False

    @property
    def calculated(self) -> bool:
        """Whether its question is a template with numbers."""
        return self.grader in CALCULATED or self.kind == "calc"

    @cached_property
    def tokens(self) -> list[str]:
        """The words and numbers of the question."""
        return words(self.question)


def compare_row(row: Row | Mapping[str, Any], id: str = "") -> Compared:
    """What of a row is compared: of one with fields, or as a file has it with `prompt` and perhaps `completion`,
    `chosen`, `rejected` and `reply`, or with `text` alone. `id` stands in for the row's own.
    """
    if isinstance(row, Row):
        prompt, reply = (turns[0]["content"] for turns in row.messages)
        graded = isinstance(row, GradedRow)
        return Compared(
            id=id or row.id,
            question=row.asked,
            prompt=prompt,
            texts=(prompt,) if graded else (prompt, reply),
            reply=reply if graded else "",
            grader=row.grader if graded else "",
            kind=row.kind,
            node_id=row.node_id,
            fact_id=row.fact_id,
        )
    about: dict[str, Any] = {name: row.get(name) or "" for name in ("grader", "kind", "node_id", "fact_id")}
    if "text" in row:
        return Compared(id=id, question=row["text"], prompt=row["text"], texts=(row["text"],), running=True, **about)
    exchange, prompt = read_exchange(row), row["prompt"][-1]["content"]
    return Compared(
        id=id or row["id"],
        question=exchange.asked if exchange else prompt,
        prompt=prompt,
        texts=tuple(turn["content"] for name in TURNS for turn in row.get(name) or ()),
        reply=row.get("reply") or "",
        **about,
    )


def compare_question(id: str, question: str) -> Compared:
    """An item of a test set from outside, of which the question alone is known."""
    return Compared(id=id, question=question, prompt=question)


@dataclass(frozen=True)
class Stretch:
    """A run of at least N tokens of one test item that no training row may hold."""

    item: int
    tokens: tuple[str, ...]


def tokens_of(text: str) -> list[str]:
    """The words and numbers of a turn without the marks of the reply form."""
    return words(without_marks(text))


def stretches(place: int, item: Compared) -> list[Stretch]:
    """What of a test item, number `place` of its set, is compared as runs of tokens."""
    question = item.tokens
    if not item.calculated:
        return [Stretch(place, tuple(question[start : start + N])) for start in range(len(question) - N + 1)]
    places = [at for at, token in enumerate(question) if token[0].isdigit()]
    found = []
    if places:
        first, size = places[0], max(N, places[-1] + 1 - places[0])
        found = [
            Stretch(place, tuple(question[start : start + size]))
            for start in range(max(0, places[-1] + 1 - size), min(first, len(question) - size) + 1)
        ]
    reply = tokens_of(item.reply) if item.grader == "numeric" else []
    return [*found, Stretch(place, tuple(reply))] if len(reply) >= N else found


def squeezed(text: str) -> str:
    """The letters and digits of a text, lower case, with nothing between them."""
    return "".join(re.findall(r"[^\W_]+", text.casefold()))


def pieces(item: Compared) -> list[str]:
    """The pieces of an item's question that no training row may hold: PIECES of PIECE characters, fewer if short."""
    question = squeezed(item.question)
    if len(question) < SHORTEST:
        return []
    if len(question) < PIECE and not item.calculated:
        question = question[: len(question) // 5 * 5]  # each length costs a pass over the training rows
    places: Iterable[int] = range(max(1, len(question) - PIECE + 1))
    if item.calculated:
        digits = [match.start() for match in re.finditer(r"\d", question)]
        places = [at for at in places if digits and at <= digits[0] and digits[-1] < at + PIECE]
    drawn = sorted(places, key=lambda at: order(0, question, at))[:PIECES]
    return [question[at : at + PIECE] for at in sorted(drawn)]


def cuts_number(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] begins or ends inside a number, so that another number may stand there in full."""
    return any(at and text[at - 1].isdigit() and text[at : at + 1].isdigit() for at in (start, end))


def same_fact(row: Compared, item: Compared) -> bool:
    """Whether a row teaches the very fact that a test item asks for, as knowledge tests want it.

    A running text does so that the item's fact was taken from. Such a row may share nine words with the item; that its
    wording is another one is for the 13-grams to see.
    """
    if row.running:
        return bool(row.node_id) and row.node_id == item.node_id
    return bool(row.fact_id) and row.fact_id == item.fact_id


def is_excused(row: Compared, letters: str, item: Compared) -> bool:
    """Whether a row may share a piece of a test item; `letters` is the squeezed text that has it.

    It may where it teaches the item's fact. A running text that holds the whole question may not: a book's exercise
    that became a test item is too short for a run of N words as often as not.
    """
    return same_fact(row, item) and not (row.running and squeezed(item.question) in letters)


class Phrases:
    """Phrases that any text of the field may hold. `excused` counts the runs and pieces that lay inside one."""

    def __init__(self, phrases: Iterable[str]) -> None:
        phrases = list(phrases)
        self.runs = [f" {' '.join(words(phrase))} " for phrase in phrases]
        self.pieces = [squeezed(phrase) for phrase in phrases]
        self.excused = 0

    def _hold(self, text: str, found: list[str]) -> bool:
        inside = any(text in phrase for phrase in found)
        self.excused += inside
        return inside

    def hold_run(self, tokens: Sequence[str]) -> bool:
        """Whether a run of tokens lies inside a phrase."""
        return self._hold(f" {' '.join(tokens)} ", self.runs)

    def hold_piece(self, piece: str) -> bool:
        """Whether a piece lies inside a phrase."""
        return self._hold(piece, self.pieces)


def find_leaks(
    training: Sequence[Compared], tests: Sequence[Compared], phrases: Phrases | None = None
) -> list[dict[str, str]]:
    """Every overlap of training rows with test items as {"kind", "row", "item", "text"}; the kinds are KINDS.

    One entry for each pair of row and item, of the first kind in KINDS that applies. `phrases` excuses.
    """
    exact: dict[str, list[int]] = {}
    normal: dict[str, list[int]] = {}
    index: dict[tuple[str, ...], list[Stretch]] = {}
    cut: dict[int, dict[str, list[int]]] = {}
    phrases = phrases or Phrases(())
    for place, item in enumerate(tests):
        for text in {item.question, item.prompt}:
            exact.setdefault(text, []).append(place)
        for text in {" ".join(item.tokens), " ".join(words(item.prompt))}:
            normal.setdefault(text, []).append(place)
        for piece in pieces(item):
            if not phrases.hold_piece(piece):
                cut.setdefault(len(piece), {}).setdefault(piece, []).append(place)
        for stretch in stretches(place, item):
            if not phrases.hold_run(stretch.tokens):
                index.setdefault(stretch.tokens[:N], []).append(stretch)
    found = []
    for row in training:
        same, alike = set(exact.get(row.question, ())), set(normal.get(" ".join(row.tokens), ()))
        runs: dict[int, tuple[str, ...]] = {}
        parts: dict[int, str] = {}
        for text in row.texts:
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
                        parts |= {place: piece for place in known[piece] if not is_excused(row, letters, tests[place])}
        for place in sorted(same | alike | runs.keys() | parts.keys()):
            kind = next(kind for kind, hits in zip(KINDS, (same, alike, runs, parts), strict=True) if place in hits)
            shown = {"13-gram": " ".join(runs.get(place, ())), "50 characters": parts.get(place, "")}
            text = shown.get(kind, row.question)
            found.append({"kind": kind, "row": row.id, "item": tests[place].id, "text": text})
    return found


def leak_report(
    training: Sequence[Compared], tests: Sequence[Compared], threshold: float, phrases: Iterable[str] = ()
) -> dict[str, Any]:
    """What leaks.json holds. `phrases` are texts that any book of the field may hold; overlaps inside them are excused.

    `passed` is false for any exact or normalised hit, or where more than the share `threshold` of the test items have a
    13-gram hit, or a hit of 50 characters.
    """
    allowed = Phrases(phrases)
    found = find_leaks(training, tests, allowed)
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
        "excused": allowed.excused,
        "counts": counts,
        "training_rows": len(training),
        "test_items": len(tests),
        "examples": found[:EXAMPLES],
        "compared": "questions (and gold replies of calculations) of test items with whole sft and rl rows",
    }


def leak_gate(
    training: Sequence[Compared],
    tests: Sequence[Compared],
    threshold: float,
    out: Path,
    phrases: Iterable[str] = (),
    removed: Mapping[str, Any] | None = None,
    removed_own: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write leaks.json under `out` and return it.

    `removed` counts the rows that were taken out before for items of test sets from outside, {name: {file: counts}},
    `removed_own` those for items of the recipe's own test, {file: counts}.

    Raises RecipeError where the report does not pass.
    """
    leaks = leak_report(training, tests, threshold, phrases) | {
        "benchmarks": removed or {},
        "own_test": removed_own or {},
    }
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
