"""What the engine gives to a method that makes a model from finished ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.config.schema import Model


@dataclass(frozen=True)
class EditContext:
    """The step that a method of the slot `edit` works in.

    Attributes:
        model: the recipe's `[model]` table.
        seed: of the run.
        models: {step: (whole model, its adapter's folder or None)} of the inputs that the step names, in their order.
        data: the folder of rows, where the step has one.
        out: folder of the step; the method leaves `adapter/` or `model/` in it.
        runtime: progress.
    """

    model: Model
    seed: int
    models: dict[str, tuple[Model, Path | None]]
    data: Path | None
    out: Path
    runtime: Any
