"""CISPO: the weight of a token is clipped, not its gradient (arXiv 2506.13585), through TRL.

PPO's clipping gives tokens that moved far no gradient at all; here they keep one, with a bounded weight. The bound and
the scaling of rewards over the batch are those of ScaleRL (arXiv 2510.13786).
"""

from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2506.13585"
NEEDS = ("group",)
READS_IMAGES = True
TAKES_TOOLS = True


class Config(Method):
    """Settings of CISPO beside those of every algorithm."""

    epsilon_high: float = Field(5.0, gt=0, description="largest weight of a token")
    iterations: int = Field(
        2, ge=1, description="optimizer steps on one rollout, each over all of it; at 1 nothing is ever clipped"
    )


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's trainer with the settings of the paper; cut-off replies are left out."""
    from recipes.models.grpo_trainer import build_grpo

    return build_grpo(
        context, loss_type="cispo", scale_rewards="batch", epsilon_high=own.epsilon_high, num_iterations=own.iterations
    )
