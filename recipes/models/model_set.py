"""The models that an evaluation asks: loaded when the first reply is missing, adapters of one base switched on it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from recipes.artifacts.lineage import start
from recipes.artifacts.steps import MODEL_FOLDER
from recipes.base.hashing import Digests
from recipes.config.schema import Model, model_folder
from recipes.models.base_files import check_base, digest_base

BASE = "base"


class ModelSet:
    """The base and the models that steps left, by the names of the steps.

    Args:
        model: the recipe's `[model]` table.
        inputs: see `recipes.artifacts.lineage.Inputs`.
        names: the steps whose models are asked.
    """

    def __init__(self, model: Model, inputs: Mapping[str, Path], names: list[str], digests: Digests):
        self.model, self._digests = model, digests
        self.reached = {BASE: (model, None)} | {name: start(model, inputs, name) for name in names}
        self._base: Any = None
        self._switched: Any = None  # the base with its adapters on it
        self._other: tuple[str, Any] = ("", None)  # the last model that stands on another whole model

    def describe(self, name: str) -> dict[str, Any]:
        """What a model is: its files, or the hub id and revision; dtype and quantization."""
        whole, adapter = self.reached[name]
        folder = model_folder(whole.name)
        files = self._digests.tree(folder, MODEL_FOLDER) if folder else {whole.name: whole.revision}
        if not folder and (digest := digest_base(whole)):
            files |= {"files": digest}  # of the snapshot in the cache, for a branch may move
        on_it = self._digests.tree(adapter, MODEL_FOLDER) if adapter else {}
        return {"whole": files, "adapter": on_it, "dtype": whole.dtype, "quantization": whole.quantization}

    @contextmanager
    def active(self, name: str) -> Iterator[tuple[Any, Any]]:
        """(the model ready to answer, the base beside it or None where it is the model with its adapter off)."""
        from recipes.models import loader

        whole, adapter = self.reached[name]
        if whole == self.model:
            model = self._load_switched()
            if adapter is not None:
                model.set_adapter(name)
            off = model.disable_adapter() if adapter is None and hasattr(model, "peft_config") else nullcontext()
            with off:
                yield model, None
            return
        if self._other[0] != name:
            self._other = ("", None)  # freed before the next is loaded
            self._other = (name, loader.load_reached(whole, adapter).eval())
        yield self._other[1], self._load_base()

    def _load_base(self) -> Any:
        from recipes.models import loader

        if self._base is None:
            self._base = loader.load_base(self.model).eval()
        return self._base

    def _load_switched(self) -> Any:
        """The base with the adapters of all models that stand on it."""
        from recipes.models import loader

        if self._switched is None:
            adapters = {
                name: on for name, (whole, on) in self.reached.items() if on is not None and whole == self.model
            }
            for adapter in adapters.values():
                check_base(self.model, adapter)
            base = self._load_base()
            self._switched = loader.load_adapters(base, adapters).eval() if adapters else base
        return self._switched
