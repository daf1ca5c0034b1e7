"""Online rejection-sampling self-training, a baseline of ReFT (arXiv 2401.08967, section 4.2).

Each step samples from the policy as it is and fine-tunes on the right replies.
"""

from typing import cast

import torch

from recipes.models.grpo_trainer import SkipZeroAdvantageGRPOTrainer


class SelfTrainingTrainer(SkipZeroAdvantageGRPOTrainer):
    """Supervised fine-tuning on the policy's own right replies: advantage 1 for those, 0 for all others.

    A reply is right where the first reward function gives 1. There is no baseline and no clipping, and the loss is the
    mean over the tokens of the right replies, so that its gradient is that of their negative log-likelihood. `args` has
    loss_type "dapo" and beta 0.
    """

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self._rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return self._rewards

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        start = self.accelerator.process_index * len(inputs)
        right = self._rewards[start : start + len(inputs), 0] >= 1.0
        # without old log-probs the ratio is 1 with the gradient of the log-likelihood, and nothing is clipped
        output.pop("old_per_token_logps", None)
        tokens = (output["completion_mask"] * right.unsqueeze(1)).sum()
        return output | {
            "advantages": right.float(),
            "num_items_in_batch": cast(torch.Tensor, self.accelerator.gather(tokens)).sum(),
        }
