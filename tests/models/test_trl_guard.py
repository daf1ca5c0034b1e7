"""What TRL 1.16, transformers and peft do inside, as far as recipes.methods and recipes.models build on it.

After an upgrade this is what fails first. What our own trainers show by themselves (a resumed run, a log, a gradient
over micro-batches) is tested beside them and not again here.
"""

import inspect
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import trl
import trl.trainer.utils
from datasets import Dataset
from peft import PeftType, get_peft_model
from peft.utils.peft_types import PeftType as Declared
from safetensors.torch import load_file
from transformers import Trainer, TrainerState, TrainingArguments
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer
from trl.models.utils import disable_gradient_checkpointing

from recipes.base.places import ROOT
from tests.helpers import kl_rank
from tests.helpers.tiny_letters import lora, saved, tiny, trainer_of

SIGNATURES = {
    "_generate_and_score_completions": ["self", "inputs"],
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_compute_loss": ["self", "model", "inputs"],
    "_get_per_token_logps_and_entropies": ["self", "model", "input_ids", "attention_mask", "logits_to_keep"],
}


def test_the_version_is_the_one_that_was_read():
    assert trl.__version__.startswith("1.16.")


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_methods_that_are_overridden_or_called_take_what_they_took(name):
    wanted = SIGNATURES[name]
    assert list(inspect.signature(getattr(GRPOTrainer, name)).parameters)[: len(wanted)] == wanted
    assert "batch_size" in inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters


# --- reinforcement ----------------------------------------------------------------------------------------------------

REWARDS = [1.0, 0.0, 0.5, 0.25, 0.0, 0.0, 1.0, 0.5]  # of two groups of four


def graded(kind):
    """TRL's trainer `kind` with these rewards from the method that ours override."""

    class Graded(kind):
        def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
            return torch.tensor(REWARDS).unsqueeze(1)

    return Graded


def make(folder, kind=GRPOTrainer, model=None, **more):
    config = RLOOConfig if kind is RLOOTrainer else GRPOConfig
    halves = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}  # of a rollout of eight
    settings = {"num_generations": 4, "beta": 0.0} | halves | more
    trainer = trainer_of(model or tiny(), folder, cls=graded(kind), make=config, **settings)
    trainer.current_gradient_accumulation_steps = 2
    trainer.model.train()
    return trainer


def roll_out(trainer):
    return trainer._generate_and_score_completions([r for r in trainer.train_dataset.select(range(2)) for _ in "1234"])


def log_probs(model, output):
    """[B, C] of the replies' tokens, by a plain forward."""
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    given, length = model(input_ids=ids, attention_mask=mask).logits, output["completion_ids"].size(1)
    found = given[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    return found[:, -length:]


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_the_policy_loss_takes_an_advantage_for_each_token_and_old_log_probs_and_has_no_kl_at_beta_zero(
    loss_type, tmp_path
):
    """PPOTrainer: the clipped loss, a mean over tokens, then replies, then micro-batches. SpareGRPOTrainer and
    SelfTrainingTrainer: with "dapo" a sum over the tokens that the rollout has."""
    trainer = make(tmp_path, model=saved(tiny(), tmp_path / "base"), loss_type=loss_type, beta=0.5)
    output = roll_out(trainer)
    mask, drawn = output["completion_mask"], torch.Generator().manual_seed(2)
    now = log_probs(trainer.model, output)
    advantages, old = (
        torch.randn(mask.shape, generator=drawn),
        now.detach() + 0.3 * torch.randn(mask.shape, generator=drawn),
    )
    ratio = (now - old).exp()
    clipped = ratio.clamp(0.8, 1.2)
    assert ((ratio != clipped) * mask).any()
    tokens = -torch.min(ratio * advantages, clipped * advantages) * mask
    expected = (tokens.sum(1) / mask.sum(1)).mean() / 2 if loss_type == "grpo" else tokens.sum() / 50
    trainer.beta = 0.0
    given = dict(output) | {
        "advantages": advantages,
        "old_per_token_logps": old,
        "num_items_in_batch": torch.tensor(50),
    }
    given.pop("ref_per_token_logps")
    assert trainer._compute_loss(trainer.model, given).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("iterations", [1, 2])
def test_a_rollout_that_is_used_once_has_no_old_log_probs(iterations, tmp_path):
    """PPOTrainer samples as if there were one iteration, and takes them itself, together with the values."""
    output = roll_out(make(tmp_path, num_iterations=iterations))
    assert ("old_per_token_logps" in output) == (iterations == 2)


def test_the_reference_of_an_adapter_is_a_copy_of_it_and_its_log_probs_are_handed_over(tmp_path):
    """policy_with_value_head, forget_reference, PPOTrainer._estimate."""
    torch.manual_seed(1)
    policy = get_peft_model(tiny(), lora(init_lora_weights=False))
    trainer = make(tmp_path, model=policy, beta=0.5)
    assert set(trainer.model.peft_config) == {"default", "ref"}
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if ".default." in name:
                weight.mul_(1.5)
    output = roll_out(trainer)
    mask = output["completion_mask"].bool()
    moved = log_probs(trainer.model, output)
    trainer.model.set_adapter("ref")
    expected = log_probs(trainer.model, output)
    assert torch.allclose(output["ref_per_token_logps"][mask], expected[mask], atol=1e-5)
    assert not torch.allclose(moved[mask], expected[mask], atol=1e-2)


def test_every_tensor_of_a_rollout_goes_to_the_micro_batch_of_its_reply(tmp_path):
    """PPOTrainer: advantages, old values and returns, one row a reply."""
    seen = []

    class Marking(graded(GRPOTrainer)):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            return output | {"mark": output["completion_ids"] * 2, "one": output["completion_ids"].sum(1)}

        def _compute_loss(self, model, inputs):
            assert torch.equal(inputs["mark"], inputs["completion_ids"] * 2)
            seen.append(inputs["one"].tolist())
            assert seen[-1] == inputs["completion_ids"].sum(1).tolist()
            return super()._compute_loss(model, inputs)

    settings = dict(num_generations=4, beta=0.0, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    trainer_of(tiny(), tmp_path, cls=Marking, make=GRPOConfig, max_steps=1, **settings).train()
    assert [len(part) for part in seen] == [2] * 4


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_rloo_takes_the_other_replies_of_a_group_as_baseline_and_has_the_kl_in_the_reward(beta, tmp_path):
    """trainer_and_arguments: the published method, arXiv 2402.14740."""
    torch.manual_seed(1)
    trainer = make(tmp_path, RLOOTrainer, get_peft_model(tiny(), lora(init_lora_weights=False)), beta=beta)
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if ".default." in name:
                weight.mul_(1.5)
    output = roll_out(trainer)
    rewards = torch.tensor(REWARDS)
    if beta:
        now = log_probs(trainer.model, output)
        trainer.model.set_adapter("ref")
        kl = ((now - log_probs(trainer.model, output)) * output["completion_mask"]).sum(1).detach()
        assert kl.abs().max() > 0.01
        rewards = rewards - beta * kl
    groups = rewards.view(2, 4)
    others = (groups.sum(1, keepdim=True) - groups) / 3
    assert torch.allclose(output["advantages"], (groups - others).flatten(), atol=1e-4)


def test_the_fused_head_calls_the_module_that_the_value_hook_hangs_on():
    model, seen = tiny(), []
    trl.trainer.utils.add_fused_lm_head(model)
    model.base_model.register_forward_hook(lambda module, given, output: seen.append(output.last_hidden_state.shape))
    ids = torch.arange(2, 12).view(2, 5)
    model(input_ids=ids, labels=ids, fused_lm_head=True)
    assert model.base_model is model.model and seen == [(2, 5, 16)]


def test_names_that_are_imported_or_set():
    assert callable(trl.trainer.utils._use_triton) and callable(disable_gradient_checkpointing)
    fields = GRPOConfig.__dataclass_fields__.keys() & RLOOConfig.__dataclass_fields__.keys()
    shared = {"num_generations", "shuffle_dataset", "reward_weights", "mask_truncated_completions", "beta"}
    assert shared | {"temperature", "max_completion_length", "use_vllm"} <= fields


# --- supervised training ----------------------------------------------------------------------------------------------

OVERRIDDEN = {
    "compute_loss": ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
    "create_optimizer": ["self", "model"],
    "_set_signature_columns_if_needed": ["self"],
    "_save": ["self", "output_dir", "state_dict"],
    "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
    "get_optimizer_cls_and_kwargs": ["args", "model"],
    "get_tp_size": ["self"],
}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_the_methods_of_term_trainer_take_what_they_took(name):
    found = list(inspect.signature(getattr(SFTTrainer, name)).parameters)
    assert found == OVERRIDDEN[name], f"look at recipes.models.sft_trainer.LossTrainer and its use of {name}"


def test_settings_of_supervised_training_that_are_given():
    given = {
        "packing",
        "completion_only_loss",
        "train_sampling_strategy",
        "max_length",
        "average_tokens_across_devices",
    }
    assert given <= SFTConfig.__dataclass_fields__.keys(), "look at recipes.stages.sft.make_trainer"


def test_the_state_is_the_last_thing_of_a_checkpoint(tmp_path, monkeypatch):
    """training.last_checkpoint takes a folder with it for a whole one."""
    there, save = {}, TrainerState.save_to_json

    def note(self, file):
        there[Path(file).parent] = {path.name for path in Path(file).parent.iterdir()}
        save(self, file)

    monkeypatch.setattr(TrainerState, "save_to_json", note)
    rows = Dataset.from_list([{"input_ids": [2, 3, 4], "labels": [2, 3, 4]}] * 4)
    settings = dict(max_steps=2, save_steps=1, use_cpu=True, report_to="none", disable_tqdm=True)
    Trainer(tiny(), TrainingArguments(str(tmp_path), **settings), train_dataset=rows).train()
    assert set(there) == {tmp_path / "checkpoint-1", tmp_path / "checkpoint-2"}
    for folder, before in there.items():
        assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"} <= before
        assert {path.name for path in folder.iterdir()} == before | {"trainer_state.json"}


def test_two_ranks_learn_as_one_from_the_tokens_of_both(tmp_path):
    """TermTrainer's shares of a term and of the cross-entropy: over ranks and micro-batches of unlike length."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in ("0", "1"):
        where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        where |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.helpers.kl_rank", str(tmp_path)]
        ranks.append(
            subprocess.Popen(command, cwd=ROOT, env={**os.environ, **where}, stderr=subprocess.PIPE, text=True)
        )
    kl_rank.train(tmp_path, 0, 1)
    errors = [process.communicate()[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], "".join(errors)[-3000:]
    alone, one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    start = load_file(tmp_path / "start.safetensors")
    for name, weight in alone.items():
        assert torch.equal(one[name], other[name])
        moved = (weight - start[name]).norm()
        assert moved > 0 and (one[name] - weight).norm() < 1e-3 * moved, name


# --- peft -------------------------------------------------------------------------------------------------------------


def test_the_enum_of_methods_has_the_private_parts_that_a_member_is_entered_in():
    look = "look at recipes.models.loramoe.register.extend_enum"
    assert PeftType is Declared and issubclass(PeftType, str), look
    assert isinstance(PeftType._member_names_, list) and isinstance(PeftType._member_map_, dict), look
    assert isinstance(PeftType._value2member_map_, dict), look
    member = PeftType["LORA"]
    parts = (member._name_, member._value_, member.__objclass__, member._sort_order_)
    assert parts == ("LORA", "LORA", PeftType, PeftType._member_names_.index("LORA")), look
