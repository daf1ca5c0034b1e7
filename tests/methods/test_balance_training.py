"""The balance term in a model under checkpointing and in TRL's trainer: gradient, evaluation, resume."""

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed
from trl import SFTConfig

from recipes.base.errors import RecipeError
from recipes.config.schema import Model
from recipes.methods.losses.expert_balance.loss import ExpertBalance
from recipes.models import loader
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.routing import routing_statistics
from recipes.models.sft_trainer import LossTrainer
from tests.helpers.balance_rank import batch_of, gradient


def tiny(seed=0, **values):
    """A model of the embedded tokenizer with a LoRAMoE adapter."""
    torch.manual_seed(seed)
    base = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(loader.load_tokenizer(Model())),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )
    return get_peft_model(base, LoraMoeConfig(task_type="CAUSAL_LM", dropout=0.0, **values))


def router_gradient(reentrant):
    """Of the balance term alone, with checkpointing of that kind; None: without."""
    model = tiny(init_weights=False).train()
    if reentrant is not None:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    batch, term = batch_of(6), ExpertBalance(1.0, [1, 1, 1, 0, 0, 0])
    with term.capture(model):
        tokens = model(**{k: batch[k] for k in ("input_ids", "attention_mask", "labels")}, use_cache=False).loss
    (term.loss(model, batch, 1.0, 0.0)[0] + 0 * tokens).backward()
    return gradient(model)


def test_checkpointing_keeps_the_gradient_and_its_reentrant_kind_is_refused():
    plain = router_gradient(None)
    assert plain.any() and torch.allclose(router_gradient(False), plain, atol=1e-7)
    with pytest.raises(RecipeError, match="use_reentrant"):
        router_gradient(True)


HALVES = {"0": slice(3, 6), "1": slice(0, 3)}  # experts of each type


def trained(folder, weight, resume=None, scope="buffer"):
    """A trainer after 4 steps of two micro-batches on 12 rows of two types."""
    rows = [
        {
            "prompt": [
                {"role": "user", "content": (f"What is {n} plus one?", "Green grass grows by the river.")[n % 2]}
            ],
            "completion": [
                {"role": "assistant", "content": (f"{n + 1} = {n} + 1. ", "So it does.")[n % 2] * (1 + n % 3)}
            ],
            "sample_type": n % 2,
        }
        for n in range(12)
    ]
    set_seed(0)
    arguments = SFTConfig(
        output_dir=str(folder),
        max_steps=4,
        save_steps=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
    )
    trainer = LossTrainer(
        losses=[ExpertBalance(weight, [1, 1, 1, 0, 0, 0], scope=scope, delta=0.3)],
        model=tiny(),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:4]),
        processing_class=loader.load_tokenizer(Model()),
    )
    first = trainer.evaluate()["eval_loss"] if resume is None else None
    trainer.train(resume_from_checkpoint=resume)
    return trainer, first


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder, *trained(folder, 30.0)


def adapter_of(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters() if p.requires_grad])


def test_training_moves_every_part_and_the_shares_of_the_types_and_evaluation_stays_pure(straight, tmp_path):
    _, trainer, at_first = straight
    plain, same = trained(tmp_path, 0.0)
    assert same == at_first
    start = dict(tiny().named_parameters())
    learning = [(name, weight) for name, weight in trainer.model.named_parameters() if weight.requires_grad]
    assert len(learning) == 18 and not any(torch.equal(weight, start[name]) for name, weight in learning)
    shares = {}
    for name, one in (("plain", plain), ("balanced", trainer)):
        found = routing_statistics(one.model, one.get_eval_dataloader())["layers"].values()
        shares[name] = [sum(sum(layer[kind][part]) for layer in found) / len(found) for kind, part in HALVES.items()]
    assert all(more > less + 0.02 for more, less in zip(shares["balanced"], shares["plain"], strict=True))
    logged = [entry for entry in trainer.state.log_history if "balance/loss" in entry]
    names = ("loss", "matched_0", "matched_1", "entropy", "largest", "smallest")
    assert [entry["step"] for entry in logged] == [1, 2, 3, 4]
    assert all(f"balance/{name}" in entry for entry in logged for name in names)
    assert logged[0]["loss"] == pytest.approx(logged[0]["ce"] + 30 * logged[0]["balance/loss"], rel=0.02)


def test_going_on_from_a_checkpoint_equals_the_straight_run_bit_for_bit(straight):
    folder, trainer, _ = straight
    again, _ = trained(folder, 30.0, resume=str(folder / "checkpoint-2"))
    assert torch.equal(adapter_of(again), adapter_of(trainer))
    assert not (folder / "checkpoint-2" / "balance.safetensors").exists()  # the buffer begins anew at every step


def test_so_does_a_run_that_goes_by_the_step_before(straight, tmp_path):
    whole, _ = trained(tmp_path, 30.0, scope="lagged")
    assert not torch.equal(adapter_of(whole), adapter_of(straight[1]))
    again, _ = trained(tmp_path, 30.0, resume=str(tmp_path / "checkpoint-2"), scope="lagged")
    assert torch.equal(adapter_of(again), adapter_of(whole))
    assert torch.equal(again.losses[0].previous.probabilities, whole.losses[0].previous.probabilities)
