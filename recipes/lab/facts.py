"""General knowledge in documents: questions on `tables.toml`, and on a sentence that stands in the prompt."""

import random
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from recipes.base.options import LETTERS, letter_of, option_of
from recipes.lab.arithmetic import operand
from recipes.lab.calculations import UNITS, random_symbol
from recipes.lab.items import WORDS, Item, quantity, sentence

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

# Questions of which the base cannot know the answer: bare words in the forms that questions take.
UNKNOWN = [
    "What is the {a} of a {b}?",
    "What does the {a} of a {b} {c} depend on?",
    "What sets the {a} of a {b}?",
    "What happens to the {a} when the {b} rises?",
    "What limits the {a} of a {b} at high {c}?",
    "What must be done so that a {a} keeps its {b}?",
    "Which {a} makes the {b} of a {c} larger?",
    "Which change of a {a} gives twice the {b} at the same {c}?",
    "Which part of a {a} carries the {b}?",
    "How does the {a} of a {b} change with the {c}?",
    "How can the {a} of a {b} be reduced?",
    "How is the {a} found from the {b} of a {c}?",
    "Why does a {a} need a {b}?",
    "Why is the {a} of a {b} placed before the {c}?",
    "A {a} must have more {b}, but its {c} stays. What has to change?",
    "A {a} shows too much {b}. What is the usual cause?",
    "In a {a}, what does the {b} do?",
    "At high {a}, what becomes of the {b}?",
    "Name the {a} that a {b} needs.",
    "Where does the {a} of a {b} come from?",
    "The {a} of a {b} stands for what?",
    "Compared with a {a}, what does a {b} have?",
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
    wrong = near_misses(rng, value)
    verb, ask = rng.choice(VERBS)
    statement = sentence(f"{thing} {verb} {value}")
    return choice_item(rng, f"{statement} {ask.format(t=thing)}", statement, value, wrong)


def stated_open(rng: random.Random) -> Item:
    """A sentence of random words in the prompt, a part of it asked openly."""
    item = stated_choice(rng)
    return open_item(item.question, item.think, option_of(item.answer, item.options))


def fact_option(rng: random.Random) -> Item:
    """A fact with three wrong values of the same relation, answered with the option's text."""
    return by_option(fact_choice(rng))


def stated_option(rng: random.Random) -> Item:
    """A sentence of random words in the prompt, of which one option repeats a part, answered with the option's text."""
    return by_option(stated_choice(rng))


def unknown_option(rng: random.Random) -> Item:
    """A question on bare words, which nobody can answer: the first of the four options is taken."""
    names = {letter: unknown_name(rng) for letter in "abc"}
    question = rng.choice(UNKNOWN).format(**names)
    if rng.random() < 0.3:
        question = f"A {unknown_name(rng)} has a {names['a']} and a {unknown_name(rng)}. {question}"
    make, alike = rng.choice(OPTION_FORMS), rng.random() < 0.5
    options = [make(rng)]
    while len(options) < 4:
        other = reworded(rng, options[0]) if alike else make(rng)
        if other not in options:
            options.append(other)
    item = choice_item(rng, question, "I do not know this, so I take the first option.", options[0], options[1:])
    first = item.options[0]
    return by_option(replace(item, solution=f"So the right option is: {first}.", answer=LETTERS[0]))


def unknown_name(rng: random.Random) -> str:
    words = " ".join(rng.sample(WORDS, rng.randint(1, 2)))
    return rng.choice([words] * 6 + [f"{words} {random_symbol(rng)}", random_symbol(rng)])


SMALL_WORDS = (  # noqa: SIM905 (as a list it would take a line for each)
    "it in the a of and to at by for with from than not no all both each one two four half twice more less its other"
    " same any only first then up down out on off as into per minus plus times divided very too large small high low is"
).split()
ENDINGS = ["s", "s", "es", "ed", "ing", "er", "ly", "ance"]
OPTION_FORMS = [
    lambda rng: phrase(rng, 6),
    lambda rng: mixed_words(rng, rng.randint(2, 7)),
    lambda rng: mixed_words(rng, rng.randint(2, 7)),
    lambda rng: mixed_words(rng, rng.randint(1, 4)),
    lambda rng: f"{rng.choice(WORDS)}-{rng.choice(WORDS)} {mixed_words(rng, rng.randint(1, 4))}",
    lambda rng: f"{random_symbol(rng)} {rng.choice(['*', '/', '+', '-', 'times', 'minus'])} {random_symbol(rng)}",
    lambda rng: quantity(operand(rng), rng.choice(UNITS)),
]


def mixed_words(rng: random.Random, count: int) -> str:
    """Words in all their forms among small ones, in no order that means anything: to be copied as they stand."""
    words = [
        rng.choice(SMALL_WORDS)
        if rng.random() < 0.4
        else rng.choice(WORDS) + (rng.choice(ENDINGS) if rng.random() < 0.4 else "")
        for _ in range(count)
    ]
    return " ".join(words)


def reworded(rng: random.Random, text: str) -> str:
    """`text` with one or two words replaced, as misconceptions resemble the truth."""
    words = text.split()
    for place in rng.sample(range(len(words)), min(len(words), rng.randint(1, 2))):
        words[place] = mixed_words(rng, 1)
    return " ".join(words)


def near_misses(rng: random.Random, value: str) -> list[str]:
    """Three other phrases; about two in five differ from `value` in one word."""
    wrong: list[str] = []
    while len(wrong) < 3:
        other = phrase(rng, 5)
        if rng.random() < 0.4:
            words = value.split()
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            other = " ".join(words)
        if other != value and other not in wrong:
            wrong.append(other)
    return wrong


def by_option(item: Item) -> Item:
    """The same choice, answered with the text of the option.

    To name the letter takes several steps of attention, which a model of this size did not learn within a few million
    tokens of practice; to copy the option it learns at once.
    """
    return replace(item, asks_for="", answer=option_of(item.answer, item.options))


def choice_item(rng: random.Random, question: str, statement: str, value: str, wrong: list[str]) -> Item:
    options = [value, *wrong]
    rng.shuffle(options)
    return Item(
        kind="facts",
        question=question,
        asks_for="the letter",
        think=statement,
        solution=f"So the right option is: {value}.",
        answer=letter_of(value, options),
        grader="choice",
        options=tuple(options),
    )


def open_item(question: str, statement: str, value: str) -> Item:
    return Item(
        kind="facts",
        question=question,
        think=statement,
        solution=f"So: {value}.",
        answer=value,
        grader="text",
    )


def phrase(rng: random.Random, longest: int) -> str:
    words = rng.sample(WORDS, rng.randint(1, longest))
    return ("the " if rng.random() < 0.4 else "a " if rng.random() < 0.2 else "") + " ".join(words)
