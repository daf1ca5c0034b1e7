"""Balancing of LoRAMoE's experts: they get more of the tokens of rows of their own type (arXiv 2312.09979).

The forms and what each is for are told in loss.py.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from recipes.config.conflicts import Conflict, Scope
from recipes.config.slots import Method

if TYPE_CHECKING:
    from recipes.models.loss_protocol import Loss, LossContext

VERSION = 1
PAPER = "arXiv 2312.09979"
UNTYPED = ("lbl", "mi", "concentration")  # forms that ask for no types of rows or experts
LOGS = {
    "own_share": ("Own rows on their experts", "% of router weight"),
    "general_share": ("General rows on theirs", "% of router weight"),
}
HISTORY = {
    "balance/loss": "balance",
    "balance/matched_0": "own_share",
    "balance/matched_1": "general_share",
    "balance/entropy": "router_entropy",
}
CONFLICTS = [
    ("sft.losses.expert_balance.weight=0.1", "sft.losses.expert_balance"),
    (
        "sft.adapter.use=loramoe rows.mix.replay.share=0.1 sft.losses.expert_balance.weight=0.1 sft.adapter.general=0",
        "sft.adapter.general",
    ),
    ("sft.adapter.use=loramoe sft.losses.expert_balance.weight=0.1", "sft.losses.expert_balance"),
    (
        "sft.adapter.use=loramoe sft.losses.expert_balance.scope=buffer sft.losses.expert_balance.form=sample_cv2",
        "sft.losses.expert_balance.scope",
    ),
]


class Config(Method):
    """Which statistic of the routers is held down, over which tokens."""

    weight: float = Field(0.1, gt=0, description="beside the cross-entropy")
    form: Literal["type_cv2", "sample_cv2", "sample_var_mean", "lbl", "mi", "concentration"] = Field(
        "type_cv2",
        description="type_cv2: per type; sample_cv2: the authors' code; sample_var_mean: their text, which grows with "
        "the length of rows; lbl, mi, concentration: no types",
    )
    scope: Literal["micro", "buffer", "lagged"] = Field(
        "buffer", description="statistics of a micro-batch, of the step so far on all devices, or of the step before"
    )
    sign: Literal["attract", "official"] = Field(
        "attract", description="attract: matching experts get more; official: as in the authors' code, less"
    )
    delta: float = Field(0.1, ge=0, lt=1, description="how far the types are pulled apart")
    reduce: Literal["mean", "sum"] = Field("mean", description="over layers; under sum the weight grows with depth")
    mask: Literal["attention", "completion"] = Field("attention", description="every token, or those learnt from")

    @property
    def unpacked(self) -> bool:
        """Rows have types, which packed ones would lose."""
        return True

    @property
    def over_micro_batches(self) -> bool:
        """The statistics are those of micro-batches, or of a step so far: their size decides the result."""
        return True


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """It needs experts; and a form with types, experts and rows of both."""
    adapter = scope.step.settings.adapter
    if not hasattr(adapter, "experts"):
        yield scope.conflict("", "balances experts, and this adapter has none", 'adapter.use = "loramoe"')
        return
    without = f"or a form without types: {scope.path}.form = " + ", ".join(f'"{form}"' for form in UNTYPED)
    if own.form.startswith("sample") and own.scope != "micro":
        reason = "a form over samples holds every row to the same split, whatever it is gathered over"
        yield scope.conflict("scope", reason, '"micro" with this form', own.scope)
    if own.form in UNTYPED:
        return
    if not 0 < adapter.general < adapter.experts:
        place = scope.path.partition(".losses")[0]
        yield scope.conflict(
            f"/{place}.adapter.general",
            "this form of balancing gives each type of rows to experts of that type, so there must be some of both",
            f"at least 1 and fewer than adapter.experts = {adapter.experts}",
            adapter.general,
            without,
        )
    if not any(getattr(step.settings, "mix", None) for step in scope.before_of("rows")):
        yield scope.conflict(
            "",
            "this form of balancing gives general rows to one part of the experts and all others to the rest; without "
            "general rows it would keep every token from the first part",
            "general rows from [rows.mix.replay], or a form without types",
            fix=f"add --set rows.mix.replay.share=0.15, {without}",
        )


def make_loss(own: Config, context: "LossContext") -> "Loss":
    """The balance term for a trainer."""
    from recipes.methods.losses.expert_balance.loss import ExpertBalance

    adapter = cast(Any, context.adapter)  # LoRAMoE's table: `find_conflicts` refuses every other
    types = [1] * adapter.general + [0] * (adapter.experts - adapter.general)
    return ExpertBalance(expert_types=types, **own.model_dump(exclude={"use"}))
