"""What is another on a GPU: bf16, 4-bit weights, checkpointing, and where tensors lie. By hand:

python -m pytest --noconftest tests/gpu/on_cuda.py
"""

import json
import math

import pytest
import torch
from datasets import Dataset

from recipes.artifacts.steps import spec_of
from recipes.base.runtime import Runtime
from recipes.cli import main
from recipes.config.schema import Model
from recipes.models import loader, training
from recipes.stages import rl, sft
from tests.helpers.tables import rl_table, sft_table

IDS = torch.arange(5, 45).view(2, 20)
TURNS = [[{"role": "user", "content": "Compute 2 + 1."}], [{"role": "assistant", "content": "<answer>3</answer>"}]]
COMMON = {"epochs": 4, "batch_tokens": 256, "max_length": 128, "learning_rate": 1e-2, "log_steps": 1}
RANK = {"rank": 4, "alpha": 8.0}
KL = {"kl_to_reference": {"weight": 0.1}}
BALANCED = {"method": "loramoe", "losses": {**KL, "expert_balance": {"weight": 0.1, "delta": 0.3}}, **RANK}
METHODS = {
    "lora": (Model(), RANK),
    "four bits": (Model(quantization="nf4"), RANK),
    "loramoe": (Model(), BALANCED),
    "loramoe on four bits": (Model(quantization="nf4"), BALANCED),
    "full": (Model(), {"method": "full", "learning_rate": 1e-3}),
}
REINFORCEMENT = {
    "grpo": rl_table(group_size=4, prompts_per_step=2),
    "rloo": rl_table(algorithm="rloo", group_size=4, prompts_per_step=2, beta=0.05),
    "ppo": rl_table(algorithm="ppo", group_size=1, prompts_per_step=8, beta=0.05, partial=0.1),
}


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS.to(model.device)).logits.float()


def test_the_base_lies_on_the_gpu_in_bf16_and_takes_a_fused_attention():
    base = loader.load_base(Model())
    assert base.device.type == "cuda" and base.dtype == torch.bfloat16
    assert base.config._attn_implementation in ("sdpa", "flash_attention_2")


@pytest.mark.parametrize("name", METHODS)
def test_supervised_tuning_learns_and_comes_back(name, tmp_path):
    model, settings = METHODS[name]
    table = sft_table(**{"losses": KL} | COMMON | settings)
    rows = [{"prompt": TURNS[0], "completion": TURNS[1], "sample_type": n % 2} for n in range(16)]
    spec = spec_of("sft", model=model, sft=table, seed=1)
    base = loader.load_base(model, training=True)
    trainer = sft.make_trainer(spec, base, loader.load_tokenizer(model), Dataset.from_list(rows), 30.0, tmp_path)
    assert trainer.args.gradient_checkpointing and trainer.args.bf16
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "ce" in entry]
    assert log[-1]["ce"] < 0.5 * log[0]["ce"] and all(math.isfinite(entry["kl/mean"]) for entry in log)
    training.save_result(trainer.model, tmp_path / "result")
    trained = logits(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False))
    if name == "full":
        back = loader.load_base(Model(name=str(save_tokenizer(tmp_path / "result"))))
    else:
        back = loader.load_adapters(loader.load_base(model), {"sft": tmp_path / "result"})
    there = logits(back)
    assert (there - trained).abs().max() < 0.05 * (trained - logits(loader.load_base(model))).abs().max()


def save_tokenizer(folder):
    loader.load_tokenizer(Model()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", REINFORCEMENT)
def test_reinforcement_trains_the_adapter_on(name, tmp_path):
    from peft import LoraConfig, get_peft_model

    short = dict(steps=2, micro_batch=4, max_completion_length=24, learning_rate=1e-2, temperature=1.0)
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    training.save_result(get_peft_model(loader.load_base(Model()), adapter), tmp_path / "sft" / "adapter")
    row = {"grader": "numeric", "options": None, "unit": None, "tolerance": 0.01}
    rows = [
        row | {"prompt": [{"role": "user", "content": f"Compute {n} + 1."}], "answer": str(n + 1), "difficulty": n}
        for n in range(12)
    ]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rl.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = spec_of("rl", model=Model(), rl=REINFORCEMENT[name].model_copy(update=short), seed=3)
    (tmp_path / "out").mkdir()
    inputs = {"data": tmp_path / "data", "sft": tmp_path / "sft"}
    metrics = rl.run(spec, inputs, tmp_path / "out", Runtime())
    assert metrics["steps"] == 2
    history = [json.loads(line) for line in (tmp_path / "out" / "training.jsonl").read_text().splitlines()]
    assert all(math.isfinite(entry["loss"]) for entry in history)


def test_a_whole_recipe_ends_in_a_report(tmp_path):
    settings = ["data.sft_rows=300", "sft.epochs=1", "rl.steps=2", "eval.max_new_tokens=24", "eval.infer={}"]
    settings += ['eval.tasks=["reft_problems"]', "eval.general=[]"]
    options = [part for setting in settings for part in ("--set", setting)]
    assert main(["run", "reft", "--runs", str(tmp_path / "runs"), *options]) == 0
    [report] = (tmp_path / "runs").rglob("index.html")
    assert "NVIDIA" in report.read_text(encoding="utf-8")
