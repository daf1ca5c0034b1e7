"""Which checkpoint a run has come to: the whole model, and the adapter on it."""

from collections.abc import Mapping
from pathlib import Path

from recipes.config.schema import Model

MODEL_FILES = ["adapter/*", "model/*"]  # what a step leaves that trained or made a model: one of the two folders


class Inputs(dict[str, Path]):
    """What a step gets: {"data": folder of rows, name of an earlier step: its folder}, oldest first.

    `lines` says of each model which steps made it, the model's own last; where it says nothing a model is made by all
    models before it. `direct` are the inputs that the step names itself, `asked` the models that an evaluation asks.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        lines: Mapping[str, tuple[str, ...]] | None = None,
        direct: tuple[str, ...] = (),
        asked: tuple[str, ...] = (),
    ):
        super().__init__(folders)
        self.lines, self.direct, self.asked = dict(lines or {}), direct, asked


def list_models(inputs: Mapping[str, Path]) -> list[str]:
    """Names of the inputs that hold a model or an adapter, in their order."""
    return [name for name, folder in inputs.items() if (folder / "model").is_dir() or (folder / "adapter").is_dir()]


def start(model: Model, inputs: Mapping[str, Path], name: str | None = None) -> tuple[Model, Path | None]:
    """(the whole model, the adapter on it or None) that the step `name` left.

    Without a name it is the first model that the step names in its inputs, the base where it names none; the newest of
    `inputs` where they do not say what is named. Each step leaves a whole model, or an adapter for the whole model
    before it that holds all that was learnt since.

    Args:
        model: the recipe's `[model]` table.

    Returns:
        The table with the name of the folder in place of the base's where a step left a whole model; the folder of the
        newest adapter after it.
    """
    names = list_models(inputs)
    if name is None:
        direct = getattr(inputs, "direct", ())
        named = [one for one in direct if one in names] if direct else names[-1:]
        name = named[0] if named else None
    if name is None:
        return model, None
    line = getattr(inputs, "lines", {}).get(name) or names[: names.index(name) + 1]
    adapter = None
    for one in line:
        if (inputs[one] / "model").is_dir():
            model = model.model_copy(update={"name": str((inputs[one] / "model").resolve()), "revision": "main"})
            adapter = None
        else:
            adapter = inputs[one] / "adapter"
    return model, adapter
