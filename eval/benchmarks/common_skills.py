"""What any instruct model can be asked without knowing anything: sums, short texts to read, instructions with a rule.

Items are drawn from generators seeded by their own number. The rule of an instruction is its row's `answer`, as
"RULE" or "RULE:VALUE" of RULES; the gold reply is a reply that keeps it.
"""

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from eval.benchmarks.common_facts import OPTIONS, ask_choice

ITEMS = 300  # of each skill
PEOPLE = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Irene",
    "Jack",
    "Karen",
    "Liam",
    "Maria",
    "Noah",
    "Olivia",
    "Paul",
]
THINGS = [
    "apple",
    "bag",
    "ball",
    "book",
    "bottle",
    "camera",
    "clock",
    "coat",
    "cup",
    "drum",
    "flute",
    "guitar",
    "hat",
    "kite",
    "lamp",
    "map",
    "radio",
    "umbrella",
]
COLOURS = ["black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow"]
PLACES = [
    "Athens",
    "Berlin",
    "Cairo",
    "Dublin",
    "Geneva",
    "Lima",
    "London",
    "Madrid",
    "Oslo",
    "Paris",
    "Rome",
    "Tokyo",
    "Vienna",
    "Warsaw",
]
WEEK = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
TOPICS = [
    "autumn",
    "bread",
    "cats",
    "clouds",
    "dogs",
    "friendship",
    "gardens",
    "lakes",
    "music",
    "rain",
    "rivers",
    "schools",
    "snow",
    "trains",
    "trees",
]


def list_sums() -> Iterator[dict[str, Any]]:
    """Sums, differences, products and quotients of small numbers, asked in words; answered by a number."""
    for number in range(ITEMS):
        dice = random.Random(f"sum/{number}")
        level = ("sum", "difference", "product", "quotient")[number % 4]
        a, b = dice.randint(12, 89), dice.randint(12, 89)
        if level == "sum":
            question, right = f"What is {a} + {b}?", a + b
        elif level == "difference":
            question, right = f"What is {max(a, b)} - {min(a, b)}?", abs(a - b)
        else:
            a, b = dice.randint(3, 12), dice.randint(3, 12)
            question, right = (f"What is {a} * {b}?", a * b) if level == "product" else (f"What is {a * b} / {b}?", a)
        yield {
            "id": f"sum/{number}",
            "question": f"{question} Reply with the number.",
            "answer": str(right),
            "reply": f"The answer is {right}.",
            "level": level,
        }


def list_readings() -> Iterator[dict[str, Any] | None]:
    """A text of four sentences and a question whose answer stands in it, as do all wrong options."""
    for number in range(ITEMS):
        dice = random.Random(f"reading/{number}")
        people, things = dice.sample(PEOPLE, OPTIONS), dice.sample(THINGS, OPTIONS)
        colours, places = dice.sample(COLOURS, OPTIONS), dice.sample(PLACES, OPTIONS)
        days, wanted = dice.sample(WEEK, OPTIONS), dice.randrange(OPTIONS)
        text = " ".join(
            f"{person} bought a {colour} {thing} in {place} on {day}."
            for person, colour, thing, place, day in zip(people, colours, things, places, days, strict=True)
        )
        who, what = people[wanted], f"{colours[wanted]} {things[wanted]}"
        asked = {
            "who": (f"Who bought the {what}?", people),
            "where": (f"In which city was {who}?", places),
            "when": (f"On which day did {who} buy something?", days),
            "colour": (f"What colour is the {things[wanted]}?", colours),
        }
        level = list(asked)[number % len(asked)]
        question, options = asked[level]
        yield ask_choice(f"reading/{number}", f"{text}\n{question}", options[wanted], options, level)


def count_words(text: str) -> int:
    return len(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text))


RULES: dict[str, Callable[[str, str], bool]] = {
    "lower": lambda text, _: bool(text) and text == text.lower() and any(map(str.isalpha, text)),
    "upper": lambda text, _: bool(text) and text == text.upper() and any(map(str.isalpha, text)),
    "words": lambda text, value: count_words(text) == int(value),
    "at most": lambda text, value: 0 < count_words(text) <= int(value),
    "begins": lambda text, value: text.casefold().startswith(value.casefold()),
    "ends": lambda text, value: text.rstrip(".!\"'").casefold().endswith(value.casefold()),
    "holds": lambda text, value: re.search(rf"\b{re.escape(value)}\b", text, re.I) is not None,
    "lacks": lambda text, value: count_words(text) >= 3 and value not in text.casefold(),
    "commas": lambda text, value: "\n" not in text and len([p for p in text.split(",") if p.strip()]) == int(value),
    "lines": lambda text, value: len([line for line in text.splitlines() if line.strip()]) == int(value),
    "same": lambda text, value: text.strip(" .\"'").casefold() == value.casefold(),
    "question": lambda text, _: text.endswith("?") and count_words(text) >= 3,
}


def keeps_rule(rule: str, text: str) -> bool:
    """Whether a text keeps a rule "RULE" or "RULE:VALUE"."""
    name, _, value = rule.partition(":")
    return RULES[name](text.strip(), value)


def list_instructions() -> Iterator[dict[str, Any]]:
    """Instructions about the form of a reply, each with its rule and a reply that keeps it."""
    makers: list[Callable[[str, random.Random], tuple[str, str, str]]] = [
        lambda t, d: (f"Write one sentence about {t}. Use only lower case letters.", "lower", f"i like {t}."),
        lambda t, d: (f"Write one sentence about {t}. Use only CAPITAL letters.", "upper", f"I LIKE {t.upper()}."),
        lambda t, d: (f"Write about {t} in exactly 5 words.", "words:5", f"I really like {t} today"),
        lambda t, d: (f"Write about {t} in at most 10 words.", "at most:10", f"I like {t}."),
        lambda t, d: (f"Write one sentence about {t} that begins with the word Today.", "begins:Today", f"Today: {t}."),
        lambda t, d: (f"Write one sentence about {t} that ends with the word now.", "ends:now", f"I like {t} now."),
        lambda t, d: (f"Write one sentence about {t} that holds the word {(w := d.choice(THINGS))}.", f"holds:{w}", w),
        lambda t, d: ("Write one sentence of at least three words without a comma.", "lacks:,", f"We all like {t}."),
        lambda t, d: (f"Name {(n := d.choice((2, 3, 4)))} colours on one line, parted by commas.", f"commas:{n}",
                      ", ".join(COLOURS[:n])),
        lambda t, d: (f"List {(n := d.choice((2, 3, 4)))} animals, one a line, and nothing else.", f"lines:{n}",
                      "\n".join(("cat", "dog", "cow", "horse")[:n])),
        lambda t, d: (f"Repeat this and say nothing else: {(s := ' '.join(d.sample(THINGS, 3)))}", f"same:{s}", s),
        lambda t, d: (f"Ask me one question about {t}.", "question", f"Do you like {t}?"),
    ]  # fmt: skip
    for number in range(ITEMS):
        dice = random.Random(f"instruction/{number}")
        question, rule, reply = makers[number % len(makers)](dice.choice(TOPICS), dice)
        yield {
            "id": f"instruction/{number}",
            "question": question,
            "answer": rule,
            "reply": reply,
            "level": rule.partition(":")[0],
        }


SKILLS = {"arithmetic": list_sums, "reading": list_readings, "instructions": list_instructions}
