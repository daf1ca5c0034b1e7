"""Protocol of an auxiliary loss, and what one may ask of the engine when it is made."""

from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import torch

from recipes.config.slots import Method


@dataclass(frozen=True)
class LossContext:
    """What the engine gives to `make_loss`.

    Attributes:
        base: the model before anything is trained, without a new adapter.
        adapter: table of the adapter that learns.
        whole: whether every weight learns, so that the reference model has to be a copy.
    """

    base: torch.nn.Module
    adapter: Method
    whole: bool

    def copy_reference(self) -> torch.nn.Module | None:
        """A frozen copy of the model before training where every weight learns; else None: it is the model with its
        adapter off."""
        return deepcopy(self.base).requires_grad_(False).eval() if self.whole else None


class Loss(Protocol):
    """A term beside the cross-entropy of supervised training; `name` stands before its metrics in the log."""

    name: str

    def capture(self, model) -> AbstractContextManager:
        """Entered around the trainer's own forward pass of `model`, to keep what the term needs of it."""
        ...

    def loss(self, model, inputs, per_batch: float, per_token: float) -> tuple[torch.Tensor | None, dict[str, float]]:
        """The term of this micro-batch, its weight included, and what to log; called right after that forward pass.

        `inputs` is the batch: input_ids, attention_mask, labels, and sample_type where rows have types. A mean over
        the micro-batch is multiplied by `per_batch`, a sum over its learnt tokens by `per_token`: then the terms of
        all micro-batches and ranks add up to one mean over the optimizer step, as the cross-entropy does.
        """
        ...

    def on_step_end(self) -> None:
        """Called after each optimizer step."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What the next optimizer step needs of those before, for a checkpoint; empty for nothing."""
        ...

    def load_state_dict(self, kept: dict[str, torch.Tensor]) -> None:
        """Take back what `kept` gave when the checkpoint was written."""
