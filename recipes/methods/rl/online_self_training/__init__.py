"""Online self-training: each step learns the policy's own right replies (ReFT, arXiv 2401.08967, section 4.2)."""

from typing import TYPE_CHECKING

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2401.08967"
NEEDS = ("group",)
UNREAD = ("partial", "format_weight")  # settings of [rl] that play no part: a reply is right or is not learnt


class Config(Method):
    """No settings of its own."""


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """A GRPO trainer whose advantage is 1 for right replies and 0 for others."""
    from trl import GRPOConfig

    from recipes.methods.rl.online_self_training.trainer import SelfTrainingTrainer

    arguments = GRPOConfig(
        **context.shared, mask_truncated_completions=True, beta=0.0, loss_type="dapo", scale_rewards="none"
    )
    return context.build(SelfTrainingTrainer, arguments)
