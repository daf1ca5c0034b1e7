"""LoRA and its variants DoRA, rsLoRA, PiSSA and LoRA+, through peft (arXiv 2106.09685)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from recipes.config.conflicts import Conflict, Scope
from recipes.config.schema import Names
from recipes.config.slots import Method

if TYPE_CHECKING:
    from peft import PeftConfig

VERSION = 1
PAPER = "arXiv 2106.09685"
CONFLICTS = [
    ("model.quantization=nf4 sft.adapter.init=pissa", "sft.adapter.init"),
    ("sft.adapter.init=pissa sft.adapter.dora=true", "sft.adapter.init"),
    ('sft.adapter.target=["all-linear","q_proj"]', "sft.adapter.target"),
]


class Config(Method):
    """A low-rank update of the layers named by `target`."""

    rank: int = Field(16, ge=1, description="rank of the update")
    alpha: float = Field(32.0, gt=0, description="scale; the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the update's input, a share")
    target: Names = Field(("all-linear",), min_length=1, description='["all-linear"] or endings of module names')
    init: Literal["zero", "pissa"] = Field(
        "zero",
        description="start: no change, or the main singular directions of the weights (arXiv 2404.02948)",
    )
    dora: bool = Field(False, description="learn the size of the weights apart from their direction (arXiv 2402.09353)")
    rslora: bool = Field(False, description="multiply by alpha / sqrt(rank) instead (arXiv 2312.03732)")
    lora_plus: float = Field(1.0, ge=1, description="learning rate of B over that of A (arXiv 2402.12354)")


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """PiSSA needs plain weights and an update of its own form."""
    if own.init == "pissa" and scope.model.quantization != "none":
        reason = "PiSSA takes its start out of the weights, which 4-bit ones do not allow"
        yield scope.conflict("init", reason, '"zero" with nf4', own.init)
    if own.init == "pissa" and own.dora:
        reason = "a PiSSA adapter with DoRA cannot be turned into one for the unchanged base"
        yield scope.conflict("init", reason, '"zero" with dora', own.init)
    if "all-linear" in own.target and len(own.target) > 1:
        instead = '["all-linear"] or endings of module names'
        yield scope.conflict("target", '"all-linear" stands alone', instead, list(own.target))


def make_config(own: Config, targets: str | list[str]) -> "PeftConfig":
    """peft's configuration on the modules `targets`."""
    from peft import LoraConfig

    return LoraConfig(
        r=own.rank,
        lora_alpha=own.alpha,  # pyright: ignore[reportArgumentType]  peft takes any number
        lora_dropout=own.dropout,
        target_modules=targets,
        init_lora_weights="pissa" if own.init == "pissa" else True,
        use_dora=own.dora,
        use_rslora=own.rslora,
        task_type="CAUSAL_LM",
    )


def count_weights(own: Config, maps: list[tuple[int, int]]) -> int:
    """Weights of the update beside `maps`, (inputs, outputs) each; DoRA's sizes with them."""
    return sum(own.rank * (inputs + outputs) + own.dora * outputs for inputs, outputs in maps)


def count_kept(own: Config) -> int:
    """Values that the backward pass needs of each token and map beside the map's own."""
    return own.rank


def changes_base(own: Config) -> bool:
    """Whether the adapter's start changes the base, so that what is saved has to be the change since."""
    return own.init == "pissa"
