"""Adapters on disk and the files of the slot `adapters` that know them: peft is told of a method before it loads one.

An adapter's folder names its method in adapter_config.json (`peft_type`). peft's own methods need nothing. Others have
a file in the slot with that PEFT_TYPE and a function `register()`, in this package, an installed one, or beside the
recipe file that was loaded.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from recipes.base.errors import RecipeError
from recipes.config.slots import list_installed, list_loaded, list_own, load_source

CONFIG = "adapter_config.json"


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """The configuration of an adapter's folder, as peft wrote it.

    Raises:
        RecipeError: the folder holds no adapter.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise RecipeError("the folder holds no adapter", where=folder, got="no such file", allowed=CONFIG)
    return json.loads(file.read_text(encoding="utf-8"))


def find_method(peft_type: str) -> ModuleType | None:
    """The file of the slot `adapters` whose PEFT_TYPE this is; None where no file claims it."""
    known = [load_source(source) for source in list_own("adapters").values()]
    known += list_loaded("adapters")
    for module in known:
        if getattr(module, "PEFT_TYPE", None) == peft_type:
            return module
    installed = (load_source(source) for source in list_installed("adapters").values())
    return next((module for module in installed if getattr(module, "PEFT_TYPE", None) == peft_type), None)


def register_adapter(folder: Path) -> None:
    """Make the method of an adapter's folder known to peft, where it is not.

    Raises:
        RecipeError: neither peft nor a file of the slot `adapters` knows the method.
    """
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    name = read_adapter_config(folder).get("peft_type", "")
    if name in PeftType.__members__ and PeftType[name] in PEFT_TYPE_TO_CONFIG_MAPPING:
        return
    module = find_method(name)
    if module is None or not hasattr(module, "register"):
        raise RecipeError(
            "nothing here knows the method of this adapter",
            where=folder / CONFIG,
            got=f"peft_type {name!r}",
            allowed="a method of peft, or one whose file in the slot adapters has this PEFT_TYPE and register()",
            fix="name the method in a recipe (use = …), so that its file is loaded",
        )
    module.register()


def is_mergeable(config: Any) -> bool:
    """Whether an adapter with this peft configuration can become part of the weights."""
    return getattr(find_method(type_of(config)), "MERGEABLE", True)


def type_of(config: Any) -> str:
    """The name of the method of a peft configuration."""
    return str(getattr(config.peft_type, "value", config.peft_type))
