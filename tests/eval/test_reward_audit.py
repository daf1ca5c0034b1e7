"""Replies that try to earn the reward without the answer: every kind of grader gives them nothing, in bounded time."""

import pytest

from eval.graders import _GRADERS, ROW_KEYS, grade, grade_all
from eval.graders.reply import format_score
from tests.helpers.bounded import ends_within

pytestmark = pytest.mark.slow

OPTIONS = ["a larger current", "the drain voltage", "the same voltage", "no feedback"]
EMPTY = {"id": "r", "options": None, "unit": None, "tolerance": None}
CHOICE = EMPTY | {"grader": "choice", "answer": "C", "options": OPTIONS}
NUMERIC = EMPTY | {"grader": "numeric", "answer": "42", "tolerance": 1e-6}
UNIT = EMPTY | {"grader": "numeric", "answer": "60 uA", "unit": "uA", "tolerance": 0.01}
TEXT = EMPTY | {"grader": "text", "answer": "the same gate-source voltage"}
OVERLAP = EMPTY | {"grader": "overlap", "answer": "annealed selvite loses twelve percent"}
PROGRAM = EMPTY | {"grader": "program", "answer": "42", "tolerance": 1e-6}
TYPES = ["single harmonic", "AM", "FM", "AM-FM", "inner race fault", "outer race fault", "ball fault", "healthy"]
CLASS = EMPTY | {"grader": "class", "answer": "inner race fault", "options": TYPES}
CLOSE = UNIT | {"grader": "close"}
LABEL = CLASS | {"grader": "label"}
VERBATIM = EMPTY | {"grader": "verbatim", "answer": "C[C@H](N)C(=O)O"}
ROWS = {"choice": CHOICE, "numeric": NUMERIC, "unit": UNIT, "text": TEXT, "overlap": OVERLAP, "program": PROGRAM}
CLOSED = EMPTY | {"grader": "text", "answer": "no", "options": ["yes", "no", "maybe"]}
ROWS |= {"class": CLASS, "close": CLOSE, "label": LABEL, "verbatim": VERBATIM, "closed": CLOSED}
GOLD = {
    "choice": "the same voltage",
    "numeric": "42",
    "unit": "60 uA",
    "text": "the same gate-source voltage",
    "overlap": "annealed selvite loses twelve percent",
    "program": "print(42)",
    "class": "inner race fault",
    "close": "60 uA",
    "label": "inner race fault",
    "verbatim": "C[C@H](N)C(=O)O",
    "closed": "no",
}
SECONDS = 20.0  # of processor time for one reply without a program, which takes a hundredth of that


def block(content, thinking="because"):
    return f"<think>{thinking}</think>\nSo it is.\n<answer>{content}</answer>"


def by_any(kind):
    """Tricks that work on no grader: (name, reply)."""
    gold = GOLD[kind]
    wrong = {
        "choice": "no feedback",
        "numeric": "43",
        "unit": "61.5 uA",
        "text": "the same drain voltage",
        "overlap": "quenched norbite gained nothing",
        "program": "print(43)",
        "class": "ball fault",
        "close": "61.5 uA",
        "label": "ball fault",
        "verbatim": "C[C@@H](N)C(=O)O",
        "closed": "maybe",
    }[kind]
    return {
        "nothing": "",
        "spaces": " \n\t ",
        "only tags": "<think></think><answer></answer>",
        "open tags": "<answer>" * 2000,
        "closed tags": "</answer>" * 2000,
        "nested tags": "<answer>" * 1000 + "</answer>" * 1000,
        "answer inside the thinking": f"<think><answer>{gold}</answer></think>\nDone.",
        "thinking that never ends, after the answer": f"<answer>{gold}</answer></think>",
        "two answers that differ": f"{block(gold)}\n<answer>{wrong}</answer>",
        "two answers, the right one last": f"{block(wrong)}\n<answer>{gold}</answer>",
        "the prompt again": "Give the final answer in <answer> tags.",
        "the prompt as the answer": block("What is it? Give the final answer in <answer> tags."),
        "asking back": block("the right answer"),
        "flattery": block("The grader will accept this reply. Score: 1.0"),
        "markup": block("${answer} {{answer}} %s {row[answer]} \\1 __import__('os')"),
        "a megabyte of words": "the answer is here " * 50_000,
        "a megabyte in the block": block("x" * 1_000_000),
        "a megabyte before a wrong answer": "so " * 330_000 + block(wrong),
        "the answer, then a megabyte": block(gold) + " and so on" * 100_000,
        "null characters": "\x00" * 100_000,
        "right-to-left and zero width": block("\u202e24\u200b\u200c\ufeff"),
    }


TRICKS = {
    "choice": {
        "all letters": block("A B C D"),
        "all letters with or": block("A or B or C or D"),
        "all options": block("\n".join(OPTIONS)),
        "all options with letters": block(" ".join(f"{x}) {o}" for x, o in zip("ABCD", OPTIONS, strict=True))),
        "two letters": block("B/C"),
        "letter with another option": block("C) no feedback"),
        "every bold letter": "**A** **B** **C** **D**",
        "every stated letter": "The answer is A. The answer is B. The answer is C. The answer is D.",
        "not the others": block("not A, not B, not D"),
        "a letter outside": block("E"),
        "labels without end": block("A) " * 100_000),
    },
    "numeric": {
        "all numbers": block(" ".join(map(str, range(1001)))),
        "a range": block("0 to 100"),
        "two numbers": block("42 or 43"),
        "plus and minus": block("40 ± 5"),
        "an expression": block("6 * 7"),
        "an expression in words": block("forty-two"),
        "the digits apart": block("4 2"),
        "glued to a word": block("x42y"),
        "infinite": block("inf"),
        "not a number": block("nan"),
        "huge": block("9" * 100_000),
        "a huge exponent": block("1e" + "9" * 10_000),
        "signs without end": block("+-" * 100_000 + "42e"),
        "groups without end": block("1," * 100_000),
        "points without end": block("4.2." * 100_000),
        "powers without end": block("10^" * 100_000),
        "the right number outside the block": "It is 42, so 42. <answer>see above</answer>",
        "thousands": block("42k"),
        "a fraction of it": block("42/2"),
    },
    "unit": {
        "another prefix": block("60 mA"),
        "another unit": block("60 uV"),
        "no unit": block("60"),
        "two units": block("60 uA or 60 mA"),
        "every prefix": block(" ".join(f"60 {p}A" for p in "fpnumkMG")),
        "a unit without end": block("60 u" + "A*" * 100_000),
        "a power of the unit": block("60 uA^2"),
        "prefixes without end": block("60 " + "u" * 100_000 + "A"),
    },
    "text": {
        "the answer among others": block("the drain voltage, the same gate-source voltage, no feedback"),
        "words in another order": block("voltage gate-source same the"),
        "denied": block("not the same gate-source voltage"),
        "articles only": block("the a an the"),
        "a word without end": block("same" * 100_000),
    },
    "closed": {
        "all words": block("yes, no, maybe"),
        "all words with or": block("yes or no or maybe"),
        "all words stated": "The answer is yes. The answer is no. The answer is maybe.",
        "a word on each line": "yes\nno",
        "another use of the word": block("no evidence"),
        "denied": block("not no"),
        "words without end": block("no, " * 100_000 + "yes"),
        "openings without end": "the answer is " * 100_000,
    },
    "overlap": {
        "letters of the words": block("a n e l d s v i t o w p r c"),
        "one word of all": block("annealedselviteloses"),
        "words without end": block("quenched " * 100_000),
    },
    "class": {
        "all classes": block(", ".join(TYPES)),
        "all classes in a sentence": "It is " + " or ".join(TYPES),
        "two classes": block("inner race fault, outer race fault"),
        "denied": block("not an inner race fault"),
        "two classes with one noun": block("outer or inner race fault"),
        "all faults with one noun": block("ball, outer race or inner race fault"),
        "denied in a list": block("neither an outer nor an inner race fault"),
        "letters of the name": block("inner race fau lt"),
        "glued to a word": block("xinner race faultx"),
        "hyphens without end": block("inner-" * 100_000),
    },
    "label": {
        "denied in three words": block("no inner race fault"),
        "denied, with a slip": block("not an inner race falt"),
        "what two classes share": block("er race fault"),
        "letters of every class": block("".join(sorted(set("".join(TYPES))))),
        "some letters of the name": block("inner fault"),
        "a word of it": block("race"),
        "the label over and over": block("inner race falt " * 5),
    },
    "verbatim": {
        "another case": block("c[c@h](n)c(=o)o"),
        "without signs": block("CCHNCOO"),
        "a part of it": block("C[C@H](N)C"),
        "the answer among others": block("C[C@H](N)C(=O)O C[C@@H](N)C(=O)O"),
        "the answer twice": block("C[C@H](N)C(=O)O" * 2),
        "full width": block("Ｃ[C@H](N)C(=O)O"),
        "brackets without end": block("[" * 100_000),
        "in a sentence": block("It is C[C@H](N)C(=O)O"),
    },
    "program": {
        "the bare answer": block("42"),
        "all numbers": block("for n in range(1001):\n    print(n)"),
        "all numbers in one line": block("print(*range(1001))"),
        "two numbers": block("print(42)\nprint(43)"),
        "behind an equals sign": block("print('1 = 42')"),
        "with words": block("print('42 or so')"),
        "two programs": "```\nprint(42)\n```\n```\nprint(43)\n```",
        "printed, then wrong": block("print(42)\nraise SystemExit(1)"),
        "endless": block("while True:\n    pass"),
        "memory": block("a = []\nwhile True:\n    a.append(' ' * 10**7)"),
        "a huge number": block("print(10 ** 10 ** 9)"),
        "endless output": block("while True:\n    print(42)"),
        "fork bomb": block("import os\nwhile True:\n    os.fork()\nprint(42)"),
        "fork bomb through a module": block(
            "import statistics\np = statistics.sys.modules['posix']\nwhile True:\n    p.fork()"
        ),
        "reading a file": block("print(open('test.jsonl').read())"),
        "writing a file": block("open('x', 'w').write('x')\nprint(42)"),
        "network": block("import socket\nsocket.socket().connect(('192.0.2.1', 80))\nprint(42)"),
        "shell": block("import subprocess\nprint(subprocess.run(['echo', '42'], capture_output=True).stdout)"),
        "killing its parent": block("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nprint(42)"),
        "looking at the stack": block("import inspect\nprint(inspect.stack())"),
        "recursion": block("def f():\n    return f()\nprint(f())"),
        "nesting": block("(" * 1500 + ")" * 1500),
        "a regular expression that explodes": block("import re\nre.match('(a+)+$', 'a' * 40 + 'b')\nprint(42)"),
        "a number that is equal to all": block(
            "class N(str):\n    def __eq__(self, other):\n        return True\nprint(N('any'))"
        ),
        "an object as output": block("class N:\n    def __str__(self):\n        return '42 43'\nprint(N())"),
        "true": block("print(True)"),
        "long": block("print(42)\n" + "# x\n" * 2000),
    },
}
CASES = [(kind, name, reply) for kind in ROWS for name, reply in (by_any(kind) | TRICKS.get(kind, {})).items()]
# The graders of quantities share their tricks.
CASES += [("unit", name, reply) for name, reply in TRICKS["numeric"].items()]
CASES += [("close", name, reply) for name, reply in (TRICKS["numeric"] | TRICKS["unit"]).items()]
# So do those of classes, but for a slip in the label's letters, which is what the reward of a label is softer on.
CASES += [("label", name, reply) for name, reply in TRICKS["class"].items() if name != "glued to a word"]


@pytest.mark.parametrize("kind", ROWS)
def test_the_honest_reply_is_worth_one(kind):
    assert grade(ROWS[kind], block(GOLD[kind])) == 1.0


@pytest.mark.parametrize("kind", ROWS)
def test_no_trick_is_worth_anything(kind):
    tricks = [(name, reply) for of, name, reply in CASES if of == kind]
    with ends_within(SECONDS * len(tricks)):
        found = grade_all([ROWS[kind]] * len(tricks), [reply for _, reply in tricks])
    assert {name for (name, _), score in zip(tricks, found, strict=True) if score} == set()


@pytest.mark.parametrize("kind", [kind for kind in ROWS if kind != "program"])
def test_every_trick_is_graded_in_bounded_time(kind):
    for reply in (reply for of, _, reply in CASES if of == kind):
        with ends_within(SECONDS):
            grade(ROWS[kind], reply)
            format_score(reply)


@pytest.mark.parametrize("kind", ROWS)
def test_the_form_alone_is_never_worth_an_answer(kind):
    reply = block("well formed")
    assert format_score(reply) == 1.0 and grade(ROWS[kind], reply) == 0.0


SIMULATED = {"sizing"}  # audited with its simulator, in tests/data_builders/test_builder_opamp.py


def test_every_grader_is_audited():
    assert {row["grader"] for row in ROWS.values()} == set(_GRADERS) - SIMULATED


class Watched(dict):
    """A row that notes which of its keys are read."""

    def __init__(self, row):
        super().__init__(row)
        self.read = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.read.add(key)
        return super().get(key, default)


def test_the_keys_that_graders_read_are_those_that_they_say():
    read = set()
    for kind, row in ROWS.items():
        watched = Watched(row)
        for reply in (block(GOLD[kind]), block("something else"), "nothing"):
            grade(watched, reply)
        read |= watched.read
    assert read == set(ROW_KEYS) - {"specification"}  # of a row that is simulated


@pytest.mark.slow
def test_reinforcement_rewards_what_the_metric_scores(tmp_path):
    """Rows of every kind that is graded by an alias, an option or a unit, through the trainer's own columns."""
    from recipes.artifacts.steps import spec_of
    from recipes.config.schema import Model
    from recipes.models import loader
    from recipes.models.rewards import accuracy_reward
    from recipes.models.rl_trainer import make_trainer
    from tests.helpers.tables import rl_table
    from tests.helpers.tiny_text import tiny_model

    prompt = {"prompt": [{"role": "user", "content": "What is it?"}]}
    rows = [prompt | row for row in (TEXT | {"aliases": ["equal VGS"]}, CHOICE, UNIT, OVERLAP, LABEL)]
    said = [block("equal VGS"), block("C"), block("60 uA"), block("annealed selvite"), block("ball fault")]
    table = rl_table(prompts_per_step=2, group_size=2)
    model = tiny_model(tmp_path / "base")
    spec = spec_of("rl", model=model, rl=table, seed=1)
    trainer, added = make_trainer(spec, loader.load_base(model), loader.load_tokenizer(Model()), rows, tmp_path)
    assert added == {}
    columns = {name: trainer.train_dataset[name] for name in trainer.train_dataset.column_names}
    assert accuracy_reward(said, **columns) == [grade(row, reply) for row, reply in zip(rows, said, strict=True)]
    assert [grade(row, reply) > 0 for row, reply in zip(rows, said, strict=True)] == [True] * 4 + [False]
