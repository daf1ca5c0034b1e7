"""Models -> a model without training: merge, scale, prune, compress. The method is a file of the slot `edit`.

models of the inputs ──► method ──► adapter/ or model/
"""

from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, list_models, start
from recipes.base.errors import RecipeError
from recipes.base.table import Table
from recipes.config.slots import Method, module_of, name_of, one_of

VERSION = 2
PLACE = 80
LEAVES = "model"
TITLE = "Edit"


class Config(Table):
    """What is done to the models."""

    method: SerializeAsAny[Method] = one_of("edit", "merge")


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    reads = {"models": MODEL_FILES}
    if "rows" in getattr(module_of(spec.edit.method), "NEEDS", ()):
        reads["rows"] = ["*.jsonl"]
    return reads


def forecast(spec: Any, counts: dict[str, Any], runs: Path) -> Work:
    """Nothing is trained."""
    return Work(notes=name_of(spec.edit.method))


def run(spec: Any, inputs: dict[str, Path], out: Path, runtime: Any) -> dict[str, Any]:
    """Edit the models that the step names; leaves adapter/ or model/.

    Raises:
        RecipeError: there is no model, or the method left none.
    """
    from recipes.models.base_files import note_base
    from recipes.models.edit_context import EditContext

    direct = getattr(inputs, "direct", ()) or tuple(list_models(inputs)[-1:])
    models = {name: start(spec.model, inputs, name) for name in direct if name in list_models(inputs)}
    if not models:
        raise RecipeError(
            "there is no model to edit",
            where="inputs of the step",
            got=", ".join(inputs) or "none",
            allowed="steps that leave a model",
            fix="name them in inputs",
        )
    context = EditContext(spec.model, spec.seed, models, inputs.get("data"), out, runtime)
    metrics = module_of(spec.edit.method).edit(spec.edit.method, context) or {}
    if not list_models({"out": out}):
        raise RecipeError(
            "the method left no model",
            where=f"edit {name_of(spec.edit.method)}",
            got=", ".join(path.name for path in out.iterdir()) or "nothing",
            allowed="adapter/ or model/",
        )
    if (out / "adapter").is_dir():
        whole, _ = next(iter(models.values()))
        note_base(whole, out / "adapter")
    return {"tokens": 0, "models": list(models)} | metrics
