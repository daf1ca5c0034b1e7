"""SAPO: a smooth gate in the place of clipping (arXiv 2511.20347), through TRL.

Tokens whose ratio moves away from 1 count less and less, those of replies with negative advantage fading sooner.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2511.20347"
NEEDS = ("group",)
READS_IMAGES = True
TAKES_TOOLS = True


class Config(Method):
    """Settings of SAPO beside those of every algorithm."""

    temperature_positive: float = Field(1.0, gt=0, description="of the gate, for tokens of replies above the mean")
    temperature_negative: float = Field(1.05, gt=0, description="of the gate, for the others; higher fades sooner")
    iterations: int = Field(
        2, ge=1, description="optimizer steps on one rollout, each over all of it; at 1 nothing is ever clipped"
    )


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's trainer with the settings of the paper; cut-off replies are left out."""
    from recipes.models.grpo_trainer import build_grpo

    return build_grpo(
        context,
        loss_type="sapo",
        sapo_temperature_pos=own.temperature_positive,
        sapo_temperature_neg=own.temperature_negative,
        num_iterations=own.iterations,
    )
