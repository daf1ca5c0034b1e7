"""LoRAMoE: several LoRA experts behind a router in every adapted layer (arXiv 2312.09979)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from recipes.config.conflicts import Conflict, Scope
from recipes.config.schema import Names
from recipes.config.slots import Method

if TYPE_CHECKING:
    from peft import PeftConfig

VERSION = 1
PAPER = "arXiv 2312.09979"
MERGEABLE = False  # what it adds depends on the input through the router
PEFT_TYPE = "LORAMOE"
PACKAGE = "recipes.models.loramoe"  # importing it registers the method; `python -m` runs lm-eval where peft knows it
CONFLICTS = [
    ("sft.adapter.use=loramoe sft.adapter.general=7", "sft.adapter.general"),
    ("sft.adapter.use=loramoe sft.adapter.top_k=7", "sft.adapter.top_k"),
]


class Config(Method):
    """Experts of one rank; the sum of their updates is weighed by the router for each token."""

    rank: int = Field(16, ge=1, description="rank of every expert")
    alpha: float = Field(32.0, gt=0, description="scale; an expert's update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the experts' input, a share")
    target: Names = Field(("all-linear",), min_length=1, description='["all-linear"] or endings of module names')
    experts: int = Field(6, ge=2, description="experts of a layer")
    general: int = Field(3, ge=0, description="of these, how many are of the type of general rows (kind world)")
    top_k: int = Field(0, ge=0, description="experts that a token is given to; 0: all, by weight")


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """No more of a kind than there are experts."""
    for key in ("general", "top_k"):
        if getattr(own, key) > own.experts:
            instead = f"at most {scope.path}.experts = {own.experts}"
            yield scope.conflict(key, "more than there are experts", instead, getattr(own, key))


def make_config(own: Config, targets: str | list[str]) -> "PeftConfig":
    """peft's configuration on the modules `targets`."""
    register()
    from recipes.models.loramoe.config import LoraMoeConfig

    return LoraMoeConfig(
        r=own.rank,
        lora_alpha=own.alpha,
        dropout=own.dropout,
        target_modules=targets,
        num_experts=own.experts,
        expert_types=expert_types(own),
        top_k=own.top_k,
        task_type="CAUSAL_LM",
    )


def count_weights(own: Config, maps: list[tuple[int, int]]) -> int:
    """Weights of experts and router beside `maps`, (inputs, outputs) each."""
    return sum(own.experts * (own.rank * (inputs + outputs) + inputs) for inputs, outputs in maps)


def count_kept(own: Config) -> int:
    """Values that the backward pass needs of each token and map: the experts' inner ones before and after they are
    weighed, and the router's."""
    return own.experts * (2 * own.rank + 4)


def register() -> None:
    """Make the method known to peft."""
    import recipes.models.loramoe  # noqa: F401  importing it registers the method


def expert_types(own: Config) -> list[int]:
    """Type of each expert, as of the rows: 1 for general ones, 0 for the recipe's own."""
    return [1] * own.general + [0] * (own.experts - own.general)
