"""GRPO: a reply counts against the others to its prompt (arXiv 2402.03300), through TRL."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2402.03300"
NEEDS = ("group",)
READS_IMAGES = True
TAKES_TOOLS = True


class Config(Method):
    """Settings of GRPO beside those of every algorithm."""

    beta: float = Field(0.0, ge=0, description="weight of the KL penalty to the model before reinforcement")
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = Field(
        "dapo", description="how token losses are averaged, as in TRL"
    )
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="what advantages are divided by")


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's trainer, without passes over replies of zero advantage; cut-off replies are left out."""
    from recipes.models.grpo_trainer import build_grpo

    return build_grpo(context, beta=own.beta, loss_type=own.loss_type, scale_rewards=own.scale_rewards)
