"""RLOO: a reply counts against the mean of the others to its prompt (arXiv 2402.14740), through TRL.

TRL's RLOOTrainer has the published leave-one-out baseline, ratio of whole replies and KL in the reward, where its
GRPOTrainer has the ratio of tokens and the KL term in the loss.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2402.14740"
NEEDS = ("group",)
READS_IMAGES = True


class Config(Method):
    """Settings of RLOO beside those of every algorithm."""

    beta: float = Field(0.0, ge=0, description="weight of the KL penalty to the model before reinforcement")


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's trainer; cut-off replies are left out."""
    from trl import RLOOConfig, RLOOTrainer

    return context.build(RLOOTrainer, RLOOConfig(**context.shared, mask_truncated_completions=True, beta=own.beta))
