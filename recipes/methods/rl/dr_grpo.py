"""Dr. GRPO: GRPO without its two biases (arXiv 2503.20783), through TRL.

Advantages are not divided by the spread of their group, which favours prompts that are nearly always or never answered
right, and a reply's loss is not divided by its length, which favours long wrong replies.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2503.20783"
NEEDS = ("group",)
READS_IMAGES = True
TAKES_TOOLS = True


class Config(Method):
    """Settings of Dr. GRPO beside those of every algorithm."""

    beta: float = Field(0.0, ge=0, description="weight of the KL penalty to the model before reinforcement")


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's trainer with the settings of the paper; cut-off replies are left out."""
    from recipes.models.grpo_trainer import build_grpo

    return build_grpo(context, beta=own.beta, loss_type="dr_grpo", scale_rewards="none")
