"""PPO with a value head, the algorithm of ReFT (arXiv 2401.08967, section 3.2)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.conflicts import Conflict, Scope
from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2401.08967"
NEEDS = ("value_head",)
LOGS = {"kl": ("KL to the reference", "nats per token")}
CONFLICTS = [
    ("rl.method.use=ppo rl.method.beta=0.05 rl.use_vllm=true", "rl.use_vllm"),
    ("rl.method.use=ppo rl.method.beta=0", "rl.method.beta"),
    (
        "rl.method.use=ppo rl.method.beta=0.05 rl.group_size=1 rl.prompts_per_step=7",
        "rl.prompts_per_step",
    ),
    ("rl.steps=5 rl.method.use=ppo rl.method.value_warmup_steps=5", "rl.method.value_warmup_steps"),
]


class Config(Method):
    """Settings of PPO beside those of every algorithm."""

    beta: float = Field(
        0.05, ge=0, description="weight of the KL penalty in the reward; ReFT: 0.05 for text, 0.01 for programs"
    )
    gamma: float = Field(1.0, ge=0, le=1, description="discount of later rewards")
    lam: float = Field(0.95, ge=0, le=1, description="lambda of generalised advantage estimation; 1 is Monte Carlo")
    value_coefficient: float = Field(5.0, gt=0, description="weight of the value loss, which has a factor 1/2")
    value_rate: float = Field(1.0, gt=0, description="learning rate of the value head over the policy's")
    value_clip: float = Field(0.2, gt=0, description="how far a value may move from that of the rollout")
    iterations: int = Field(2, ge=1, description="optimizer steps on one rollout, each over all of it")
    whiten: bool = Field(True, description="advantages of mean 0 and variance 1 over a rollout")
    value_warmup_steps: int = Field(0, ge=0, description="first optimizer steps without the policy loss")
    allow_no_kl: bool = Field(False, description="accept beta = 0, with which ReFT's policy collapsed")


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """PPO asks for a KL penalty and even rollouts, and samples with transformers."""
    rl = scope.step.settings
    place = scope.path.rpartition(".")[0]
    if rl.use_vllm:
        reason = "ppo cannot sample with vLLM: TRL would send it the value head, which it does not know"
        yield scope.conflict(f"/{place}.use_vllm", reason, "false", rl.use_vllm)
    if own.beta == 0 and not own.allow_no_kl:
        yield scope.conflict(
            "beta",
            "ppo without a KL penalty collapses (ReFT, arXiv 2401.08967)",
            "a number > 0; ReFT: 0.01 for programs, 0.05 for text",
            own.beta,
            f"set {scope.path}.beta = 0.05, or {scope.path}.allow_no_kl = true to try it",
        )
    if rl.group_size == 1 and rl.prompts_per_step % 2:
        reason = "a rollout of ppo with one reply for a prompt must be even (TRL counts in groups of two)"
        instead = f"an even number, or {place}.group_size >= 2"
        yield scope.conflict(f"/{place}.prompts_per_step", reason, instead, rl.prompts_per_step)
    if own.value_warmup_steps >= rl.steps:
        instead = f"fewer than {place}.steps = {rl.steps}"
        yield scope.conflict("value_warmup_steps", "the policy would never learn", instead, own.value_warmup_steps)


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """PPO on TRL's GRPOTrainer; a cut-off reply earns nothing and is learnt from at its last token."""
    from recipes.methods.rl.ppo.trainer import PPOConfig, PPOTrainer

    settings = own.model_dump(exclude={"use", "iterations"})
    return context.build(PPOTrainer, PPOConfig(**context.shared, num_iterations=own.iterations, **settings))
