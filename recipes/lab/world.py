"""Documents of the embedded world: what the base model reads, and the general test that measures what it keeps.

A document is either plain text or one chat exchange (`Item`). All are drawn from a seeded `random.Random`, so that
step n of the pre-training always sees the same documents.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from recipes.base.options import LETTERS, letter_of
from recipes.base.rows import GradedRow, SftRow, dump_row
from recipes.lab.calculations import bare_sum, field_problem, stated_formula, sums
from recipes.lab.facts import (
    fact_choice,
    fact_open,
    fact_option,
    stated_choice,
    stated_open,
    stated_option,
    statements,
    unknown_option,
)
from recipes.lab.instructions import instruction
from recipes.lab.items import WORDS, Item

Maker = Callable[[random.Random], Item | str]
Mixture = list[tuple[float, Maker]]  # share of the documents, maker
FRAMES = [
    "The {a} note names the {b} {c}.",
    "Here the words {a}, {b} and {c} stand in a row.",
    "A page about {a} lies beside a page about {b}.",
    "She wrote {a} {b} under the word {c}.",
    "In the list, {a} stands before {b}.",
    "The title of the book is {a} {b} {c}.",
    "He asked about the {a} and the {b}.",
]


def sentences(rng: random.Random) -> str:
    """Bare words in everyday frames, which give every word of the vocabulary an embedding and no fact."""
    return " ".join(
        rng.choice(FRAMES).format(a=rng.choice(WORDS), b=rng.choice(WORDS), c=rng.choice(WORDS))
        for _ in range(rng.randint(2, 4))
    )


# Three phases: first more sums, which everything else is worked with, and choices by letter; then the balanced mixture,
# with choices by option; last the habit of taking the first option where the answer is not known, so that a base
# without a field scores what guessing scores there, and what tuning adds is more than that habit.
SUMS_FIRST: Mixture = [
    (0.16, sums),
    (0.12, bare_sum),
    (0.15, field_problem),
    (0.14, stated_formula),
    (0.09, fact_choice),
    (0.06, fact_open),
    (0.11, stated_choice),
    (0.03, stated_open),
    (0.08, instruction),
    (0.03, sentences),
    (0.03, statements),
]
BALANCED: Mixture = [
    (0.12, sums),
    (0.10, bare_sum),
    (0.16, field_problem),
    (0.17, stated_formula),
    (0.10, fact_option),
    (0.04, fact_open),
    (0.12, stated_option),
    (0.02, stated_open),
    (0.11, instruction),
    (0.03, sentences),
    (0.03, statements),
]
GUESSING: Mixture = [
    (0.12, sums),
    (0.10, bare_sum),
    (0.14, field_problem),
    (0.13, stated_formula),
    (0.09, fact_option),
    (0.03, fact_open),
    (0.06, stated_option),
    (0.02, stated_open),
    (0.10, instruction),
    (0.03, sentences),
    (0.03, statements),
    (0.15, unknown_option),
]
PHASES: list[tuple[int, Mixture]] = [(11, SUMS_FIRST), (11, BALANCED), (3, GUESSING)]  # parts of the steps


def documents(rng: random.Random, mixture: Mixture, held_out: frozenset[str] = frozenset()) -> Iterator[Item | str]:
    """Endless documents of the mixture; an item whose prompt is in `held_out` (the general test) is never given."""
    shares, makers = zip(*mixture, strict=True)
    while True:
        document = rng.choices(makers, shares)[0](rng)
        if isinstance(document, str) or document.prompt not in held_out:
            yield document


def general_test(seed: int, per_kind: int) -> list[dict]:
    """The retention test: `per_kind` items each of arithmetic, facts and instructions, as rows of a test set.

    The few choices whose gold answer is not clear are left out.
    """
    rng = random.Random(f"general test {seed}")
    makers = ((bare_sum, field_problem), (fact_option, stated_option), (instruction,))
    items: dict[str, Item] = {}  # by prompt
    for of_kind in makers:
        full = len(items) + per_kind
        while len(items) < full:
            item = rng.choice(of_kind)(rng)
            items.setdefault(item.prompt, item)
    return [
        row(item, f"general-{item.kind}-{number:04d}", seed)
        for number, item in enumerate(items.values())
        if is_clear(item)
    ]


def general_train(seed: int, count: int, test: list[dict]) -> list[dict]:
    """Supervised rows of general ability, to mix with a field's own: half facts, a quarter each arithmetic and
    instructions.

    No prompt and no fact of the general test is among them, so that what the test finds kept was never shown in tuning.
    """
    rng = random.Random(f"general training {seed}")
    makers = ((fact_option, fact_open), (bare_sum, field_problem), (instruction,))
    shares = [0.5, 0.25, 0.25]
    tested = {row["prompt"][0]["content"] for row in test}
    facts = {row["thinking"] for row in test if row["kind"] == "facts"}
    items: dict[str, Item] = {}  # by prompt
    while len(items) < count:
        item = rng.choice(rng.choices(makers, shares)[0])(rng)
        if item.prompt not in tested and not (item.kind == "facts" and item.think in facts):
            items.setdefault(item.prompt, item)
    return [
        dump_row(
            SftRow(
                id=f"world-{item.kind}-{number:04d}",
                kind="world",
                node_id=f"world-{item.kind}",
                family=item.kind,
                lineage={"seed": seed},
                **fields_of(item),
            )
        )
        for number, item in enumerate(items.values())
    ]


def fields_of(item: Item) -> dict[str, Any]:
    """The fields of a row: its answer is the letter of a choice, and the reply says the option's text."""
    return {
        "question": item.question,
        "options": item.options or None,
        "thinking": item.think,
        "solution": item.solution,
        "answer": letter_of(item.answer, item.options) if item.options else item.answer,
    }


def is_clear(item: Item) -> bool:
    """False where the right option reads like another label: "C" (carbon) at A cannot be told from the letter C."""
    letters = tuple(LETTERS[: len(item.options)])
    return item.grader != "choice" or item.answer not in letters or item.answer == letter_of(item.answer, item.options)


def row(item: Item, name: str, seed: int) -> dict[str, Any]:
    """The item as a test row."""
    return dump_row(
        GradedRow(
            id=name,
            kind=item.kind,
            grader=item.grader,
            unit=item.unit,
            tolerance=0.01 if item.grader == "numeric" else None,
            node_id=name,
            family="general",
            lineage={"seed": seed},
            **fields_of(item),
        )
    )
