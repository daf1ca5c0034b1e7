"""LoRA's variants by key: each trains, and what is written gives the trained model back on an unchanged base."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM

from recipes.artifacts.steps import spec_of
from recipes.base.errors import ConfigErrors
from recipes.base.places import ROOT
from recipes.config.load import load
from recipes.config.schema import Model
from recipes.models import loader, training
from recipes.models.learnt_rows import make_examples
from recipes.stages import sft
from tests.helpers.tables import sft_table

IDS = torch.arange(5, 45).view(2, 20)


def tiny():
    torch.manual_seed(0)
    config = dict(vocab_size=3072, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    return Qwen3ForCausalLM(Qwen3Config(**config, num_attention_heads=2, num_key_value_heads=1, head_dim=16))


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.fixture(scope="module")
def tokenizer():
    return loader.load_tokenizer(Model())


@pytest.fixture(scope="module")
def dataset():
    def turn(role, text):
        return [{"role": role, "content": text}]

    return Dataset.from_list(
        [
            {"prompt": turn("user", f"Compute {n} + 1."), "completion": turn("assistant", f"<answer>{n + 1}</answer>")}
            for n in range(24)
        ]
    )


def make_trainer(out, tokenizer, dataset, **settings):
    common = dict(rank=4, alpha=8.0, epochs=1, batch_tokens=256, max_length=128, learning_rate=1e-2)
    table = sft_table(**common | settings)
    return sft.make_trainer(spec_of("sft", model=Model(), sft=table, seed=1), tiny(), tokenizer, dataset, 30.0, out)


@pytest.mark.parametrize(
    "settings",
    [{}, {"dora": True}, {"rslora": True}, {"init": "pissa"}, {"init": "pissa", "rslora": True}, {"lora_plus": 8.0}],
    ids=str,
)
def test_the_written_adapter_is_the_trained_model(tmp_path, tokenizer, dataset, settings):
    trainer = make_trainer(tmp_path, tokenizer, dataset, **settings)
    start = training.keep_start(trainer.model, tmp_path) if "init" in settings else None
    assert torch.allclose(logits(trainer.model).cpu(), logits(tiny()), atol=1e-5)
    trainer.train()
    trained = logits(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False))  # without bf16
    assert (trained - logits(tiny())).abs().max() > 0.01
    training.save_result(trainer.model, tmp_path / "adapter", start)
    back = loader.load_adapters(tiny(), {"sft": tmp_path / "adapter"})
    assert torch.allclose(logits(back), trained, atol=1e-4)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """The trainer of a self-constrained LoRA on the embedded base under 4-bit weights."""
    model = Model(quantization="nf4")
    base = loader.load_base(model, training=True)
    table = sft_table(
        rank=4,
        alpha=8.0,
        epochs=2,
        batch_tokens=256,
        max_length=128,
        learning_rate=1e-2,
        losses={"kl_to_reference": {"weight": 0.1}},
    )
    table = table.model_copy(update={"log_steps": 1})
    turns = [{"role": "user", "content": "Compute 2 + 1."}], [{"role": "assistant", "content": "<answer>3</answer>"}]
    rows = Dataset.from_list([{"prompt": turns[0], "completion": turns[1]}] * 16)
    stage = spec_of("sft", model=model, sft=table, seed=1)
    return sft.make_trainer(stage, base, loader.load_tokenizer(model), rows, 30.0, tmp_path_factory.mktemp("nf4"))


def test_four_bit_weights_still_give_gradients_after_a_pass_in_eval_mode(quantized):
    model = quantized.model.train()

    def slope():
        model.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.requires_grad])

    before = slope()
    logits(model)
    model.train()
    assert before.abs().max() > 0 and torch.allclose(slope(), before)


def test_an_adapter_on_four_bit_weights_trains_and_comes_back(quantized, tmp_path):
    trainer = quantized
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    training.save_result(trainer.model, tmp_path / "adapter")
    back = loader.load_adapters(loader.load_base(Model(quantization="nf4")), {"sft": tmp_path / "adapter"})
    trained = logits(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False))
    assert torch.allclose(logits(back), trained, atol=0.3)  # products in bf16 in the one, sums in another order


def test_a_run_shorter_than_the_lines_are_apart_leaves_its_last_step(tmp_path, tokenizer, dataset):
    trainer = make_trainer(tmp_path, tokenizer, dataset, log_steps=50)
    trainer.add_callback(training.Watch(SimpleNamespace(advance=lambda *_: None, total=0), "sft"))
    trainer.train()
    lines = [entry["step"] for entry in trainer.state.log_history if "loss" in entry]
    assert lines == [trainer.state.max_steps] and lines[0] < 50


def test_lora_plus_gives_b_the_larger_rate(tmp_path, tokenizer, dataset):
    trainer = make_trainer(tmp_path, tokenizer, dataset, lora_plus=8.0)
    trainer.create_optimizer()
    names = {id(p): n for n, p in trainer.model.named_parameters()}
    rates = {
        ("B" if "lora_B" in names[id(p)] else "A"): g["lr"] for g in trainer.optimizer.param_groups for p in g["params"]
    }
    assert rates["B"] == pytest.approx(8 * rates["A"]) and rates["A"] == pytest.approx(1e-2)


@pytest.mark.parametrize(
    "sets, key",
    [
        (["sft.adapter.init=pissa", "sft.losses.kl_to_reference.weight=0.1"], "sft.losses.kl_to_reference: "),
        (["sft.adapter.init=pissa", "sft.adapter.dora=true"], "sft.adapter.init: "),
        (["sft.adapter.init=pissa", "model.quantization=nf4"], "sft.adapter.init: "),
        (["sft.adapter.use=full", "sft.adapter.dora=true"], "sft.adapter.dora: unknown key"),
        (["sft.adapter.use=full", "sft.adapter.lora_plus=4.0"], "sft.adapter.lora_plus: unknown key"),
        (["sft.losses.expert_balance.weight=0.1"], "sft.losses.expert_balance: "),
        (["sft.adapter.experts=4"], "sft.adapter.experts: unknown key"),
        (["sft.adapter.use=loramoe", "sft.adapter.experts=4", "sft.adapter.general=5"], "sft.adapter.general"),
        (["sft.adapter.use=loramoe", "sft.losses.expert_balance.form=sample_cv2"], "sft.losses.expert_balance.scope: "),
        (["sft.adapter.use=loramoe", "sft.adapter.dora=true"], "sft.adapter.dora: unknown key"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused_before_the_run(sets, key):
    with pytest.raises(ConfigErrors) as refused:
        load(ROOT / "recipes.toml", "analogseeker", "embedded", sets)
    assert key in str(refused.value)


def test_loramoe_learns_which_experts_are_for_general_rows_and_comes_back(tmp_path, tokenizer, dataset):
    general = {"prompt": "Which words stand in the list of towns?", "completion": "Lima Paris Rome Oslo Quito"}
    general = {key: [dataset[0][key][0] | {"content": text}] for key, text in general.items()} | {"kind": "world"}
    pairs = [each for pair in zip(dataset, [general] * 24, strict=True) for each in pair]
    rows = Dataset.from_list(make_examples(tokenizer, pairs)[0])
    assert rows["sample_type"][:4] == [0, 1, 0, 1]
    losses = {"expert_balance": {"weight": 1.0, "delta": 0.3}}
    trainer = make_trainer(tmp_path, tokenizer, rows, method="loramoe", epochs=3, log_steps=1, losses=losses)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "balance/loss" in entry]
    assert log[-1]["balance/loss"] < log[0]["balance/loss"]
    assert log[-1]["balance/matched_1"] > log[0]["balance/matched_1"] + 0.02
    training.save_result(trainer.model, tmp_path / "adapter")
    back = loader.load_adapters(tiny(), {"sft": tmp_path / "adapter"})
    trained = logits(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False))
    assert torch.allclose(logits(back), trained, atol=1e-4)
