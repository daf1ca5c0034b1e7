"""vLLM's offline engine as teacher, with a stand-in for the package: what it is given, what is made of its replies."""

import sys
import types
from dataclasses import dataclass
from typing import ClassVar

import pytest

from data_builders.llm.asking import open_teacher
from data_builders.llm.chat import Raw
from data_builders.llm.table import Teacher
from recipes.base.errors import RecipeError
from tests.helpers.served import chat

pytestmark = pytest.mark.slow


class Tokenizer:
    """A token is a word."""

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert not tokenize and add_generation_prompt
        return " ".join(turn["content"] for turn in messages)

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": text.split()}


@dataclass
class Sampling:
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    structured_outputs: object = None


@dataclass
class Held:
    json: dict


class Engine:
    calls: ClassVar = []

    def __init__(self, model, max_num_seqs):
        if model == "none":
            raise ValueError("no such model\nmore")
        self.llm_engine = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=90))

    def get_tokenizer(self):
        return Tokenizer()

    def generate(self, prompts, settings, use_tqdm):
        assert not use_tqdm
        self.calls.append((prompts, settings))
        return [self.reply(prompt["prompt_token_ids"], one) for prompt, one in zip(prompts, settings)]

    def reply(self, ids, settings):
        assert len(ids) < 90
        text = f'{{"text": "{ids[-1]} {settings.seed}"}}' if settings.structured_outputs else "free words without end"
        finish = "stop" if settings.structured_outputs else "length"
        return types.SimpleNamespace(
            outputs=[types.SimpleNamespace(text=text, finish_reason=finish, token_ids=[1, 2, 3])]
        )


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    module, sampling = types.ModuleType("vllm"), types.ModuleType("vllm.sampling_params")
    module.LLM, module.SamplingParams, sampling.StructuredOutputsParams = Engine, Sampling, Held
    module.__spec__ = types.SimpleNamespace(name="vllm")
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    monkeypatch.setattr(Engine, "calls", [])


def asked(path, chats, **changes):
    asker = open_teacher(Teacher(kind="transformers", model="m", use_vllm=True, **changes), path / "r.sqlite")
    try:
        return asker.each(chats, asker.ask)
    finally:
        asker.close()


def test_questions_go_to_the_engine_together_with_their_schema_and_come_back_in_order(tmp_path):
    answers = asked(tmp_path, [chat(n) for n in range(6)])
    assert [answer.value.text.split()[0] for answer in answers] == list("012345")
    assert len(Engine.calls) == 2, "the first alone, the others together"
    settings = [one for _, many in Engine.calls for one in many]
    assert all(one.structured_outputs.json == chat(0).json_schema and one.temperature == 1.0 for one in settings)
    assert len({one.seed for one in settings}) == 6 and {one.max_tokens for one in settings} == {86}
    assert asked(tmp_path, [chat(n) for n in range(6)]) == answers and len(Engine.calls) == 2, "kept in the store"


def test_free_text_is_held_to_nothing_and_its_end_at_the_limit_is_told(tmp_path):
    (answer,) = asked(tmp_path, [chat(1, None)])
    assert answer.dropped == "text: truncated, asked 3 times"
    assert Engine.calls[0][1][0].structured_outputs is None


def test_a_question_beyond_the_window_fails_alone(tmp_path):
    answers = asked(tmp_path, [chat(1), chat("long " * 100), chat(2)])
    assert [answer.value is None for answer in answers] == [False, True, False]
    assert "the model's window 90" in answers[1].dropped


def test_a_model_that_the_engine_does_not_load_is_a_clear_error(tmp_path):
    with pytest.raises(RecipeError, match="vLLM cannot load") as error:
        asker = open_teacher(Teacher(kind="transformers", model="none", use_vllm=True), tmp_path / "r.sqlite")
        asker.each([chat(1)], asker.ask)
    assert "no such model" in str(error.value) and "more" not in str(error.value)


def test_without_the_package_or_the_key_transformers_answers(tmp_path, monkeypatch):
    monkeypatch.setattr("data_builders.llm.local.Local", lambda table: Stub())
    for use in (False, True):
        if use:
            monkeypatch.delitem(sys.modules, "vllm")
            monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        asker = open_teacher(Teacher(kind="transformers", model="m", use_vllm=use), tmp_path / f"{use}.sqlite")
        assert asker.each([chat(1)], asker.ask)[0].value.text == "stub" and not Engine.calls
        asker.close()
    with pytest.raises(ValueError, match="use_vllm is for a local model"):
        Teacher(kind="openai", model="m", base_url="http://h/v1", use_vllm=True)


class Stub:
    async def complete(self, chat):
        return Raw('{"text": "stub"}')

    async def close(self):
        pass
