"""DAPO: GRPO that may raise rare tokens further than it may lower them (arXiv 2503.14476), through TRL.

The upper clipping bound is wider than the lower one, every token of the batch weighs the same, cut-off replies are
left out, and there is no KL penalty. Of the paper's four parts dynamic sampling is missing: groups of one grade teach
nothing and cost their sampling here too; `rl.idle_steps` ends a run that has no others.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2503.14476"
NEEDS = ("group",)
READS_IMAGES = True
TAKES_TOOLS = True


class Config(Method):
    """Settings of DAPO beside those of every algorithm."""

    epsilon: float = Field(0.2, gt=0, lt=1, description="how far a token's ratio may fall below 1")
    epsilon_high: float = Field(0.28, gt=0, description="how far it may rise above 1")
    iterations: int = Field(
        2, ge=1, description="optimizer steps on one rollout, each over all of it; at 1 nothing is ever clipped"
    )


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's trainer with the settings of the paper; cut-off replies are left out."""
    from recipes.models.grpo_trainer import build_grpo

    return build_grpo(
        context, loss_type="dapo", epsilon=own.epsilon, epsilon_high=own.epsilon_high, num_iterations=own.iterations
    )
