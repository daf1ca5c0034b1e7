"""The inside of TRL 1.16, transformers and peft that recipes.methods and recipes.models build on;
after an upgrade this is what fails first.

Each test names the place in our code that would be wrong without the fact.
"""

import inspect
import re

import pytest
import torch
import trl
import trl.trainer.utils
from peft import PeftType
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import register_peft_method
from peft.utils.peft_types import PeftType as Declared
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer
from trl.models.utils import disable_gradient_checkpointing

from tests.helpers.tiny_letters import tiny


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
    # SkipZeroAdvantageGRPOTrainer, SelfTrainingTrainer: the divisor is that of the rollout
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
    # recipes.models.training.score_learnt_positions
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
    # recipes.models.prompt_order: rows in the order of the dataset
    "the sampler follows the rows where nothing is shuffled": (
        trl.trainer.utils.RepeatSampler.__iter__,
        "else: indexes = list(range(self.num_samples))",
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_source_says_what_was_relied_on(name):
    function, text = FACTS[name]
    assert text in code(function), f"{function.__qualname__} no longer holds: {text}"


# What is said -> (where it is said, the words, our code that would be wrong without them).
SUPERVISED = {
    "an adapter on 4-bit weights is rounded": (
        SFTTrainer.__init__,
        "param.data = param.data.to(torch.bfloat16)",
        "training.build, which may be simpler where TRL no longer rounds",
    ),
    "the same in reinforcement": (
        GRPOTrainer.__init__,
        "param.data = param.data.to(torch.bfloat16)",
        "training.build, which may be simpler where TRL no longer rounds",
    ),
    "all end tokens of the model and the tokenizer's end a reply": (
        GRPOTrainer.__init__,
        "eos_token_ids = [self._tokenizer.eos_token_id, *eos_token_ids]",
        "models.end_with_the_turn, rl.make_trainer (vLLM's stop_token_ids)",
    ),
    "so in rloo": (
        RLOOTrainer.__init__,
        "eos_token_ids = [self._tokenizer.eos_token_id, *eos_token_ids]",
        "models.end_with_the_turn",
    ),
    "the columns that are kept": (
        SFTTrainer._set_signature_columns_if_needed,
        'self._signature_columns = ["input_ids", "labels", "seq_lengths"]',
        "LossTrainer._set_signature_columns_if_needed, which adds sample_type and length",
    ),
    "the loss is multiplied by the ranks that share its count of tokens": (
        SFTTrainer.compute_loss,
        "if self.args.average_tokens_across_devices and num_items_in_batch is not None",
        "LossTrainer._shares",
    ),
    "metrics of a step are lists by mode": (
        SFTTrainer.compute_loss,
        'self._metrics[mode]["entropy"].append(',
        "LossTrainer.compute_loss, PPOTrainer._compute_loss",
    ),
    "they are averaged into the log": (
        SFTTrainer.log,
        "for key, val in self._metrics[mode].items()",
        "LossTrainer.compute_loss and the keys of training.write_history",
    ),
    "the number of micro-batches of a step": (
        Trainer._run_epoch,
        "self.current_gradient_accumulation_steps = len(batch_samples)",
        "LossTrainer._shares",
    ),
    "tokens are counted over all ranks": (
        Trainer._get_num_items_in_batch,
        "num_items_in_batch = self.accelerator.gather(num_items_in_batch.to(device)).sum()",
        "LossTrainer._shares",
    ),
    "a checkpoint is loaded by a method that is given its folder": (
        Trainer.train,
        "self._load_from_checkpoint(resume_from_checkpoint)",
        "LossTrainer._load_from_checkpoint",
    ),
    "weights are written by a method that is given the folder": (
        Trainer.save_model,
        "self._save(output_dir)",
        "LossTrainer._save",
    ),
    "the state is the last thing of a checkpoint": (
        Trainer._save_checkpoint,
        "self.state.save_to_json(os.path.join(output_dir, TRAINER_STATE_NAME))",
        "training.last_checkpoint",
    ),
    "an optimizer that is there is kept": (
        Trainer.create_optimizer,
        "if self.optimizer is None",
        "LossTrainer.create_optimizer (LoRA+), PPOTrainer.create_optimizer",
    ),
    "a method is known by its name in the enum": (
        register_peft_method,
        "peft_type = getattr(PeftType, name.upper())",
        "adapters.loramoe.register.extend_enum",
    ),
    "names are looked up in the list of members": (
        register_peft_method,
        "if name.upper() not in list(PeftType)",
        "adapters.loramoe.register.extend_enum",
    ),
    "a layer is put in the place of each target": (
        BaseTuner.inject_adapter,
        "self._create_and_replace( peft_config, adapter_name, target, target_name, parent, current_key=key )",
        "adapters.loramoe.model.LoraMoeModel, reranker.trainable",
    ),
}


@pytest.mark.parametrize("name", SUPERVISED)
def test_supervised_training_and_the_adapter_find_what_they_rely_on(name):
    function, text, ours = SUPERVISED[name]
    assert text in code(function), f"{function.__qualname__} no longer holds: {text}\nlook at {ours}"


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
    assert found == OVERRIDDEN[name], f"look at recipes.models.loss_trainer.LossTrainer and its use of {name}"


def test_the_enum_of_methods_has_the_private_parts_that_a_member_is_entered_in():
    look = "look at recipes.models.loramoe.register.extend_enum"
    assert PeftType is Declared and issubclass(PeftType, str), look
    assert isinstance(PeftType._member_names_, list) and isinstance(PeftType._member_map_, dict), look
    assert isinstance(PeftType._value2member_map_, dict), look
    member = PeftType["LORA"]
    parts = (member._name_, member._value_, member.__objclass__, member._sort_order_)
    assert parts == ("LORA", "LORA", PeftType, PeftType._member_names_.index("LORA")), look


def test_settings_of_supervised_training_that_are_given():
    given = {
        "packing",
        "completion_only_loss",
        "train_sampling_strategy",
        "max_length",
        "average_tokens_across_devices",
    }
    assert given <= SFTConfig.__dataclass_fields__.keys(), "look at recipes.stages.sft.make_trainer"


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
