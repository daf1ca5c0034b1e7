"""The balance term in a model under checkpointing and in TRL's trainer: gradient, evaluation, resume."""

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from recipes import models
from recipes.adapters.loramoe.config import LoraMoeConfig
from recipes.config import Model
from recipes.errors import RecipeError
from recipes.objectives.balance import Balance
from recipes.objectives.routing import routing_statistics
from tests.balance_rank import batch_of, gradient


def tiny(seed=0, **values):
    """A model of the embedded tokenizer with a LoRAMoE adapter."""
    torch.manual_seed(seed)
    base = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(models.load_tokenizer(Model())),
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
    batch, term = batch_of(6), Balance(1.0, [1, 1, 1, 0, 0, 0])
    with term.watching(model):
        tokens = model(**{k: batch[k] for k in ("input_ids", "attention_mask", "labels")}, use_cache=False).loss
    (term.loss(model, batch, 1.0)[0] + 0 * tokens).backward()
    return gradient(model)


def test_checkpointing_keeps_the_gradient_and_its_reentrant_kind_is_refused():
    plain = router_gradient(None)
    assert plain.any() and torch.allclose(router_gradient(False), plain, atol=1e-7)
    with pytest.raises(RecipeError, match="use_reentrant"):
        router_gradient(True)


HALVES = {"0": slice(3, 6), "1": slice(0, 3)}  # experts of each type


class Balanced(SFTTrainer):
    """TRL's trainer with a term, as the project's own adds it."""

    def __init__(self, term, **arguments):
        self.term, self.logged = term, []
        super().__init__(**arguments)
        plain = self.data_collator

        def collate(rows):
            return plain(rows) | {"sample_type": torch.tensor([row["sample_type"] for row in rows])}

        self.data_collator = collate

        class StepEnd(TrainerCallback):
            def on_step_end(self, *_, **__):
                term.step_end()

        self.add_callback(StepEnd())

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        self._signature_columns = list({*self._signature_columns, "sample_type"})

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        plain = {key: value for key, value in inputs.items() if key != "sample_type"}
        with self.term.watching(model):
            loss = super().compute_loss(model, plain, return_outputs, num_items_in_batch)
        steps = self.current_gradient_accumulation_steps if model.training else 1
        term, logged = self.term.loss(model, inputs, 1 / steps)
        self.logged.append(logged)
        return loss if term is None else loss + term


def trained(folder, weight, resume=None):
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
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
    )
    trainer = Balanced(
        Balance(weight, [1, 1, 1, 0, 0, 0], delta=0.3),
        model=tiny(),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:4]),
        processing_class=models.load_tokenizer(Model()),
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
    logged = [entry for entry in trainer.logged if entry]  # evaluation adds none
    assert len(logged) == 8
    assert set(logged[-1]) == {"loss", "matched_0", "matched_1", "entropy", "largest", "smallest"}


def test_going_on_from_a_checkpoint_equals_the_straight_run_bit_for_bit(straight):
    folder, trainer, _ = straight
    again, _ = trained(folder, 30.0, resume=str(folder / "checkpoint-2"))
    assert torch.equal(adapter_of(again), adapter_of(trainer))
