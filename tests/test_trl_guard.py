"""The inside of TRL 1.16 that recipes.rl and recipes.training build on; after an upgrade this is what fails first.

Each test names the place in our code that would be wrong without the fact.
"""

import inspect
import re

import pytest
import torch
import trl
import trl.trainer.utils
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.models.utils import disable_gradient_checkpointing

from tests.tiny_letters import tiny


def code(function):
    """The source without comments, with single spaces."""
    return " ".join(re.sub(r"#.*", "", inspect.getsource(function)).split())


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


FACTS = {
    # PPOTrainer._compute_loss: advantages of [B, T], our own old log-probs, no KL term where beta is 0, one forward
    "advantages of a token": (
        GRPOTrainer._compute_loss,
        "if advantages.dim() == 1: advantages = advantages.unsqueeze(1)",
    ),
    "old log-probs from the inputs": (GRPOTrainer._compute_loss, 'inputs.get("old_per_token_logps")'),
    "without them the ratio is one": (
        GRPOTrainer._compute_loss,
        "per_token_logps.detach() if old_per_token_logps is None else old_per_token_logps",
    ),
    "no kl in the loss at beta 0": (
        GRPOTrainer._compute_loss,
        "if self.beta != 0.0: per_token_loss = per_token_loss + self.beta * per_token_kl",
    ),
    "clipping": (
        GRPOTrainer._compute_loss,
        "coef_2 = torch.clamp(coef_1, 1 - self.epsilon_low, 1 + self.epsilon_high)",
    ),
    "token mean, then mean of replies, per accumulated batch": (
        GRPOTrainer._compute_loss,
        "loss = ((per_token_loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean() normalizer = "
        'self.current_gradient_accumulation_steps if mode == "train" else 1.0',
    ),
    # SpareGRPOTrainer, SelfTrainingTrainer: the divisor is that of the rollout
    "dapo divides by the tokens of the rollout": (
        GRPOTrainer._compute_loss,
        'normalizer = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes',
    ),
    # PPOTrainer._generate_and_score_completions: one iteration leaves out TRL's own old log-probs
    "old log-probs only where steps are misaligned": (
        GRPOTrainer._generate_and_score_completions,
        "generate_every = self.args.steps_per_generation * self.num_iterations "
        "if self.args.gradient_accumulation_steps % generate_every != 0 or (",
    ),
    "rewards come from the method that is overridden": (
        GRPOTrainer._generate_and_score_completions,
        "rewards_per_func = self._calculate_rewards(inputs, prompts, completions, completion_ids_list)",
    ),
    "rewards are gathered, and sliced by the number of local prompts": (
        GRPOTrainer._generate_and_score_completions,
        "process_slice = slice( self.accelerator.process_index * len(prompts),",
    ),
    "reference log-probs are handed over": (
        GRPOTrainer._generate_and_score_completions,
        'output["ref_per_token_logps"] = ref_per_token_logps',
    ),
    "every tensor of the rollout is shuffled and split": (
        GRPOTrainer._prepare_inputs,
        "generation_batch = shuffle_sequence_dict(generation_batch)",
    ),
    # PPOTrainer._read_values: the last C + 1 states but the final one
    "log-probs of the last positions": (
        GRPOTrainer._get_per_token_logps_and_entropies,
        "all_logps.append(outputs.log_probs[:, -logits_to_keep:])",
    ),
    "the fused head calls the backbone and drops its last state": (
        trl.trainer.utils.add_fused_lm_head,
        "hidden_states = backbone_outputs.last_hidden_state[:, :-1] labels = labels[:, 1:]",
    ),
    # recipes.training.score_learnt_positions
    "learnt positions are scored where _use_triton says so": (
        trl.trainer.utils.add_fused_lm_head,
        "compact = _use_triton(hidden_states.device)",
    ),
    # PPOConfig.__post_init__
    "a group has two": (GRPOConfig.__post_init__, "if self.num_generations < 2: raise ValueError("),
    "whole groups in a rollout": (GRPOConfig.__post_init__, "must be divisible by num_generations "),
    "weights are cast for continuous batching": (
        GRPOTrainer._generate_single_turn,
        "if self.args.bf16: unwrapped_model.to(torch.bfloat16)",
    ),
    # policy_with_value_head, forget_reference
    "the reference is a copy of the adapter named default": (
        GRPOTrainer.__init__,
        'model.add_adapter("ref", default_config)',
    ),
    # trainer_and_arguments: rloo
    "rloo leaves one out": (
        RLOOTrainer._generate_and_score_completions,
        "baselines = (grouped_sum - grouped_rewards) / (scorable_counts - 1)",
    ),
    "rloo has the kl in the reward": (
        RLOOTrainer._generate_and_score_completions,
        "rewards = rewards - self.beta * kl",
    ),
    # recipes.rl.curriculum: rows in the order of the dataset
    "the sampler follows the rows where nothing is shuffled": (
        trl.trainer.utils.RepeatSampler.__iter__,
        "else: indexes = list(range(self.num_samples))",
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_source_says_what_was_relied_on(name):
    function, text = FACTS[name]
    assert text in code(function), f"{function.__qualname__} no longer holds: {text}"


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
