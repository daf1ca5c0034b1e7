"""Offline self-training: sample once, learn the right replies beside the gold ones (ReFT, arXiv 2401.08967)."""

from typing import TYPE_CHECKING, Any

from recipes.config.slots import Method

if TYPE_CHECKING:
    from transformers import Trainer

    from recipes.models.rl_context import RlContext

VERSION = 1
PAPER = "arXiv 2401.08967"
NEEDS = ("group",)
UNREAD = ("partial", "format_weight", "use_vllm", "order")  # its rows are learnt in SFTTrainer's own random order
PILOT = "online_self_training"  # the same work in another order, of which a few steps can be measured


class Config(Method):
    """No settings of its own."""


def count_completions(rl: Any, rows: int) -> int:
    """Replies that a run on so many rows samples: to no row twice."""
    return min(rows, rl.steps * rl.prompts_per_step) * rl.group_size


def make_trainer(own: Config, context: "RlContext") -> "Trainer":
    """TRL's SFTTrainer over gold and own right replies; what was sampled stays in replies.jsonl."""
    from recipes.methods.rl.offline_self_training.trainer import make_offline_trainer

    return make_offline_trainer(context)
