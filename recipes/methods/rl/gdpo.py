"""GDPO: each reward is compared within its group before they are summed (arXiv 2601.05242), through TRL.

Where rewards are summed first, a rare right answer and a common right form can come to the same advantage; here each
keeps its own scale, times its weight.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2601.05242"
NEEDS = ("group",)
READS_IMAGES = True
TAKES_TOOLS = True


class Config(Method):
    """Settings of GDPO beside those of every algorithm."""

    beta: float = Field(0.0, ge=0, description="weight of the KL penalty to the model before reinforcement")


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's trainer with the settings of the paper; cut-off replies are left out."""
    from recipes.models.grpo_trainer import build_grpo

    return build_grpo(context, beta=own.beta, loss_type="dapo", multi_objective_aggregation="normalize_then_sum")
