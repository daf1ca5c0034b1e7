"""Which trainer, with which settings, an `[rl]` table stands for."""

from trl import GRPOConfig, RLOOConfig, RLOOTrainer

from recipes.methods.rl.grpo import SpareGRPOTrainer
from recipes.methods.rl.online_self_training import SelfTrainingTrainer
from recipes.methods.rl.ppo import PPOConfig, PPOTrainer


def trainer_and_arguments(rl, shared: dict):
    """(trainer class, its configuration) for an `[rl]` table; `shared` holds what all of them are given.

    RLOO is TRL's own RLOOTrainer: leave-one-out baseline, ratio of whole replies and KL in the reward are the published
    method (arXiv 2402.14740), while GRPOTrainer has the ratio of tokens and the KL term in the loss.

    PPO learns from a truncated reply, which earns nothing, at its last token, as in ReFT; the others leave it out.
    """
    if rl.algorithm == "ppo":
        ppo = rl.ppo
        return PPOTrainer, PPOConfig(
            **shared,
            beta=rl.beta,
            num_iterations=ppo.iterations,
            **{name: getattr(ppo, name) for name in type(ppo).model_fields if name != "iterations"},
        )
    shared = shared | {"mask_truncated_completions": True}
    if rl.algorithm == "rloo":
        return RLOOTrainer, RLOOConfig(**shared, beta=rl.beta)
    if rl.algorithm == "online_self_training":
        return SelfTrainingTrainer, GRPOConfig(**shared, beta=0.0, loss_type="dapo", scale_rewards="none")
    return SpareGRPOTrainer, GRPOConfig(**shared, beta=rl.beta, loss_type=rl.loss_type, scale_rewards=rl.scale_rewards)
