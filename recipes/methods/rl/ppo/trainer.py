"""PPO with a value head on TRL's GRPOTrainer: the algorithm of ReFT (arXiv 2401.08967, section 3.2).

rollout ──► own log-probs and values ──► r_t = [t = last] score - beta (log pi_old - log pi_ref) ──► GAE, whitening
            (a reply that was cut off has score 0)
        ──► clipped policy loss (TRL's) + value_coefficient * clipped value loss, `num_iterations` times

TRL 1.16 has no PPO trainer. Sampling, rewards, buffering over epochs, reference log-probs and checkpoints are
GRPOTrainer's; what of its inside this builds on is watched by tests/models/test_trl_guard.py.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from recipes.base.errors import RecipeError
from recipes.methods.rl.ppo.gae import gae, moments, terminal_rewards, whiten
from recipes.models.loader import causal_lm
from recipes.models.value_head import HEAD, attach_value_head, with_head_saved


@dataclass
class PPOConfig(GRPOConfig):
    """GRPOConfig with PPO's settings. A rollout has `generation_batch_size` replies, `num_generations` for a prompt.

    `beta` weighs the KL penalty inside the reward, never in the loss. Losses are means over the tokens of a reply, then
    over replies (`loss_type` "grpo"). Group statistics (`scale_rewards`) play no part.

    Raises:
        RecipeError: no KL penalty and no `allow_no_kl`, an odd rollout with one reply a prompt, or a setting of
            GRPOConfig that does not fit PPO.
    """

    num_generations: int = field(default=1, metadata={"help": "Replies for a prompt; PPO needs no group."})
    beta: float = field(default=0.05, metadata={"help": "Weight of the KL penalty (k1, per token) in the reward."})
    num_iterations: int = field(default=2, metadata={"help": "Passes over a rollout."})
    loss_type: str = field(default="grpo", metadata={"help": "Token mean of a reply, then mean of replies."})
    disable_dropout: bool = field(default=True, metadata={"help": "Dropout makes the first ratio differ from 1."})
    gamma: float = field(default=1.0, metadata={"help": "Discount of later rewards."})
    lam: float = field(default=0.95, metadata={"help": "GAE: 1 is Monte Carlo, 0 one step."})
    value_coefficient: float = field(default=5.0, metadata={"help": "Weight of the value loss, which has a 1/2."})
    value_rate: float = field(default=1.0, metadata={"help": "Learning rate of the value head over the policy's."})
    value_clip: float = field(default=0.2, metadata={"help": "A value may move this far from that of the rollout."})
    whiten: bool = field(default=True, metadata={"help": "Advantages of mean 0 and variance 1 over the rollout."})
    value_warmup_steps: int = field(default=0, metadata={"help": "First optimizer steps without the policy loss."})
    allow_no_kl: bool = field(default=False, metadata={"help": "Accept beta = 0, which collapsed in ReFT."})

    def __post_init__(self):
        single = self.num_generations == 1
        if single:  # GRPOConfig wants a group; the trainer itself does not
            self.num_generations, self.num_generations_eval = 2, self.num_generations_eval or 1
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False  # values leave the forward beside its output, and look unused
        try:
            super().__post_init__()
        except ValueError as error:
            if single and "must be divisible by num_generations" in str(error):
                raise RecipeError(
                    "a rollout of PPO with one reply for a prompt must be even",
                    where="PPOConfig",
                    got=f"{self.generation_batch_size} replies",
                    allowed="an even number: per-device batch * steps per generation * processes",
                    fix="change the batch, the accumulation or steps_per_generation",
                ) from error
            raise
        if single:
            self.num_generations = 1
        self._refuse()

    def _refuse(self):
        half = self.bf16 or self.fp16
        refused = [
            (
                self.beta == 0 and not self.allow_no_kl,
                "PPO without a KL penalty collapses",
                "beta = 0",
                "beta > 0 (ReFT: 0.01 to 0.05), or allow_no_kl = True",
            ),
            (
                self.loss_type != "grpo" or self.importance_sampling_level != "token",
                "PPO has one loss",
                f"loss_type {self.loss_type}, importance_sampling_level {self.importance_sampling_level}",
                "grpo and token",
            ),
            (
                self.use_vllm,
                "PPO cannot sample with vLLM: TRL would send the value head along with the weights",
                "use_vllm = True",
                "False",
            ),
            (
                self.use_transformers_continuous_batching and half,
                "TRL casts every weight to half precision for continuous batching, and never back",
                "use_transformers_continuous_batching = True with bf16 or fp16",
                "one of them",
            ),
        ]
        for wrong, what, got, allowed in refused:
            if wrong:
                raise RecipeError(what, where="PPOConfig", got=got, allowed=allowed)


class PPOTrainer(GRPOTrainer):
    """GRPOTrainer with token-level advantages from a value head that shares the policy's backbone.

    `model` is a causal model (a head is hung on it), one with `peft_config`, or a peft model from
    `policy_with_value_head`.

    Raises:
        RecipeError: the model is a name, a peft model without a value head, or tools are given.
    """

    args: PPOConfig
    model: PreTrainedModel

    def __init__(self, model, *args, peft_config=None, **kwargs):
        if isinstance(model, str):
            raise RecipeError("PPO needs a loaded model", where="PPOTrainer", got=model, allowed="a model")
        if any(kwargs.get(name) for name in ("tools", "environment_factory", "rollout_func")):
            raise RecipeError(
                "PPO is not made for replies with tool calls", where="PPOTrainer", allowed="no tools or environments"
            )
        if not hasattr(model, "peft_config"):
            attach_value_head(model)
            peft_config = peft_config and with_head_saved(peft_config)
        elif not hasattr(getattr(causal_lm(model), HEAD, None), "modules_to_save"):
            raise RecipeError(
                "the adapter has no value head",
                where="PPOTrainer",
                got=f"a peft model without {HEAD} among its modules_to_save",
                fix="build the policy with recipes.models.value_head.policy_with_value_head",
            )
        self._values = None  # a list while values are being read, see `_reading_values`
        super().__init__(model, *args, peft_config=peft_config, **kwargs)
        causal = causal_lm(self.model)
        causal.base_model.register_forward_hook(
            lambda backbone, given, output: self._read_values(causal, output.last_hidden_state)
        )

    def create_optimizer(self, model=None):
        made = self.optimizer is not None
        optimizer = super().create_optimizer(model)
        if made or self.args.value_rate == 1.0:
            return optimizer
        head = [p for name, p in self.model.named_parameters() if f"{HEAD}." in name and p.requires_grad]
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if not any(p is own for own in head)]
        rate = self.args.learning_rate * self.args.value_rate
        optimizer.add_param_group({"params": head, "lr": rate, "weight_decay": 0.0})
        return optimizer

    def _read_values(self, causal, hidden):
        # The head is applied here, inside the model's own forward, where wrappers have its weights ready. The state
        # before a token gives the token's value: the last C + 1 positions but the final one.
        if self._values is not None:
            self._values.append(getattr(causal, HEAD)(hidden[:, -self._reply_length - 1 : -1]))

    @contextmanager
    def _reading_values(self, length: int):
        """Collect the values [B, length] of every forward inside; elsewhere (sampling, reference) none are read."""
        self._values, self._reply_length = [], length
        try:
            yield self._values
        finally:
            self._values = None

    def _total(self, sums: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.accelerator.reduce(sums, reduction="sum"))

    def _gather(self, part: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.accelerator.gather(part))

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        # A reply that was cut off earns nothing, whatever stands in it (ReFT); one without a reward stays without.
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        last = [*self.eos_token_ids, self._tokenizer.pad_token_id]
        ended = torch.tensor([ids[-1] in last for ids in completion_ids_list], device=rewards.device)
        self._rewards = rewards * self._gather(ended).unsqueeze(1)
        return self._rewards

    def _generate_and_score_completions(self, inputs):
        # With one iteration TRL leaves out the old log-probs, which are taken below together with the values.
        iterations, self.num_iterations = self.num_iterations, 1
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            self.num_iterations = iterations
        start = self.accelerator.process_index * len(inputs)
        rewards = self._rewards[start : start + len(inputs)]
        score = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        # A reply that no reward function could score teaches nothing.
        output["completion_mask"] = output["completion_mask"] * (~rewards.isnan().all(dim=1)).unsqueeze(1)
        return self._estimate(output, score)

    def _estimate(self, output: dict, score) -> dict:
        """The rollout with old_per_token_logps, old_values, advantages and returns, each [B, C]; `score` is [B]."""
        mask = output["completion_mask"]
        logps, values = self._logps_and_values(output)
        reference = output.pop("ref_per_token_logps", logps)
        kl = (logps - reference) * mask
        rewards = terminal_rewards(score, mask) - self.beta * kl
        advantages, returns = gae(rewards, values, mask, self.args.gamma, self.args.lam)
        self._log_rollout(mask, kl, values, returns)
        if self.args.whiten:
            advantages = whiten(advantages, mask, self._total)
        return output | {
            "old_per_token_logps": logps,
            "old_values": values,
            "advantages": advantages,
            "returns": returns,
        }

    def _logps_and_values(self, output):
        """([B, C], [B, C]) under the policy as it is, in batches of the size that the update takes."""
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        length, args = output["completion_ids"].size(1), self.args
        size = args.per_device_train_batch_size if self.model.training else args.per_device_eval_batch_size
        with (
            torch.no_grad(),
            disable_gradient_checkpointing(self.model, cast(dict[str, Any] | None, args.gradient_checkpointing_kwargs)),
            self._reading_values(length) as values,
        ):
            logps, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, length, batch_size=size)
        return logps, torch.cat(values)

    def _compute_loss(self, model, inputs):
        beta, self.beta = self.beta, 0.0  # the KL term is in the reward
        try:
            with self._reading_values(inputs["completion_ids"].size(1)) as read:
                policy_loss = super()._compute_loss(model, inputs)
        finally:
            self.beta = beta
        value_loss, clipped = self._value_loss(read[0], inputs)
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["value_loss"].append(self._gather(value_loss.detach()).mean().item())
        self._metrics[mode]["value_clip_ratio"].append(self._gather(clipped).mean().item())
        if mode == "train":
            value_loss = value_loss / self.current_gradient_accumulation_steps
            if self.state.global_step < self.args.value_warmup_steps:
                policy_loss = policy_loss * 0.0  # not dropped: every parameter keeps a gradient, as DDP expects
        return policy_loss + self.args.value_coefficient * value_loss

    def _value_loss(self, values, inputs):
        """(1/2 max of the plain and the clipped squared error, share of tokens where clipping decides)."""
        mask, old, returns = inputs["completion_mask"], inputs["old_values"], inputs["returns"]
        near = old + (values - old).clamp(-self.args.value_clip, self.args.value_clip)
        plain, bounded = (values - returns).square(), (near - returns).square()
        loss = 0.5 * torch.max(plain, bounded) * mask
        clipped = ((bounded > plain) * mask).sum() / mask.sum().clamp(min=1)
        return (loss.sum(dim=1) / mask.sum(dim=1).clamp(min=1)).mean(), clipped

    def _log_rollout(self, mask, kl, values, returns):
        """KL of a reply in nats, mean value, and how much of the returns' variance the values explain."""
        (_, spread), (_, error), (value, _) = moments([returns, returns - values, values], mask, self._total)
        sums = self._total(torch.stack([kl.sum().double(), mask.any(dim=1).sum().double()]))
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["sequence_kl"].append((sums[0] / sums[1].clamp(min=1)).item())
        metrics["value"].append(value.item())
        metrics["explained_variance"].append((1 - error / spread.clamp(min=1e-8)).item())
