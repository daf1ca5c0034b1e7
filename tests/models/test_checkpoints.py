"""Checkpoints: known as whole or not, written by time and at signals, and gone on from."""

import os
import random
import signal

import pytest
import torch
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM, Trainer, TrainerCallback, TrainingArguments

from recipes.base.runtime import Runtime
from recipes.models import training

STEPS = 6


def make_trainer(out, *callbacks, save_steps=100):
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
        )
    )
    ids = torch.randint(0, 50, (16, 8), generator=torch.Generator().manual_seed(1)).tolist()
    arguments = TrainingArguments(
        output_dir=str(out / training.CHECKPOINTS),
        max_steps=STEPS,
        per_device_train_batch_size=2,
        save_steps=save_steps,
        save_total_limit=2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=1,
        learning_rate=1e-2,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}))
    with Runtime().bar("sft", STEPS, "steps") as bar:
        trainer.add_callback(training.Watch(bar, "sft"))
    for callback in callbacks:
        trainer.add_callback(callback)
    return trainer


class At(TrainerCallback):
    """Does something at the end of one step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Weights of a run that nobody stopped."""
    trainer = make_trainer(tmp_path_factory.mktemp("whole"))
    training.train(trainer, tmp_path_factory.mktemp("none"))
    return weights(trainer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_the_step_under_way_and_the_run_goes_on_to_the_same_weights(number, tmp_path, whole):
    trainer = make_trainer(tmp_path, At(2, lambda: os.kill(os.getpid(), number)))
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        training.train(trainer, tmp_path)
    assert training.last_checkpoint(tmp_path).endswith("checkpoint-3") and signal.getsignal(number) == before
    again = make_trainer(tmp_path)
    training.train(again, tmp_path)
    assert again.state.global_step == STEPS
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(again).items())


def test_a_checkpoint_is_written_by_time_too(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_SECONDS", -1)
    training.train(make_trainer(tmp_path), tmp_path)
    assert training.last_checkpoint(tmp_path).endswith(f"checkpoint-{STEPS - 1}")  # the last step is the result itself


def test_checkpoints_of_rollouts_fall_between_them(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_SECONDS", -1)
    trainer = make_trainer(tmp_path)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, training.Watch):
            callback.every = 2
    training.train(trainer, tmp_path)
    saved = sorted(path.name for path in (tmp_path / training.CHECKPOINTS).glob("checkpoint-*"))
    assert saved == ["checkpoint-2", "checkpoint-4"]


def test_a_checkpoint_cut_anywhere_is_set_aside_and_the_one_before_is_used(tmp_path, whole):
    """Each file of the newest checkpoint in turn is cut at random bytes, emptied, or lost."""
    stop = make_trainer(tmp_path, At(4, lambda: os.kill(os.getpid(), signal.SIGTERM)), save_steps=3)
    with pytest.raises(KeyboardInterrupt):
        training.train(stop, tmp_path)
    newest = tmp_path / training.CHECKPOINTS / "checkpoint-5"
    names = [path.name for path in newest.iterdir()]
    assert {"trainer_state.json", "model.safetensors", "optimizer.pt", training.SEAL} <= set(names)
    draw = random.Random(7)
    for name in names:
        content = (newest / name).read_bytes()
        for cut in (0, draw.randrange(len(content)), len(content) - 1, None):
            (newest / name).unlink() if cut is None else (newest / name).write_bytes(content[:cut])
            assert training.last_checkpoint(tmp_path).endswith("checkpoint-3"), (name, cut)
            (newest.parent / f"broken-{newest.name}").rename(newest)
            (newest / name).write_bytes(content)
    assert training.last_checkpoint(tmp_path).endswith("checkpoint-5")
    (newest / "trainer_state.json").write_bytes(b"")
    again = make_trainer(tmp_path)
    training.train(again, tmp_path)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(again).items())
