"""Replies that hold a program, and votes over several replies: what counts as the same answer and as the right one."""

import pytest

from eval import sandbox
from eval.graders import grade, grade_all, is_readable, majority
from recipes.models.rewards import accuracy_reward

pytestmark = pytest.mark.slow


def program(answer="17", tolerance=1e-6):
    return {"id": "p", "grader": "program", "answer": answer, "options": None, "unit": None, "tolerance": tolerance}


def numeric(answer, unit=None):
    return {"id": "n", "grader": "numeric", "answer": answer, "options": None, "unit": unit, "tolerance": 1e-6}


def reply(block, thinking="cost = a * b"):
    return f"<think>{thinking}</think>\nThe program works it out.\n<answer>\n{block}\n</answer>"


RIGHT = [
    reply("print(3 * 4 + 5)"),
    reply("a = 3\nb = 4\nprint(a * b + 5)"),
    reply("```python\nprint(17.0)\n```"),
    reply("```\ndef solution():\n    return 17\n```"),
    reply("print('1.7e1')"),
    reply("print('34/2')"),
    reply("from fractions import Fraction\nprint(Fraction(34, 2))"),
    "I compute it.\n```python\nprint(17)\n```\n",
    "<think>x</think><answer>print(17)</answer> and again <answer>print(17)</answer>",
]
WRONG = [
    "",
    reply(""),
    reply("17"),
    reply("print(18)"),
    reply("print('17 or 18')"),
    reply("print(17)\nprint(18)"),
    reply("print('x = 17')"),
    reply("print(True)"),
    reply("print('nan')"),
    reply("print('17/0')"),
    reply("1 / 0"),
    "<think>x</think><answer>print(17)</answer><answer>print(18)</answer>",
    "```python\nprint(17)\n```\n```python\nprint(18)\n```",
    "```python\nprint(17)",
    "<think>```python\nprint(17)\n```</think>",
    "<think><answer>print(17)</answer></think>",
]


@pytest.mark.parametrize("text", RIGHT)
def test_a_program_that_prints_the_answer_is_right(text):
    assert grade(program(), text) == 1.0 and is_readable(program(), text)


@pytest.mark.parametrize("text", WRONG)
def test_anything_else_is_wrong(text):
    assert grade(program(), text) == 0.0


def test_the_tolerance_is_relative_and_has_an_edge():
    row = program("200", tolerance=0.01)
    assert [grade(row, reply(f"print({n})")) for n in ("202", "198.0", "202.1", "197.9")] == [1.0, 1.0, 0.0, 0.0]
    assert grade(program("0"), reply("print(0.0)")) == 1.0 and grade(program("0"), reply("print(1e-9)")) == 0.0
    assert grade(program("1200"), reply("print(f'{1200:,}')")) == 1.0


@pytest.mark.parametrize("bad", [program("17 EUR"), program("17") | {"unit": "EUR"}])
def test_a_malformed_row_is_an_error(bad):
    with pytest.raises(ValueError, match="one number without unit"):
        grade(bad, reply("print(17)"))


def test_a_batch_grades_every_kind_like_one_at_a_time():
    rows = [program(), numeric("5"), program("4"), program("4")]
    replies = [reply("print(17)"), "<answer>5</answer>", reply("print(5)"), "nothing"]
    assert grade_all(rows, replies) == [grade(row, text) for row, text in zip(rows, replies, strict=True)]
    assert grade_all(rows, replies) == [1.0, 1.0, 0.0, 0.0]


def test_the_reward_of_reinforcement_runs_programs_in_one_batch(monkeypatch):
    batches = []
    run = sandbox.outputs
    monkeypatch.setattr(sandbox, "outputs", lambda programs: batches.append(programs) or run(programs))
    rewards = accuracy_reward(
        [[{"role": "assistant", "content": reply(f"print({n})")}] for n in (16, 17, 18)],
        **{name: [program()[name]] * 3 for name in ("grader", "answer", "options", "unit", "tolerance")},
    )
    assert rewards == [0.0, 1.0, 0.0] and batches == [["print(16)", "print(17)", "print(18)"]]


def test_a_batch_of_endless_programs_is_run_once_and_ends(monkeypatch):
    asked, run = [], sandbox._run
    monkeypatch.setattr(sandbox, "_run", lambda programs, *rest: asked.append(programs) or run(programs, *rest))
    assert grade_all([program()] * 2, [reply(f"while True: {n}") for n in range(2)]) == [0.0] * 2
    assert asked == [["while True: 0", "while True: 1"]]


def test_the_most_frequent_answer_wins_whatever_the_words_around_it():
    replies = ["<answer>5</answer>", "so <answer>7.0</answer>", "<answer>7 apples</answer>", "?", "?", "?"]
    assert grade(numeric("7"), majority(numeric("7"), replies)) == 1.0
    assert majority(numeric("7"), replies[:2]) == replies[0]
    assert majority(numeric("7"), ["a", "b"]) == "a"
    replies = ["<answer>7 s</answer>", "<answer>7 m</answer>", "<answer>7 m</answer>"]
    assert majority(numeric("7 m", "m"), replies) == replies[1]


def test_programs_vote_by_what_they_print():
    replies = [reply("print(3)"), reply("print(17)"), reply("print(10 + 7)")]
    assert majority(program(), replies) == replies[1]


def test_options_vote_by_letter():
    row = {"id": "c", "grader": "choice", "answer": "B", "options": ["low", "high"], "unit": None, "tolerance": None}
    replies = ["<answer>A</answer>", "<answer>high</answer>", "<answer>B</answer>"]
    assert majority(row, replies) == replies[1]
