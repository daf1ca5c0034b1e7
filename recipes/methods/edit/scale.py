"""Adapter scaling: a trained adapter times a factor, between the base (0) and the adapter as it is (1).

The straight line between a model before and after tuning, walked after training (WiSE-FT, arXiv 2109.01903), in the
weights of the adapter alone. What the adapter adds is proportional to its `lora_alpha`, so that number is all that
changes: the result is exact, on 4-bit weights too.
"""

import json
import shutil
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from recipes.base.errors import RecipeError
from recipes.config.conflicts import Conflict, Scope
from recipes.config.slots import Method, name_of
from recipes.models.edit_context import EditContext

VERSION = 1
PAPER = "arXiv 2109.01903"
CONFLICTS = [("sft.adapter.use=full edit.method.use=scale", "edit.method")]


class Config(Method):
    """How much of the adapter is left."""

    factor: float = Field(0.5, ge=0, description="of what the adapter adds; 0: the base, 1: the adapter as trained")


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """There has to be an adapter before."""
    trained = [step for step in scope.before if hasattr(step.settings, "adapter")]
    if trained and name_of(trained[-1].settings.adapter) == "full":
        reason = f"scales an adapter, and {trained[-1].name} leaves a whole model"
        instead = f'an adapter in {trained[-1].place}.adapter; or edit.method.use = "merge" of two whole models'
        yield scope.conflict("", reason, instead)


def edit(own: Config, context: EditContext) -> dict[str, Any]:
    """Write the adapter of the one input with its scale times `factor`.

    Raises:
        RecipeError: several models, one without an adapter, or an adapter whose change is not proportional to a scale
            (DoRA, and methods without `lora_alpha`).
    """
    (name, (_, adapter)), *others = context.models.items()
    if others or adapter is None:
        raise RecipeError(
            "scaling needs one model with an adapter",
            where="inputs of the step",
            got=", ".join(context.models) if others else f"{name}, a whole model",
            allowed="one step that leaves an adapter",
        )
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if "lora_alpha" not in config or config.get("use_dora"):
        raise RecipeError(
            "this adapter cannot be scaled by one number",
            where=adapter,
            got="DoRA" if config.get("use_dora") else config.get("peft_type"),
            allowed="an adapter whose change of the weights is proportional to lora_alpha: LoRA, rsLoRA, LoRAMoE",
            fix="merge it with weights instead",
        )
    config["lora_alpha"] *= own.factor
    if config.get("alpha_pattern"):
        config["alpha_pattern"] = {layer: alpha * own.factor for layer, alpha in config["alpha_pattern"].items()}
    target = context.out / "adapter"
    shutil.copytree(adapter, target, dirs_exist_ok=True)
    (target / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return {"factor": own.factor}
