"""A base whose chat template cannot be learnt from is refused by `check`, and by a run before rows are paid for."""

import json
import shutil

import pytest

from recipes import cli, pipeline
from recipes.artifacts.steps import key_of, prepare
from recipes.artifacts.store import SCHEMA
from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests
from recipes.base.places import LAB_MODEL, ROOT
from recipes.config.load import load
from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.chat_form import chat_form_of

ENDLESS = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}"
INST = (
    "{% for turn in messages %}{% if turn.role == 'user' %}[INST] {{ turn.content }} [/INST]{% else %}"
    " {{ turn.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


@pytest.fixture
def bare(tmp_path):
    """The embedded base as a base model is published: no chat template, and an end token of texts."""
    shutil.copytree(LAB_MODEL, tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    file = tmp_path / "bare" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token": "<|endoftext|>"}))
    return tmp_path / "bare"


def written(tmp_path, text):
    (tmp_path / "mine.jinja").write_text(text)
    return str(tmp_path / "mine.jinja")


def type_words(*words):
    return cli.main([str(word) for word in words])


def test_a_base_without_a_template_gets_one_by_name_or_by_file(bare, tmp_path):
    with pytest.raises(RecipeError, match="no chat template"):
        loader.load_tokenizer(Model(name=str(bare)))
    named = loader.load_tokenizer(Model(name=str(bare), chat_template="qwen2_5"))
    assert named.eos_token == "<|im_end|>" and chat_form_of(named).document_end == "<|endoftext|>"
    own = loader.load_tokenizer(Model(name=str(bare), chat_template=written(tmp_path, INST)))
    turns = [{"role": "user", "content": "Hi"}]
    assert own.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == "[INST] Hi [/INST]"
    assert own.eos_token == "<|endoftext|>" and chat_form_of(own).write("Yes") == " Yes<|endoftext|>"
    assert chat_form_of(own).template.endswith("mine.jinja")


def test_a_template_whose_end_is_no_token_of_the_base_is_refused(bare):
    with pytest.raises(RecipeError, match=r"chat template smolvlm .*never stop"):
        loader.load_tokenizer(Model(name=str(bare), chat_template="smolvlm"))


def test_check_says_how_a_base_is_used_and_refuses_one_that_cannot_be(bare, tmp_path, capsys):
    words = ["check", "reft", "--profile", "embedded", "--runs", tmp_path, "--set", f"model.name={bare}"]
    words += ["--set", "rows=false"]
    assert type_words(*words) == 1 and "no chat template" in capsys.readouterr().err
    good = [*words, "--set", "model.chat_template=qwen2_5"]
    assert type_words(*good) == 0
    assert "chat template qwen2_5, held as it is; a reply ends with <|im_end|>" in capsys.readouterr().out
    assert type_words(*words, "--set", f"model.chat_template={written(tmp_path, ENDLESS)}") == 1
    assert "never stop" in capsys.readouterr().err
    assert type_words(*words, "--set", "model.chat_template=qwen25") == 1
    assert "did you mean 'qwen2_5'" in capsys.readouterr().err


def test_a_run_refuses_it_before_rows_are_made(bare, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.stages.data.run", lambda *_: pytest.fail("rows were made"))
    sets = [f"model.name={bare}", f"model.chat_template={written(tmp_path, ENDLESS)}", "rows=false"]
    recipe = load(ROOT / "recipes.toml", "reft", "embedded", sets)
    for until in ("report", "data"):
        with pytest.raises(RecipeError, match="never stop"):
            pipeline.run(pipeline.Job(recipe, tmp_path / "runs"), until)


def test_rows_may_be_made_where_the_base_is_not_at_hand(tmp_path, monkeypatch):
    def write_rows(spec, inputs, out, runtime):
        (out / "sft.jsonl").write_text("{}\n")
        return {"tokens": 0}

    monkeypatch.setattr("recipes.stages.data.run", write_rows)
    recipe = load(ROOT / "recipes.toml", "reft", "embedded", ["model.name=nobody/nothing", "rows=false"], here=False)
    job = pipeline.Job(recipe, tmp_path / "runs")
    with pytest.raises(RecipeError, match="tokenizer cannot be loaded"):
        pipeline.run(job, "sft")
    assert list(pipeline.run(job, "data")) == ["data"]


def test_the_template_is_part_of_what_a_result_is_and_its_place_is_not(bare, tmp_path):
    def keys(template):
        sets = [f"model.name={bare}", f"model.chat_template={template}", "rows=false"]
        recipe = load(ROOT / "recipes.toml", "reft", "embedded", sets)
        (sft,) = [step for step in prepare(recipe) if step.step.kind == "sft"]
        data = tmp_path / "data-1"
        data.mkdir(exist_ok=True)
        manifest = {"schema": SCHEMA, "stage": "data", "version": 1, "fingerprint": "0", "spec": {}, "inputs": {}}
        (data / "manifest.json").write_text(json.dumps(manifest | {"outputs": {"sft.jsonl": "1"}}))
        return key_of(sft, {"data": data}, Digests(tmp_path / "digests.json")).fingerprint

    other = tmp_path / "other"
    other.mkdir()
    first = keys(written(tmp_path, INST))
    assert keys(written(other, INST)) == first
    assert keys(written(tmp_path, INST + " ")) != first and keys("qwen2_5") != first
