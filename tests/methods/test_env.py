"""Environments: the calculator by itself, and reinforcement in which the model may call it."""

import json
from pathlib import Path

import pytest
import trl
from trl.trainer import grpo_trainer

from recipes.artifacts.lineage import Inputs
from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl, write_jsonl
from recipes.base.runtime import Runtime
from recipes.config.schema import Model
from recipes.methods.env import calculator
from recipes.methods.rl import grpo
from recipes.models import loader
from recipes.models.rewards import text_of
from recipes.stages import rl
from tests.helpers.tiny_text import tiny_model


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", "14"),
        ("(1 + 2) ^ 3 / 9", "3"),
        ("-2 ** 2", "-4"),
        ("sqrt(2)", "1.41421"),
        ("log10(1e3) + abs(-2)", "5"),
        ("2 * pi * 50", "314.159"),
        ("7 % 4 // 2", "1"),
    ],
)
def test_arithmetic_is_worked_out(expression, value):
    assert calculator.Calculator(calculator.Config()).calculate(expression) == value


NOT_ARITHMETIC = ["__import__('os').getcwd()", "(1).__class__", "open('x')", "[1, 2]", "'a' * 3", "lambda: 1", "x + 1"]
NOT_ARITHMETIC += ["1 if 1 else 2", "True + 1", "1 +", "", "1j", "sqrt(1, 2)", "sqrt(x=4)", "1" * 201, "-" * 150 + "1"]
NO_VALUE = ["1 / 0", "9 ** 9 ** 9 ** 9", "sqrt(-1)", "(-8) ** (1 / 3)", "1e308 * 10"]


@pytest.mark.parametrize("expression", NOT_ARITHMETIC + NO_VALUE)
def test_anything_else_is_an_error_and_no_exception(expression):
    assert calculator.Calculator(calculator.Config()).calculate(expression).startswith("error: ")


def test_calls_are_counted_until_the_next_conversation():
    tool = calculator.make_environment(calculator.Config(calls=2, digits=3), None)()
    assert [tool.calculate("1 / 3") for _ in range(3)] == ["0.333", "0.333", "error: no calls are left"]
    tool.reset(prompt="another")
    assert tool.calculate("2 / 3") == "0.667"


def test_a_reply_with_tools_is_graded_by_its_last_turn():
    turns = [
        {"role": "assistant", "content": "", "tool_calls": [{}]},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "It is 4."},
    ]
    assert text_of(turns) == "It is 4." and text_of(turns[:2]) == "" and text_of("plain") == "plain"
    assert text_of([{"role": "assistant", "content": None}]) == "" and text_of(turns[2:]) == "It is 4."


@pytest.fixture
def base(tmp_path):
    """A tiny model whose chat template writes tools, as TRL knows it of Qwen3."""
    model = tiny_model(tmp_path / "base")
    tokenizer = loader.load_tokenizer(model)
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")
    tokenizer.save_pretrained(tmp_path / "base")
    return model


def rl_spec(model, **more):
    settings = {"steps": 2, "prompts_per_step": 2, "group_size": 2, "max_completion_length": 24, **more}
    own = {"calculator": calculator.Config(use="calculator")}
    return spec_of("rl", model=model, seed=0, rl=rl.Config(method=grpo.Config(use="grpo"), env=own, **settings))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    row = {"prompt": [{"role": "user", "content": "2 + 2?"}], "grader": "numeric", "answer": "4", "options": None}
    row |= {"unit": None, "tolerance": 0.01}
    write_jsonl(tmp_path / "data" / "rl.jsonl", [row | {"id": str(number)} for number in range(4)])
    return tmp_path / "data"


def test_two_steps_of_grpo_in_which_the_tool_is_called(base, data, tmp_path, monkeypatch):
    """The tiny model cannot write a call, so every first turn is read as one; the rest is TRL's own loop."""
    asked, real = [], calculator.Calculator.calculate
    called = [{"type": "function", "function": {"name": "calculate", "arguments": {"expression": "2 + 2"}}}]

    def parse(tokenizer, ids, prefix=None, tools=None):
        text = tokenizer.decode(prefix)
        message = {"role": "assistant", "content": ""}
        return message if "<tool_response>" in text else message | {"tool_calls": called}

    def calculate(self, expression: str) -> str:
        asked.append(real(self, expression))
        return asked[-1]

    calculate.__doc__ = real.__doc__
    monkeypatch.setattr(grpo_trainer, "parse_response", parse)
    monkeypatch.setattr(calculator.Calculator, "calculate", calculate)
    (tmp_path / "out").mkdir()
    done = rl.run(rl_spec(base), Inputs({"data": data}), tmp_path / "out", Runtime())
    assert done["steps"] == 2 and len(read_jsonl(tmp_path / "out" / "training.jsonl")) == 2
    assert asked == ["4"] * 8
    assert json.loads((tmp_path / "out" / "model" / "config.json").read_text())["num_hidden_layers"] == 2


def test_a_base_whose_template_shows_no_tools_is_refused(data, tmp_path):
    (tmp_path / "out").mkdir()
    model = tiny_model(tmp_path / "plain")
    with pytest.raises(RecipeError, match="cannot show tools"):
        rl.run(rl_spec(Model(name=model.name)), Inputs({"data": data}), tmp_path / "out", Runtime())
