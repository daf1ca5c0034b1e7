"""KL penalty to the reference model on assistant tokens: NSC-SFT of AnalogSeeker (arXiv 2508.10409, eq. 7-8)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from recipes.config.conflicts import Conflict, Scope
from recipes.config.slots import Method

if TYPE_CHECKING:
    from recipes.models.loss_protocol import Loss, LossContext

VERSION = 1
PAPER = "arXiv 2508.10409"
NEEDS = ("reference_model",)
LOGS = {"kl": ("KL to the reference", "nats per token")}
HISTORY = {"kl/mean": "kl"}
CONFLICTS = [
    ("sft.losses.kl_to_reference.weight=0.1 sft.adapter.init=pissa", "sft.losses.kl_to_reference"),
    (
        "steps.data.use=data steps.first.use=sft steps.sft.use=sft sft.losses.kl_to_reference.weight=0.1",
        "sft.losses.kl_to_reference",
    ),
]


class Config(Method):
    """Weight and direction of the penalty."""

    weight: float = Field(0.1, gt=0, description="of the mean divergence over assistant tokens, beside the loss")
    direction: Literal["policy", "reference"] = Field(
        "policy", description="policy: KL(model, reference), as AnalogSeeker; reference: KL(reference, model)"
    )


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """With the adapter off the model has to be the one that training starts from."""
    adapter = getattr(scope.step.settings, "adapter", None)
    if getattr(adapter, "init", "") == "pissa":
        reason = "with the adapter off a PiSSA model is not the model it started from, so there is no reference"
        yield scope.conflict("", reason, 'init = "zero" of the adapter')
    before = scope.adapter_before()
    if before is not None and getattr(adapter, "use", "") != "full":
        name = before.name
        yield scope.conflict(
            "",
            f"the adapter of the step {name} is trained on; with it off the model is the one before {name}",
            f'{name}.adapter.use = "full", or no penalty here',
            fix="put the general rows of the first step among these with [rows.mix.replay] instead",
        )


def make_loss(own: Config, context: "LossContext") -> "Loss":
    """The penalty for a trainer."""
    from recipes.methods.losses.kl_to_reference.loss import KLToReference, check_head

    check_head(context.base)
    return KLToReference(own.weight, own.direction, context.copy_reference())
