"""What learns on 4-bit weights learns in float32, whichever trainer it is: steps of 1e-5 are not lost in rounding."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig

from recipes.artifacts.steps import spec_of
from recipes.base.runtime import Runtime
from recipes.models import loader, rl_trainer, training
from recipes.stages import cpt, rl, sft
from tests.helpers.tables import cpt_table, rl_table, sft_table
from tests.helpers.tiny_text import tiny_model

pytest.importorskip("bitsandbytes")
RATE = 1e-5
SUPERVISED = {
    "lora": {},
    "dora": {"dora": True},
    "loramoe": {"method": "loramoe", "losses": {"expert_balance": {"weight": 0.01}}},
    "kl": {"losses": {"kl_to_reference": {"weight": 0.1}}},
}
SAMPLED = {
    "grpo": {"beta": 0.05},
    "rloo": {"algorithm": "rloo", "beta": 0.05},
    "ppo": {"algorithm": "ppo", "beta": 0.05},
    "online_self_training": {"algorithm": "online_self_training"},
    "offline_self_training": {"algorithm": "offline_self_training"},
}
TURNS = {
    "prompt": [{"role": "user", "content": "Compute 2 + 1."}],
    "completion": [{"role": "assistant", "content": "<answer>3</answer>"}],
}
ABOUT = {"id": "r", "difficulty": 0, "reply": "<answer>3</answer>"}
GRADED = {"grader": "numeric", "answer": "3", "options": None, "unit": None, "tolerance": 0.01}
KINDS = [*SUPERVISED, "second stage", *SAMPLED, "cpt"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """(the table of a 4-bit random base, the folder of an adapter for it whose weights need more than eight bits)."""
    home = tmp_path_factory.mktemp("base")
    model = tiny_model(home / "base")
    ends = GenerationConfig(eos_token_id=list(range(0, 3000, 3)))  # so that the replies of a random model end
    ends.save_pretrained(home / "base")
    model = model.model_copy(update={"quantization": "nf4"})
    tuned = get_peft_model(loader.load_base(model), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    training.save_result(tuned, home / "sft" / "adapter")
    return model, home / "sft"


@pytest.fixture(autouse=True)
def lively(monkeypatch):
    """Replies of a random model are all wrong; this reward differs between them."""
    monkeypatch.setattr(rl_trainer, "accuracy_reward", accuracy_reward)


def accuracy_reward(completions, **_):
    return [float(len(reply[0]["content"]) % 2) for reply in completions]


def made(kind, base, folder):
    model, tuned = base
    tokenizer = loader.load_tokenizer(model)
    if kind in SAMPLED:
        short = {"steps": 2, "prompts_per_step": 4, "group_size": 4, "max_completion_length": 4, "learning_rate": RATE}
        spec = spec_of("rl", model=model, rl=rl_table(**short | SAMPLED[kind]), seed=1)
        policy, rows = rl_trainer.load_policy(spec, {"sft": tuned}), [TURNS | GRADED | ABOUT] * 8
        trainer, _ = rl_trainer.make_trainer(spec, policy, tokenizer, rows, folder, Runtime())
        return trainer
    if kind == "cpt":
        table = cpt_table(method="lora", max_length=32, batch_tokens=64, learning_rate=RATE)
        spec = spec_of("cpt", model=model, cpt=table, seed=1)
        return cpt.make_trainer(
            spec, cpt.load_start(spec, {}, training=True), [list(range(8, 40))] * 8, tokenizer, folder
        )
    table = sft_table(epochs=1, batch_tokens=128, max_length=64, learning_rate=RATE, **SUPERVISED.get(kind, {}))
    spec = spec_of("sft", model=model, sft=table, seed=1)
    start = sft.load_start(spec, {"sft_general": tuned} if kind == "second stage" else {})
    rows = Dataset.from_list([TURNS | {"sample_type": number % 2} for number in range(16)])
    return sft.make_trainer(spec, start, tokenizer, rows, 30.0, folder)


def learning(trainer):
    return {name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_is_lost_in_rounding_and_a_run_goes_through(kind, base, tmp_path):
    trainer = made(kind, base, tmp_path)
    weights = learning(trainer)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    if kind == "ppo":
        assert any("v_head" in name for name in weights)
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = trainer.create_optimizer()
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    for name, weight in weights.items():
        assert torch.allclose(weight - before[name], torch.tensor(-RATE), rtol=0.1), name
        weight.data.copy_(before[name])
    trainer.optimizer = None
    trainer.train()
    moved = {name for name, weight in learning(trainer).items() if not torch.equal(weight, before[name])}
    assert moved and all(weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize("kind", ["lora", "dora", "loramoe", "second stage", "grpo", "ppo"])
def test_a_base_whose_other_weights_are_bf16_trains_too(kind, base, tmp_path):
    model, tuned = base
    trainer = made(kind, (model.model_copy(update={"dtype": "bfloat16"}), tuned), tmp_path)
    assert trainer.model.get_input_embeddings().weight.dtype == torch.bfloat16
    weights = learning(trainer)
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    trainer.train()
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert any(not torch.equal(weight, before[name]) for name, weight in weights.items())


@pytest.mark.parametrize("kind", ["second stage", *SAMPLED])
def test_an_adapter_that_was_there_starts_as_it_is_on_disk(kind, base, tmp_path):
    kept = learning(made(kind, base, tmp_path))
    there = loader.load_adapters(loader.load_base(base[0]), {"default": base[1] / "adapter"}, trainable=True)
    for name, weight in there.named_parameters():
        if weight.requires_grad:
            assert torch.equal(weight, kept[name]), name


def test_a_model_whose_every_weight_learns_keeps_the_dtype_that_its_recipe_names(tmp_path):
    model = tiny_model(tmp_path / "base").model_copy(update={"dtype": "bfloat16"})
    table = sft_table(method="full", epochs=1, batch_tokens=128, max_length=64)
    spec = spec_of("sft", model=model, sft=table, seed=1)
    rows = Dataset.from_list([TURNS] * 4)
    trainer = sft.make_trainer(spec, loader.load_base(model), loader.load_tokenizer(model), rows, 30.0, tmp_path)
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.bfloat16}


def test_the_pilot_of_every_algorithm_runs_before_there_is_an_adapter(base):
    for name in ("ppo", "grpo"):
        table = rl_table(**{"prompts_per_step": 4, "group_size": 2, "max_completion_length": 4} | SAMPLED[name])
        assert rl.pilot(spec_of("rl", model=base[0], rl=table, seed=1), {}, Runtime()) > 0
