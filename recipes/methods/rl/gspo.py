"""GSPO: ratios and clipping of whole replies instead of tokens (arXiv 2507.18071), through TRL.

The ratio of a reply is the geometric mean of those of its tokens, so the bounds are hundreds of times narrower. The
paper takes four optimizer steps on parts of one rollout; here `iterations` steps look at all of it.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2507.18071"
NEEDS = ("group",)
READS_IMAGES = True
TAKES_TOOLS = True


class Config(Method):
    """Settings of GSPO beside those of every algorithm."""

    epsilon: float = Field(3e-4, gt=0, lt=1, description="how far a reply's ratio may fall below 1")
    epsilon_high: float = Field(4e-4, gt=0, description="how far it may rise above 1")
    iterations: int = Field(
        2, ge=1, description="optimizer steps on one rollout, each over all of it; at 1 nothing is ever clipped"
    )


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's trainer with the settings of the paper; cut-off replies are left out."""
    from recipes.models.grpo_trainer import build_grpo

    return build_grpo(
        context,
        loss_type="grpo",
        importance_sampling_level="sequence",
        epsilon=own.epsilon,
        epsilon_high=own.epsilon_high,
        num_iterations=own.iterations,
    )
