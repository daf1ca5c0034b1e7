"""TRL's GRPOTrainer, without forward and backward passes over replies that teach nothing."""

from typing import TYPE_CHECKING, Any

from trl import GRPOConfig, GRPOTrainer

from recipes.models.rl_context import RlContext

if TYPE_CHECKING:
    from transformers import Trainer

PER_REPLY = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")  # one row for each reply


class SkipZeroAdvantageGRPOTrainer(GRPOTrainer):
    """Leaves out replies whose advantage is zero (their group has no spread) or whose every token is masked.

    Their loss and gradient are zero where the loss is divided by the token count of the whole batch, which TRL fixes
    before this (`dapo`), and where no KL term looks at them too (`beta` = 0); elsewhere every reply is kept. Entropy
    and clip ratios are then logged over the replies that teach.
    """

    def _compute_loss(self, model, inputs):
        if self.loss_type == "dapo" and self.beta == 0.0 and not inputs.keys() - {*PER_REPLY, "num_items_in_batch"}:
            inputs = inputs | teaching(inputs)
        return super()._compute_loss(model, inputs)


def teaching(inputs: dict) -> dict:
    """The tensors named in PER_REPLY without the replies that teach nothing, cut to the longest prompt and reply left.

    Shapes: prompts [B, P] padded left, completions [B, C] padded right, advantages [B]. One reply stays where none
    teaches, so that there is a loss.
    """
    kept = (inputs["advantages"] != 0) & inputs["completion_mask"].any(dim=1)
    if not kept.any():
        kept[0] = True
    found = {name: inputs[name][kept] for name in PER_REPLY}
    prompt, reply = (max(1, int(found[f"{part}_mask"].sum(dim=1).max())) for part in ("prompt", "completion"))
    for name in ("prompt_ids", "prompt_mask"):
        found[name] = found[name][:, -prompt:]
    for name in ("completion_ids", "completion_mask"):
        found[name] = found[name][:, :reply]
    return found


def build_grpo(context: RlContext, **settings: Any) -> "Trainer":
    """The trainer with these settings of TRL's GRPOConfig; cut-off replies are left out of the loss."""
    arguments = GRPOConfig(**context.shared, mask_truncated_completions=True, **settings)
    return context.build(SkipZeroAdvantageGRPOTrainer, arguments)
