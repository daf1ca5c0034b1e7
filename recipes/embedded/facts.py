"""General knowledge in documents: questions on `tables.toml`, and on a sentence that stands in the prompt."""

import random
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from recipes.embedded.items import ASK, ASK_LETTER, ASK_OPTION, LETTERS, WORDS, Item, sentence

TABLES = Path(__file__).with_name("tables.toml")
VERBS = [
    ("needs", "What does {t} need?"),
    ("is set by", "What sets {t}?"),
    ("depends on", "On what does {t} depend?"),
    ("gives", "What does {t} give?"),
    ("equals", "What does {t} equal?"),
    ("limits", "What does {t} limit?"),
    ("comes from", "Where does {t} come from?"),
    ("reduces", "What does {t} reduce?"),
    ("has", "What does {t} have?"),
    ("causes", "What does {t} cause?"),
]


@dataclass(frozen=True)
class Fact:
    """One value of a relation: how it is asked for and stated, and the relation's other values, sorted."""

    questions: list[str]
    statement: str
    value: str
    others: list[str]


def load_facts() -> list[Fact]:
    """Every fact of `tables.toml`, in the order of its relations and rows."""
    data = tomllib.loads(TABLES.read_text(encoding="utf-8"))
    attributes: dict[str, list[str]] = {}
    for relation in data["relation"]:
        attributes.setdefault(relation["table"], []).append(relation["attribute"])
    facts = []
    for relation in data["relation"]:
        columns = attributes[relation["table"]]
        column = 1 + columns.index(relation["attribute"])
        rows = [
            row.split("|") if "|" in row else row.split(" ", len(columns)) for row in data["tables"][relation["table"]]
        ]
        values = sorted({row[column] for row in rows})
        facts += [
            Fact(
                questions=[question.format(name=row[0]) for question in relation["questions"]],
                statement=sentence(relation["statement"].format(name=row[0], value=row[column])),
                value=row[column],
                others=[value for value in values if value != row[column]],
            )
            for row in rows
        ]
    return facts


FACTS = load_facts()


def statements(rng: random.Random) -> str:
    """Some facts as plain sentences."""
    return " ".join(rng.choice(FACTS).statement for _ in range(rng.randint(2, 5)))


def fact_open(rng: random.Random) -> Item:
    """A fact, asked openly."""
    fact = rng.choice(FACTS)
    return open_item(rng.choice(fact.questions), fact.statement, fact.value)


def fact_choice(rng: random.Random) -> Item:
    """A fact with three wrong values of the same relation, answered with the letter."""
    fact = rng.choice(FACTS)
    while len(fact.others) < 3:
        fact = rng.choice(FACTS)
    return choice_item(rng, rng.choice(fact.questions), fact.statement, fact.value, rng.sample(fact.others, 3))


def stated_choice(rng: random.Random) -> Item:
    """A sentence of random words in the prompt, of which one option repeats a part, answered with the letter."""
    thing, value = phrase(rng, 3), phrase(rng, 5)
    wrong: list[str] = []
    while len(wrong) < 3:
        other = phrase(rng, 5)
        if rng.random() < 0.4:  # a near miss: one word of the value replaced
            words = value.split()
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            other = " ".join(words)
        if other != value and other not in wrong:
            wrong.append(other)
    verb, ask = rng.choice(VERBS)
    statement = sentence(f"{thing} {verb} {value}")
    return choice_item(rng, f"{statement} {ask.format(t=thing)}", statement, value, wrong)


def stated_open(rng: random.Random) -> Item:
    """A sentence of random words in the prompt, a part of it asked openly."""
    item = stated_choice(rng)
    return open_item(item.prompt.split("\n")[0], item.think, option_of(item))


def fact_option(rng: random.Random) -> Item:
    """A fact with three wrong values of the same relation, answered with the option's text."""
    return by_option(fact_choice(rng))


def stated_option(rng: random.Random) -> Item:
    """A sentence of random words in the prompt, of which one option repeats a part, answered with the option's text."""
    return by_option(stated_choice(rng))


def by_option(item: Item) -> Item:
    """The same choice, answered with the text of the option.

    To name the letter takes several steps of attention, which a model of this size did not learn within a few million
    tokens of practice; to copy the option it learns at once.
    """
    return replace(item, prompt=item.prompt.replace(ASK_LETTER, ASK_OPTION), answer=option_of(item))


def option_of(item: Item) -> str:
    return item.options[LETTERS.index(item.answer)]


def choice_item(rng: random.Random, question: str, statement: str, value: str, wrong: list[str]) -> Item:
    options = [value, *wrong]
    rng.shuffle(options)
    listed = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=True))
    return Item(
        kind="facts",
        prompt=f"{question}\n{listed}\n{ASK_LETTER}",
        think=statement,
        solution=f"So the right option is: {value}.",
        answer=LETTERS[options.index(value)],
        grader="choice",
        options=tuple(options),
    )


def open_item(question: str, statement: str, value: str) -> Item:
    return Item(
        kind="facts",
        prompt=f"{question}\n{ASK}",
        think=statement,
        solution=f"So: {value}.",
        answer=value,
        grader="text",
    )


def phrase(rng: random.Random, longest: int) -> str:
    words = rng.sample(WORDS, rng.randint(1, longest))
    return ("the " if rng.random() < 0.4 else "a " if rng.random() < 0.2 else "") + " ".join(words)
