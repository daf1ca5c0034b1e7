"""What a term of the loss is to the trainer that adds it."""

from contextlib import AbstractContextManager
from typing import Protocol

import torch


class Term(Protocol):
    """Something added to the cross-entropy of supervised training; `name` stands before its metrics in the log."""

    name: str

    def watching(self, model) -> AbstractContextManager:
        """Entered around the trainer's own forward pass of `model`, to keep what the term needs of it."""

    def loss(self, model, inputs, per_batch: float, per_token: float) -> tuple[torch.Tensor | None, dict[str, float]]:
        """The term of this micro-batch, its weight included, and what to log; called right after that forward pass.

        `inputs` is the batch: input_ids, attention_mask, labels, and sample_type where rows have types. A mean over
        the micro-batch is multiplied by `per_batch`, a sum over its learnt tokens by `per_token`: then the terms of
        all micro-batches and ranks add up to one mean over the optimizer step, as the cross-entropy does.
        """

    def step_end(self) -> None:
        """Called after each optimizer step."""

    def kept(self) -> dict[str, torch.Tensor]:
        """What the next optimizer step needs of those before, for a checkpoint; empty for nothing."""

    def go_on(self, kept: dict[str, torch.Tensor]) -> None:
        """Take back what `kept` gave when the checkpoint was written."""
