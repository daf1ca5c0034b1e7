"""The leak gate: does a training row hold a test item? Exact, normalised and 13-gram overlap of rows with items.

The unit compared. Of a test item its *question* counts, without the options: a knowledge test asks taught facts in
unseen wording, so options and explanation may stand in the training text by design. Of a training row everything
counts, prompt and reply. Of a calculation also the gold reply counts. Numbers are tokens: wordings of a calculation are
templates, and a 13-gram that lacks one of the item's numbers belongs to the template, not to the item. A calculation is
therefore hit where a run of at least 13 tokens of its question that holds all its numbers stands in a training row, or
where its whole gold reply does (symbols, numbers and result); of one that is answered by a program the question alone
counts, since programs of different questions may be the same.
"""

import re
from dataclasses import dataclass

from data_builders.quality.gates import words
from data_builders.schema import DataError, write_json

N = 13
KINDS = ("exact", "normalised", "13-gram")
EXAMPLES = 10
CALCULATED = ("numeric", "program")  # graders of rows whose question is a template with numbers


@dataclass(frozen=True)
class Stretch:
    """A run of at least N tokens of one test item that no training row may hold."""

    item: int
    tokens: tuple[str, ...]


def question_of(content):
    """A user turn without its options and its request for the answer format."""
    lines = content.split("\n")
    end = next((index for index, line in enumerate(lines) if line.startswith(("A) ", "Give the "))), len(lines))
    return "\n".join(lines[:end])


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


def find_leaks(training, tests):
    """Every overlap of training rows with test rows as {"kind", "row", "item", "text"}; the kinds are KINDS."""
    exact, normal, index = {}, {}, {}
    for item, row in enumerate(tests):
        question = question_of(row.prompt[-1]["content"])
        exact.setdefault(question, []).append(item)
        normal.setdefault(" ".join(words(question)), []).append(item)
        for stretch in stretches(item, row):
            index.setdefault(stretch.tokens[:N], []).append(stretch)
    found = []
    for row in training:
        question = question_of(row.prompt[-1]["content"])
        texts = [turn["content"] for turn in row.prompt] + [turn["content"] for turn in getattr(row, "completion", ())]
        same, alike, runs = set(exact.get(question, ())), set(normal.get(" ".join(words(question)), ())), {}
        for text in texts:
            tokens = tokens_of(text)
            for start in range(len(tokens) - N + 1):
                for stretch in index.get(tuple(tokens[start : start + N]), ()):
                    if tuple(tokens[start : start + len(stretch.tokens)]) == stretch.tokens:
                        runs.setdefault(stretch.item, stretch.tokens)
        for item in sorted(same | alike | runs.keys()):
            kind = "exact" if item in same else "normalised" if item in alike else "13-gram"
            found.append(
                {
                    "kind": kind,
                    "row": row.id,
                    "item": tests[item].id,
                    "text": question if kind != "13-gram" else " ".join(runs[item]),
                }
            )
    return found


def without_leaks(rows, tests, ledger):
    """The training rows that hold no test item; the ledger takes the others, with what overlaps."""
    hits = {hit["row"]: hit for hit in find_leaks(rows, tests)}
    for row in rows:
        if hit := hits.get(row.id):
            ledger.drop("overlap", f"{hit['kind']} overlap with a test item", row.id, hit["text"][:120])
        else:
            ledger.keep("overlap")
    return [row for row in rows if row.id not in hits]


def leak_report(training, tests, threshold):
    """What leaks.json holds.

    `passed` is false for any exact or normalised hit, or where more than the share `threshold` of the test items have a
    13-gram hit.
    """
    found = find_leaks(training, tests)
    counts = {
        kind: {
            "pairs": sum(hit["kind"] == kind for hit in found),
            "test_items": len({hit["item"] for hit in found if hit["kind"] == kind}),
            "training_rows": len({hit["row"] for hit in found if hit["kind"] == kind}),
        }
        for kind in KINDS
    }
    share = counts["13-gram"]["test_items"] / len(tests) if tests else 0.0
    passed = not counts["exact"]["pairs"] and not counts["normalised"]["pairs"] and share <= threshold
    return {
        "passed": passed,
        "threshold": threshold,
        "share_13_gram": round(share, 6),
        "counts": counts,
        "training_rows": len(training),
        "test_items": len(tests),
        "examples": found[:EXAMPLES],
        "compared": "questions (and gold replies of calculations) of test items with whole sft and rl rows",
    }


def leak_gate(training, tests, threshold, out):
    """Write leaks.json under `out` and return it. Raises DataError where the report does not pass."""
    leaks = leak_report(training, tests, threshold)
    write_json(out / "leaks.json", leaks)
    if not leaks["passed"]:
        raise DataError(
            "Training rows hold test items.",
            where=str(out / "leaks.json"),
            got=str(leaks["counts"]),
            allowed=f"no exact or normalised hit, 13-gram hits on {threshold:.1%} of items",
            fix="reword the items shown there, or raise data.leak_threshold knowingly",
        )
    return leaks
