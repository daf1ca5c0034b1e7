"""Full fine-tuning: every weight learns, and a whole model is left."""

from collections.abc import Iterator

from recipes.config.conflicts import Conflict, Scope
from recipes.config.slots import Method

VERSION = 1
PAPER = ""
CONFLICTS = [("model.quantization=nf4 sft.adapter.use=full", "model.quantization")]


class Config(Method):
    """No settings."""


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """4-bit weights cannot learn."""
    if scope.model.quantization != "none":
        yield scope.conflict(
            "/model.quantization",
            "4-bit weights cannot be trained themselves",
            f'nf4 with an adapter, such as {scope.path}.use = "lora"',
            scope.model.quantization,
            f'set model.quantization = "none" or {scope.path}.use = "lora"',
        )


def make_config(own: Config, targets: str | list[str]) -> None:
    """No adapter."""
    return None
