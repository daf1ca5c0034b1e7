"""What is exported of a run on 4-bit weights is usable, and says how far it is the model that was evaluated."""

import json
import re

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipes.artifacts.store import Key, write_json
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.commands import export
from recipes.config.load import load
from recipes.models import checkpoints, loader, training
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.loramoe.register import register
from recipes.models.value_head import attach_value_head, with_head_saved
from recipes.pipeline import Job

pytestmark = pytest.mark.slow

pytest.importorskip("bitsandbytes")
IDS = torch.arange(5, 45).view(2, 20)
PROMPTS = [f"Compute {number} + 1." for number in range(12)]


def make_adapter(kind: str, base):
    """An adapter on `base` that changes its replies."""
    if kind == "loramoe":
        register()
        config = LoraMoeConfig(init_weights=False, dropout=0.0, task_type="CAUSAL_LM")
    else:
        config = LoraConfig(
            r=4, lora_alpha=8, target_modules="all-linear", use_dora=kind == "dora", task_type="CAUSAL_LM"
        )
    if kind == "ppo":
        attach_value_head(base)
        config = with_head_saved(config)
    torch.manual_seed(0)
    model = get_peft_model(base, config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def make_job(home, kind: str) -> Job:
    """A run of data and sft on 4-bit weights of the embedded base, as it stands on disk."""
    settings = ["model.quantization=nf4", "eval.max_new_tokens=8", "eval.batch_size=4"]
    job = Job(load(ROOT / "recipes.toml", "analogseeker", "embedded", settings, True), home)
    for stage in ("data", "sft"):
        folder = job.home / f"{stage}-01234567"
        folder.mkdir(parents=True)
        write_json(folder / "manifest.json", Key(stage, 1, {}, {}).described() | {"outputs": {}, "metrics": {}})
    write_json(job.home / "latest.json", {stage: f"{stage}-01234567" for stage in ("data", "sft")})
    rows = [{"id": prompt, "prompt": [{"role": "user", "content": prompt}]} for prompt in PROMPTS]
    (job.home / "data-01234567" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    training.save_result(make_adapter(kind, loader.load_base(job.recipe.model)), job.home / "sft-01234567" / "adapter")
    return job


def reply(model, tokenizer) -> list[str]:
    loader.stop_with(tokenizer, model)
    rows = [{"prompt": [{"role": "user", "content": prompt}]} for prompt in PROMPTS]
    return [text for i in range(0, 12, 4) for text in checkpoints.reply(model.eval(), tokenizer, rows[i : i + 4], 8)]


@pytest.mark.parametrize("kind", ["lora", "dora", "ppo"])
def test_the_adapter_is_merged_into_the_unquantised_base_and_the_card_compares_both(kind, tmp_path, capsys):
    job = make_job(tmp_path / "runs", kind)
    export.run(job, to=tmp_path / "out")
    printed = capsys.readouterr().out
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as weights:
        names = list(weights.keys())
        assert {weights.get_tensor(name).dtype for name in names} == {torch.float32}
    assert not [name for name in names if "v_head" in name or "absmax" in name or "lora" in name]
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    adapter = {"default": job.home / "sft-01234567" / "adapter"}
    plain = job.recipe.model.model_copy(update={"quantization": "none"})
    tokenizer = loader.load_tokenizer(plain)
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    replies = reply(written, AutoTokenizer.from_pretrained(tmp_path / "out", padding_side="left"))
    expected = loader.load_adapters(loader.load_base(plain), adapter)
    assert torch.allclose(written(IDS).logits, expected(IDS).logits, atol=1e-4)
    assert replies == reply(expected, tokenizer) != reply(loader.load_base(plain), tokenizer)
    learnt = reply(loader.load_adapters(loader.load_base(job.recipe.model), adapter), tokenizer)
    alike = sum(a == b for a, b in zip(replies, learnt, strict=True))
    assert "the reply of the adapter on the unquantised base to 12 of 12 test prompts" in printed
    assert f"the reply of the 4-bit model, whose scores are known, to {alike} of 12" in printed
    card = (tmp_path / "out" / "README.md").read_text()
    assert "This folder and the adapter on the unquantised base gave the same reply to 12 of 12 test prompts" in card
    assert f"gave the reply of the 4-bit model to {alike} of the 12 test prompts" in card


def test_the_base_alone_is_exported_in_its_own_weights(tmp_path, capsys):
    job = make_job(tmp_path / "runs", "lora")
    export.run(job, model="base", to=tmp_path / "out")
    assert "the reply of the unquantised base to 12 of 12 test prompts" in capsys.readouterr().out
    base = loader.load_base(job.recipe.model.model_copy(update={"quantization": "none"}))
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "out")(IDS).logits, base(IDS).logits)


def test_an_adapter_that_cannot_be_merged_is_loaded_on_four_bit_weights_by_its_card(tmp_path, capsys):
    job = make_job(tmp_path / "runs", "loramoe")
    export.run(job, to=tmp_path / "out")
    assert "the reply of the model that was trained to 12 of 12 test prompts" in capsys.readouterr().out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "gave the reply of the 4-bit model to" not in card
    shown = {}
    exec(re.search(r"```python\n(.*?)```", card, re.S)[1], shown)
    tuned = {"default": job.home / "sft-01234567" / "adapter"}
    expected = loader.load_adapters(loader.load_base(job.recipe.model), tuned)
    loader.keep_differentiable(shown["base"])  # else packed anew on some CPUs
    assert torch.equal(shown["model"].eval()(IDS).logits, expected.eval()(IDS).logits)


def test_a_folder_that_answers_otherwise_is_refused_in_words(tmp_path, monkeypatch):
    job = make_job(tmp_path / "runs", "lora")
    real = export.write_merged

    def write_damaged(model, folder):
        real(model, folder)
        damaged = AutoModelForCausalLM.from_pretrained(folder)
        damaged.get_input_embeddings().weight.data.mul_(-1)
        damaged.save_pretrained(folder)

    monkeypatch.setattr(export, "write_merged", write_damaged)
    with pytest.raises(RecipeError, match="answers otherwise than the adapter on the unquantised base"):
        export.run(job, to=tmp_path / "out")
    assert not (tmp_path / "out").exists()
