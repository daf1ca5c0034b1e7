"""Documents of the embedded world: what the base model reads, and the general test that measures what it keeps.

A document is either plain text or one chat exchange (`Item`). Items come in three kinds:
arithmetic (bare and worked, formulas of everyday fields), facts (`tables.toml`, asked openly or as multiple choice, and
choices about a sentence that stands in the prompt), instructions (copy, order, compare, count, pick). All are drawn from a
seeded `random.Random`, so that step n of the pre-training always sees the same documents.
"""

import keyword
import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from recipes.embedded.arithmetic import operand, problem, render_number, work

HERE = Path(__file__).parent
WORDS = HERE.joinpath("words.txt").read_text(encoding="utf-8").split()
LETTERS = "ABCD"
ASK = "Give the final answer in <answer> tags."
ASK_LETTER = "Give the letter in <answer> tags."
ASK_OPTION = "Give the right option in <answer> tags."


@dataclass(frozen=True)
class Item:
    """One exchange. `think` may be empty (a short answer without thoughts); `unit` is set for numeric answers."""

    kind: str
    prompt: str
    think: str
    solution: str
    answer: str
    grader: str
    options: tuple[str, ...] = ()
    unit: str | None = None

    @property
    def reply(self) -> str:
        return f"<think>{self.think}</think>\n{self.solution}\n<answer>{self.answer}</answer>"


# ---- arithmetic -------------------------------------------------------------------------------------------------

# Formulas of everyday fields: (setting, result quantity, symbol, unit, expression, givens (symbol, quantity, unit)).
FIELDS = [
    ("A car", "speed", "v", "km/h", "s / t", [("s", "distance", "km"), ("t", "time", "h")]),
    ("A walker", "distance", "s", "km", "v * t", [("v", "speed", "km/h"), ("t", "time", "h")]),
    ("A train", "time", "t", "h", "s / v", [("s", "distance", "km"), ("v", "speed", "km/h")]),
    ("A block", "density", "d", "g/cm3", "m / V", [("m", "mass", "g"), ("V", "volume", "cm3")]),
    ("A stone", "mass", "m", "g", "d * V", [("d", "density", "g/cm3"), ("V", "volume", "cm3")]),
    ("A field", "area", "A", "m2", "a * b", [("a", "length", "m"), ("b", "width", "m")]),
    ("A box", "volume", "V", "cm3", "a * b * h", [("a", "length", "cm"), ("b", "width", "cm"), ("h", "height", "cm")]),
    ("A fence", "perimeter", "P", "m", "2 * (a + b)", [("a", "length", "m"), ("b", "width", "m")]),
    ("A worker", "pay", "W", "EUR", "r * t", [("r", "rate", "EUR/h"), ("t", "time", "h")]),
    (
        "A shop",
        "profit",
        "G",
        "EUR",
        "n * (p - c)",
        [("n", "number of goods", ""), ("p", "price", "EUR"), ("c", "cost", "EUR")],
    ),
    ("A buyer", "price per kilogram", "q", "EUR/kg", "p / m", [("p", "price", "EUR"), ("m", "mass", "kg")]),
    ("A cart", "force", "F", "N", "m * a", [("m", "mass", "kg"), ("a", "acceleration", "m/s2")]),
    ("A lift", "work", "E", "J", "F * s", [("F", "force", "N"), ("s", "height", "m")]),
    (
        "A runner",
        "acceleration",
        "a",
        "m/s2",
        "(v2 - v1) / t",
        [("v2", "final speed", "m/s"), ("v1", "initial speed", "m/s"), ("t", "time", "s")],
    ),
    ("A ball", "kinetic energy", "E", "J", "0.5 * m * v**2", [("m", "mass", "kg"), ("v", "speed", "m/s")]),
    ("A tank", "filling time", "t", "min", "V / q", [("V", "volume", "L"), ("q", "flow", "L/min")]),
    ("A pump", "flow", "q", "L/min", "V / t", [("V", "volume", "L"), ("t", "time", "min")]),
    ("A floor", "pressure", "p", "Pa", "F / A", [("F", "force", "N"), ("A", "area", "m2")]),
    ("A class", "mean mark", "M", "", "(a + b) / 2", [("a", "first mark", ""), ("b", "second mark", "")]),
    ("A loan", "interest", "Z", "EUR", "K * p / 100", [("K", "capital", "EUR"), ("p", "rate", "%")]),
    ("A map", "real distance", "D", "km", "d * k", [("d", "map distance", "cm"), ("k", "scale", "km/cm")]),
    ("A baker", "flour", "F", "g", "n * f", [("n", "number of loaves", ""), ("f", "flour per loaf", "g")]),
    ("A farm", "yield", "Y", "t", "A * y", [("A", "area", "ha"), ("y", "yield per area", "t/ha")]),
    ("A wheel", "turning rate", "n", "1/s", "1 / T", [("T", "period", "s")]),
    ("A spring", "spring force", "F", "N", "k * x", [("k", "stiffness", "N/cm"), ("x", "travel", "cm")]),
    (
        "A lever",
        "load force",
        "F2",
        "N",
        "F1 * a / b",
        [("F1", "effort force", "N"), ("a", "effort arm", "cm"), ("b", "load arm", "cm")],
    ),
    ("A mixture", "total mass", "M", "kg", "m1 + m2", [("m1", "first mass", "kg"), ("m2", "second mass", "kg")]),
    ("A school", "pupils per class", "c", "", "n / k", [("n", "number of pupils", ""), ("k", "number of classes", "")]),
    (
        "A tower",
        "potential energy",
        "E",
        "J",
        "m * g * h",
        [("m", "mass", "kg"), ("g", "gravity", "m/s2"), ("h", "height", "m")],
    ),
    (
        "A trip",
        "mean speed",
        "v",
        "km/h",
        "(s1 + s2) / t",
        [("s1", "first distance", "km"), ("s2", "second distance", "km"), ("t", "time", "h")],
    ),
]
UNITS = (
    "m cm km g kg t s ms us ns min h N J W mW uW V mV uV A mA uA nA Ohm kOhm MOhm S mS uS F pF nF uF fF H mH uH Hz kHz MHz GHz dB K L EUR % V/V "
    "V/us mV/K rad/s deg bit"
).split()


def number(value) -> str:
    return render_number(value) or str(value)


def quantity(value, unit: str) -> str:
    return f"{number(value)} {unit}".rstrip()


def join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def bare_sum(rng: random.Random) -> Item:
    """`Compute 12 * 8.` answered with the worked chain."""
    _, _, steps = problem(rng, rng.choice([1, 1, 1, 2, 2, 3]), ["a", "b", "c", "d"])
    chain = " = ".join(steps[1:])
    ask = rng.choice(["Compute {}.", "What is {}?", "Calculate {}.", "Work out {}.", "Find the value of {}."])
    return Item(
        "arithmetic", f"{ask.format(steps[1])}\n{ASK}", chain, f"The result is {steps[-1]}.", steps[-1], "numeric"
    )


def field_problem(rng: random.Random) -> Item:
    """A problem of an everyday field: the formula is not given, it must be known."""
    while True:
        setting, result, symbol, unit, expression, givens = rng.choice(FIELDS)
        values = {name: operand(rng) for name, _, _ in givens}
        if "/" in expression and rng.random() < 0.6:
            values[givens[0][0]] *= values[givens[-1][0]]
        steps = work(expression, values)
        if steps and all(render_number(v) for v in values.values()):
            break
    given = join([f"{q} {n} = {quantity(values[n], u)}" for n, q, u in givens])
    ask = rng.choice(
        [
            "{s} has {g}. Find the {r}.",
            "{s} has {g}. What is the {r}?",
            "Given {g} for {l}, compute the {r}.",
            "How large is the {r} of {l} with {g}?",
            "{s} with {g}: calculate the {r}.",
            "For {l} we know {g}. Determine the {r}.",
        ]
    )
    question = ask.format(s=setting, l=setting.lower(), g=given, r=result)
    return Item(
        "arithmetic",
        f"{question}\n{ASK}",
        f"{symbol} = " + " = ".join(steps),
        f"The {result} is {steps[-1]} {unit}".rstrip() + ".",
        f"{steps[-1]} {unit}".rstrip(),
        "numeric",
        unit=unit or None,
    )


def random_symbol(rng: random.Random) -> str:
    head = rng.choice("ABCDEFGHIJKLMNPQRSTUVWXYZabcdfghkmnprstvwxyz")
    tail = rng.choice(
        [
            "",
            "",
            "1",
            "2",
            "0",
            "in",
            "out",
            "ref",
            "x",
            "s",
            "a",
            "b",
            "m",
            "t",
            "D",
            "S",
            "L",
            "F",
            "max",
            "min",
            "tot",
            "n",
            "p",
            "o",
            "DD",
            "TH",
        ]
    )
    return random_symbol(rng) if keyword.iskeyword(head + tail) else head + tail


def stated_formula(rng: random.Random) -> Item:
    """A formula of invented quantities stands in the prompt: reading and putting in numbers."""
    names = list(dict.fromkeys(random_symbol(rng) for _ in range(16)))
    expression, values, steps = problem(rng, rng.choice([1, 1, 2, 2, 3]), names[:4])
    symbol, unit = names[4], rng.choice(UNITS)
    noun = lambda: f"{rng.choice(WORDS)} {rng.choice(WORDS)}" if rng.random() < 0.7 else rng.choice(WORDS)  # noqa: E731
    result = noun()
    given = join([f"{noun()} {n} = {quantity(v, rng.choice(UNITS))}" for n, v in values.items()])
    setting = noun()
    ask = rng.choice(
        [
            "The {r} of a {s} is {f}. A {s} has {g}. Find the {r}.",
            "A {s} has {g}. Use {f} to find the {r}.",
            "With {f}, what is the {r} of a {s} that has {g}?",
        ]
    )
    question = ask.format(r=result, s=setting, f=f"{symbol} = {steps[0]}", g=given)
    return Item(
        "arithmetic",
        f"{question}\n{ASK}",
        f"{symbol} = " + " = ".join(steps),
        f"The {result} is {steps[-1]} {unit}.",
        f"{steps[-1]} {unit}",
        "numeric",
        unit=unit,
    )


# ---- facts ------------------------------------------------------------------------------------------------------


def load_facts() -> list[dict]:
    """Every (question wordings, statement, value, values of the same relation) of `tables.toml`."""
    data = tomllib.loads(HERE.joinpath("tables.toml").read_text(encoding="utf-8"))
    columns: dict[str, list[str]] = {}
    for relation in data["relation"]:
        columns.setdefault(relation["table"], []).append(relation["attribute"])
    facts = []
    for relation in data["relation"]:
        attributes = columns[relation["table"]]
        column = attributes.index(relation["attribute"])
        rows = [
            row.split("|") if "|" in row else row.split(" ", len(attributes))
            for row in data["tables"][relation["table"]]
        ]
        pool = sorted({row[1 + column] for row in rows})
        for row in rows:
            name, value = row[0], row[1 + column]
            facts.append(
                {
                    "questions": [q.format(name=name) for q in relation["questions"]],
                    "value": value,
                    "pool": [v for v in pool if v != value],
                    "statement": relation["statement"].format(name=name, value=value),
                }
            )
    return facts


FACTS = load_facts()


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def choice_item(rng: random.Random, question: str, value: str, wrong: list[str], why: str) -> Item:
    options = [value, *wrong]
    rng.shuffle(options)
    listed = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=True))
    return Item(
        "facts",
        f"{question}\n{listed}\n{ASK_LETTER}",
        why,
        f"So the right option is: {value}.",
        LETTERS[options.index(value)],
        "choice",
        tuple(options),
    )


def fact_choice(rng: random.Random) -> Item:
    fact = rng.choice(FACTS)
    while len(fact["pool"]) < 3:
        fact = rng.choice(FACTS)
    statement = capital(fact["statement"].rstrip(".")) + "."
    return choice_item(rng, rng.choice(fact["questions"]), fact["value"], rng.sample(fact["pool"], 3), statement)


def fact_open(rng: random.Random) -> Item:
    fact = rng.choice(FACTS)
    return Item(
        "facts",
        f"{rng.choice(fact['questions'])}\n{ASK}",
        capital(fact["statement"].rstrip(".")) + ".",
        f"So: {fact['value']}.",
        fact["value"],
        "text",
    )


def phrase(rng: random.Random, low: int = 1, high: int = 4) -> str:
    words = rng.sample(WORDS, rng.randint(low, high))
    return ("the " if rng.random() < 0.4 else "a " if rng.random() < 0.2 else "") + " ".join(words)


def stated_choice(rng: random.Random) -> Item:
    """A sentence of random words stands in the prompt, one of four options repeats a part of it."""
    thing, value = phrase(rng, 1, 3), phrase(rng, 1, 5)
    wrong = []
    while len(wrong) < 3:
        other = phrase(rng, 1, 5)
        if rng.random() < 0.4:  # a near miss: one word of the value replaced
            words = value.split()
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            other = " ".join(words)
        if other != value and other not in wrong:
            wrong.append(other)
    verb, ask = rng.choice(
        [
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
    )
    why = capital(f"{thing} {verb} {value}.")
    return choice_item(rng, f"{why} {ask.format(t=thing)}", value, wrong, why)


def stated_open(rng: random.Random) -> Item:
    item = stated_choice(rng)
    question = item.prompt.split("\n")[0]
    value = item.options[LETTERS.index(item.answer)]
    return Item("facts", f"{question}\n{ASK}", item.think, f"So: {value}.", value, "text")


def by_option(maker: Callable[[random.Random], Item]) -> Callable[[random.Random], Item]:
    """The same choice, answered with the text of the option. To name its letter takes several steps of attention, which a model of
    this size did not learn within a few million tokens of practice; to copy the option it learns at once."""

    def make(rng: random.Random) -> Item:
        item = maker(rng)
        return replace(
            item, prompt=item.prompt.replace(ASK_LETTER, ASK_OPTION), answer=item.options[LETTERS.index(item.answer)]
        )

    return make


fact_option, stated_option = by_option(fact_choice), by_option(stated_choice)


# ---- instructions -----------------------------------------------------------------------------------------------


def instruction(rng: random.Random) -> Item:
    words = rng.sample(WORDS, rng.randint(2, 6))
    numbers = rng.sample(range(1, 100), rng.randint(2, 5))
    listed, digits = " ".join(words), ", ".join(map(str, numbers))
    a, b = operand(rng), operand(rng)
    bigger = rng.random() < 0.5
    forms: list[Callable[[], tuple[str, str, str]]] = [
        lambda: (f"Repeat these words: {listed}.", "I copy the words.", listed),
        lambda: (
            f"Write these words in reverse order: {listed}.",
            "I read the words from the end.",
            " ".join(reversed(words)),
        ),
        lambda: (f"Which word comes first in: {listed}?", f"The words are {listed}.", words[0]),
        lambda: (f"Which word comes last in: {listed}?", f"The words are {listed}.", words[-1]),
        lambda: (
            f"How many words are in: {listed}?",
            " ".join(f"{i} {w}" for i, w in enumerate(words, 1)),
            str(len(words)),
        ),
        lambda: (
            f"Sort these numbers from small to large: {digits}.",
            "The smallest comes first.",
            ", ".join(map(str, sorted(numbers))),
        ),
        lambda: (f"What is the largest of {digits}?", "I look for the largest.", str(max(numbers))),
        lambda: (f"What is the smallest of {digits}?", "I look for the smallest.", str(min(numbers))),
        lambda: (
            f"Sort these words by the alphabet: {listed}.",
            "I compare the first letters.",
            " ".join(sorted(words)),
        ),
        lambda: (
            f"Which is {'larger' if bigger else 'smaller'}, {number(a)} or {number(b)}?",
            f"I compare {number(a)} and {number(b)}.",
            number(max(a, b) if bigger else min(a, b)),
        ),
    ]
    question, think, answer = rng.choice(forms)()
    return Item("instructions", f"{question}\n{ASK}", think, f"So: {answer}.", answer, "text")


# ---- plain text -------------------------------------------------------------------------------------------------


def sentences(rng: random.Random) -> str:
    """Neutral sentences: bare words in everyday frames, which give every word of the vocabulary an embedding and no fact."""
    frames = [
        "The {a} note names the {b} {c}.",
        "Here the words {a}, {b} and {c} stand in a row.",
        "A page about {a} lies beside a page about {b}.",
        "She wrote {a} {b} under the word {c}.",
        "In the list, {a} stands before {b}.",
        "The title of the book is {a} {b} {c}.",
        "He asked about the {a} and the {b}.",
    ]
    return " ".join(
        rng.choice(frames).format(a=rng.choice(WORDS), b=rng.choice(WORDS), c=rng.choice(WORDS))
        for _ in range(rng.randint(2, 4))
    )


def sums(rng: random.Random) -> str:
    """Bare lines of arithmetic, the densest practice there is."""
    return "\n".join(
        " = ".join(problem(rng, rng.choice([1, 1, 1, 2, 3]), ["a", "b", "c", "d"])[2][1:])
        for _ in range(rng.randint(3, 8))
    )


def statements(rng: random.Random) -> str:
    return " ".join(capital(rng.choice(FACTS)["statement"].rstrip(".")) + "." for _ in range(rng.randint(2, 5)))


Mixture = list[tuple[float, Callable[[random.Random], Item | str]]]

# Two phases: sums first, which everything else is worked with, and choices by letter; then the balanced mixture, choices by option.
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


def documents(rng: random.Random, mixture: Mixture, held_out: frozenset[str] = frozenset()):
    """Endless documents of the mixture; an item whose prompt is in `held_out` (the general test) is never given."""
    weights, makers = zip(*mixture, strict=True)
    while True:
        document = rng.choices(makers, weights)[0](rng)
        if isinstance(document, str) or document.prompt not in held_out:
            yield document


def letter_of(item: Item) -> str:
    """The gold answer of a row: the letter for a choice, as its grader wants it, else the answer itself."""
    return LETTERS[item.options.index(item.answer)] if item.grader == "choice" else item.answer


def general_test(seed: int, per_kind: int) -> list[dict]:
    """The retention test: `per_kind` rows each of arithmetic, facts and instructions, in the row format of every test set."""
    rng = random.Random(f"general test {seed}")
    makers = {
        "arithmetic": (bare_sum, field_problem),
        "facts": (fact_option, stated_option),
        "instructions": (instruction,),
    }
    rows, seen = [], set()
    for kind, options in makers.items():
        while sum(row["kind"] == kind for row in rows) < per_kind:
            item = rng.choice(options)(rng)
            if item.prompt in seen:
                continue
            seen.add(item.prompt)
            rows.append(
                {
                    "id": f"general-{kind}-{len(rows):04d}",
                    "kind": kind,
                    "prompt": [{"role": "user", "content": item.prompt}],
                    "answer": letter_of(item),
                    "reply": item.reply,
                    "grader": item.grader,
                    "options": list(item.options) or None,
                    "unit": item.unit,
                    "tolerance": 0.01 if item.grader == "numeric" else None,
                    "difficulty": 1,
                    "node_id": f"general-{kind}-{len(rows):04d}",
                    "fact_id": None,
                    "family": "general",
                    "lineage": {"seed": seed},
                }
            )
    return rows
