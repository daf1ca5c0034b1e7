"""A chat template is a program of the model's author: it runs in a sandbox, and its faults are ours to state."""

import pytest
from transformers import AutoTokenizer

from recipes.base.errors import RecipeError
from recipes.base.places import LAB_MODEL
from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.chat_template import render_chat

TURNS = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
HOSTILE = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "function globals": "{{ cycler.__init__.__globals__.os.system('touch FILE') }}",
    "format": "{{ '{0.__class__.__mro__}'.format(messages) }}{{ messages.__class__.__base__.__subclasses__() }}",
    "changed messages": "{{ messages.append({'role': 'user', 'content': 'x'}) }}",
    "import": "{% import '/etc/passwd' as x %}",
    "endless": "{% for n in range(10 ** 12) %}x{% endfor %}",
    "refusal": "{{ raise_exception('no assistant turns') }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_of_a_recipe_runs_in_the_same_sandbox(name, tmp_path):
    touched, file = tmp_path / "touched", tmp_path / "mine.jinja"
    file.write_text(HOSTILE[name].replace("FILE", str(touched)) + TURNS)
    with pytest.raises(RecipeError, match="chat template of the model cannot be rendered") as refused:
        loader.load_tokenizer(Model(chat_template=str(file)))
    assert "mine.jinja" in str(refused.value) and not touched.exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_that_reaches_out_of_the_sandbox_is_refused_and_runs_nothing(name, tmp_path):
    touched = tmp_path / "touched"
    tokenizer = AutoTokenizer.from_pretrained(LAB_MODEL)
    tokenizer.chat_template = HOSTILE[name].replace("FILE", str(touched)) + TURNS
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text((LAB_MODEL / "config.json").read_text(encoding="utf-8"))
    with pytest.raises(RecipeError, match="chat template of the model cannot be rendered"):
        loader.load_tokenizer(Model(name=str(tmp_path / "model")))
    assert not touched.exists()


def test_a_template_that_refuses_some_turns_is_told_with_their_roles(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(LAB_MODEL)
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TURNS
    )
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert render_chat(tokenizer, turns[1:], "model").startswith("Hello")
    with pytest.raises(RecipeError, match="cannot be rendered") as refused:
        render_chat(tokenizer, turns, "model")
    assert "turns system, user" in str(refused.value) and "no system" in str(refused.value)
