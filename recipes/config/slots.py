"""Finds the files of a slot: one file a method, one file a stage. Nothing is listed by hand.

stages               recipes/stages/NAME.py
losses, adapters …   recipes/methods/SLOT/NAME.py

A name is looked for in this package, then beside the recipe file (`stages/NAME.py`, `methods/SLOT/NAME.py`), then among
the entry points `recipes.SLOT` of installed packages. Names that begin with `_` are no methods. A file is imported only
when a recipe names it, and none of them imports torch at its top.
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field

from recipes.base.places import ROOT
from recipes.base.table import Table

SLOTS = {
    "select": "which rows are kept",
    "augment": "rows made from rows",
    "mix": "rows of other sources among the recipe's own",
    "adapters": "what of a model learns",
    "losses": "terms beside the cross-entropy",
    "rl": "algorithms of reinforcement learning",
    "edit": "a model made from finished models, without training",
    "infer": "ways to answer",
    "probe": "what is measured inside a model",
    "env": "turns, tools and simulators around a model",
}


class Method(Table):
    """The table of a method; `use` is the name of its file, filled in where a table is named for its method."""

    use: str = Field("", description="name of the method")


@dataclass(frozen=True)
class Source:
    """Where a method or stage comes from: `origin` is "recipes", a file beside the recipe file, or a package."""

    slot: str
    name: str
    origin: str
    place: str | Path | EntryPoint  # dotted module, file, or entry point

    @property
    def about(self) -> str:
        """Where it comes from, for people."""
        return f"file {self.place}" if isinstance(self.place, Path) else self.origin


def one_of(slot: str, default: str) -> Any:
    """A field that holds one method of a slot; `default` names the one of a recipe that says nothing."""
    return Field(
        default_factory=lambda: load(slot, default).Config(use=default),
        description=f"one of the slot {slot}: {SLOTS[slot]}",
        json_schema_extra={"slot": slot, "default": default},
    )


def many_of(slot: str) -> Any:
    """A field that holds any number of methods of a slot, each in a table of its own, in the order of the file."""
    return Field(
        default_factory=dict,
        description=f"tables of the slot {slot}: {SLOTS[slot]}; a table is called as its method, or names it by `use`",
        json_schema_extra={"slot": slot, "many": True},
    )


def list_own(slot: str) -> dict[str, Source]:
    """{name: source} of the files of a slot in this package."""
    package = "recipes.stages" if slot == "stages" else f"recipes.methods.{slot}"
    folder = ROOT.joinpath(*package.split("."))
    return {name: Source(slot, name, "recipes", f"{package}.{name}") for name in _names_in(folder)}


def list_beside(slot: str, home: Path | None) -> dict[str, Source]:
    """{name: source} of the files of a slot beside a recipe file, which lies in `home`; no link leads out of it."""
    folder = home and (home / "stages" if slot == "stages" else home / "methods" / slot)
    if folder is None or not folder.is_dir() or folder.resolve().is_relative_to(ROOT / "recipes"):
        return {}
    files = {name: path for name, path in _names_in(folder).items() if path.resolve().is_relative_to(folder.resolve())}
    return {name: Source(slot, name, str(path), path) for name, path in files.items()}


def list_installed(slot: str) -> dict[str, Source]:
    """{name: source} of the entry points that installed packages give to a slot."""
    found = entry_points(group=f"recipes.{slot}")
    return {
        point.name: Source(slot, point.name, f"package {point.dist.name if point.dist else '?'}", point)
        for point in found
    }


def find(slot: str, home: Path | None = None) -> dict[str, Source]:
    """{name: source} of everything in a slot; where two have one name, this package's, then that beside the file."""
    return dict(sorted((list_installed(slot) | list_beside(slot, home) | list_own(slot)).items()))


def find_one(slot: str, name: str, home: Path | None = None) -> Source | None:
    """The source of one name; installed packages are asked only where nothing nearer has it."""
    return list_own(slot).get(name) or list_beside(slot, home).get(name) or list_installed(slot).get(name)


def load(slot: str, name: str, home: Path | None = None) -> ModuleType:
    """The module of a method or stage.

    Raises:
        KeyError: there is none by that name.
        ImportError: its file cannot be imported.
    """
    source = find_one(slot, name, home)
    if source is None:
        raise KeyError(name)
    return load_source(source)


_loaded: dict[tuple[str, str], Source] = {}  # (slot, name of the module) of all that this process imported


def load_source(source: Source) -> ModuleType:
    """Import a method's module; the same object for the same file."""
    if isinstance(source.place, str):
        module = importlib.import_module(source.place)
    elif isinstance(source.place, EntryPoint):
        announce(source)
        module = source.place.load()
        sys.modules.setdefault(module.__name__, module)
    else:
        module = _load_file(source.slot, source.name, source.place.resolve())
    _loaded[source.slot, module.__name__] = source
    return module


def announce(source: Source) -> None:
    """Name a method of an installed package on stderr before its code runs for the first time."""
    if isinstance(source.place, EntryPoint) and source.place.module not in sys.modules:
        print(
            f"loading {source.slot}/{source.name} of {source.about}: {source.place.value}", file=sys.stderr, flush=True
        )


def list_loaded(slot: str) -> list[ModuleType]:
    """The modules of a slot that this process has imported so far, because a recipe named them."""
    return [sys.modules[name] for of, name in _loaded if of == slot and name in sys.modules]


def source_of(module: ModuleType) -> Source | None:
    """Where a module that was loaded from a slot comes from."""
    own = getattr(module, "__name__", "")
    return next((source for (_, name), source in _loaded.items() if name == own), None)


def list_needs(settings: object, module: ModuleType) -> tuple[str, ...]:
    """What a method asks of the engine: its NEEDS, or what its own `list_needs` says for this table."""
    own = getattr(module, "list_needs", None)
    return own(settings) if own else getattr(module, "NEEDS", ())


@cache
def _load_file(slot: str, name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipes_beside.{slot}.{name}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def module_of(settings: object) -> ModuleType:
    """The module of a method or stage, from its table."""
    return sys.modules[type(settings).__module__]


def name_of(settings: Method) -> str:
    """The name of the method whose table this is."""
    return settings.use or type(settings).__module__.rpartition(".")[2]


def outside(settings: object) -> Path | None:
    """The file of a method from outside this package; None for one of its own."""
    module = module_of(settings)
    own = module.__name__.startswith("recipes.")
    return None if own or not module.__file__ else Path(module.__file__)


def _names_in(folder: Path) -> dict[str, Path]:
    files = {path.stem: path for path in folder.glob("[a-z]*.py")}
    packages = {path.parent.name: path for path in folder.glob("[a-z]*/__init__.py")}
    return dict(sorted((files | packages).items()))
