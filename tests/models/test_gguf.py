"""A GGUF file is a base: unpacked once beside the runs, known by its content, refused where it cannot be read."""

import json

import pytest
import torch

from recipes import cli
from recipes.base.errors import RecipeError
from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.gguf import SOURCE, choose_folder, convert_gguf, with_weights


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    pytest.importorskip("gguf", reason="the package gguf reads such files")
    from tests.helpers.gguf_files import write_gguf

    return write_gguf(tmp_path_factory.mktemp("gguf") / "lab.Q8_0.gguf")


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory):
    return convert_gguf(file, tmp_path_factory.mktemp("bases") / "lab")


def test_the_weights_are_those_of_the_file(folder):
    ours, theirs = loader.load_base(Model(name=str(folder))), loader.load_base(Model())
    assert ours.config.tie_word_embeddings and not hasattr(ours.config, "quantization_config")
    for (name, weight), (other, expected) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        blocks = expected.detach().flatten().reshape(-1, 32) if expected.ndim > 1 else expected.detach()[:, None]
        allowed = blocks.abs().amax(1, keepdim=True) * (0.5 / 127 + 2**-8)  # half a step of 8 bits, and bfloat16
        off = (weight - expected).detach().abs().reshape(blocks.shape)
        assert name == other and (off <= allowed + 1e-6).all(), name


def test_it_answers_with_its_own_template_and_end_token(folder):
    tokenizer = loader.load_tokenizer(Model(name=str(folder)))
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.chat_template.startswith("{%- for message")
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=True, return_dict=False)
    with torch.no_grad():
        logits = loader.load_base(Model(name=str(folder)))(torch.tensor([ids])).logits
        expected = loader.load_base(Model())(torch.tensor([ids])).logits
    assert (logits.softmax(-1) - expected.softmax(-1)).abs().max() < 0.05


def test_it_is_unpacked_once_and_another_file_of_that_name_apart(file, tmp_path):
    told = []
    first = with_weights(Model(name=str(file)), tmp_path, told.append)
    written = (tmp_path / "bases").glob("*/model.safetensors").__next__().stat().st_mtime_ns
    again = with_weights(Model(name=str(file)), tmp_path, told.append)
    assert first == again and len(told) == 1
    assert next((tmp_path / "bases").glob("*/model.safetensors")).stat().st_mtime_ns == written
    other = tmp_path / file.name
    other.write_bytes(file.read_bytes() + b"\0")
    assert choose_folder(other, tmp_path) != choose_folder(file, tmp_path)


def test_a_folder_of_something_else_is_not_taken_for_the_weights(file, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / SOURCE).write_text(json.dumps({"sha256": "0"}))
    with pytest.raises(RecipeError, match="holds something else"):
        convert_gguf(file, tmp_path / "x")


@pytest.mark.parametrize("fault", ["text", "cut", "architecture"])
def test_a_file_that_cannot_be_read_is_refused_and_leaves_nothing(fault, file, tmp_path):
    content = file.read_bytes()
    broken = {
        "text": b"not a model",
        "cut": content[: len(content) // 2],
        "architecture": content.replace(b"qwen3", b"qwerx"),
    }
    path = tmp_path / "x.gguf"
    path.write_bytes(broken[fault])
    with pytest.raises(RecipeError, match=r"model\.name"):
        convert_gguf(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipe_may_name_the_file(file, tmp_path, capsys):
    words = ["analogseeker", "--runs", str(tmp_path), "--set", f"model.name={file}"]
    job = cli.job_of(_options("plan", *words))
    assert job.recipe.model.name.startswith(str(tmp_path / "bases"))
    assert "unpacked" in capsys.readouterr().out
    with pytest.raises(RecipeError, match="no such model folder"):
        cli.job_of(_options("plan", *words[:-1], "model.name=./absent.gguf"))


def _options(*words):
    options = cli.parser().parse_args(words)
    options.argv = list(words)
    return options
