"""A recipe table being put together: layers laid over each other, each value with its place, and the problems."""

import ast
import copy
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from recipes.base.errors import RecipeError
from recipes.base.redact import mask
from recipes.base.toml import toml_value
from recipes.config.slots import find_one, list_beside, list_own, load_source
from recipes.config.slots import load as load_slot

ABOUT_STEP = ("inputs", "measured", "builder")  # keys of a step that are none of its stage's


@dataclass
class Draft:
    """A recipe table being put together; remembers where every value came from and collects the problems."""

    file: Path
    name: str
    profile: str
    raw: dict

    def __post_init__(self):
        self.problems, self.broken, self.origins, self.shared = [], [], {}, {}
        self.table = copy.deepcopy({key: value for key, value in self.raw.items() if key != "profiles"})
        named = self.raw.get("profiles", {})
        if not isinstance(named, dict):
            self.problem("profiles", "must be tables", toml_value(named), f"[{self.name}.profiles.NAME]")
            return
        overlay = named.get(self.profile, {})
        if isinstance(overlay, dict):
            self._overlay(self.table, overlay, "", f"[{self.name}.profiles.{self.profile}")
        else:
            self.problem(
                f"profiles.{self.profile}", "must be a table", toml_value(overlay), f"[{self.name}.profiles.NAME]"
            )

    def _overlay(self, table, overlay, prefix, origin):
        for key, value in overlay.items():
            dotted = prefix + key
            below = table.get(key)
            if isinstance(value, dict) and isinstance(below, dict) and not self._is_other(below, value, dotted):
                self._overlay(table[key], value, dotted + ".", f"{origin}.{key}")
            else:
                table[key] = copy.deepcopy(value)
                self.origins[dotted] = origin + "]"

    def set(self, text):
        """Apply one `dotted.key=value`; the value is TOML, or else taken as a bare string."""
        dotted, equals, value = text.partition("=")
        dotted = dotted.strip()
        if not equals or not re.fullmatch(r"\w[\w-]*(\.\w[\w-]*)*", dotted) or dotted.split(".")[0] == "profiles":
            self.problems.append(
                RecipeError(
                    "--set does not say what to set",
                    where="--set",
                    got=mask(text),
                    allowed="dotted.key=value, for example sft.learning_rate=2e-4",
                )
            )
            return
        try:
            value = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            value = value.strip()
        *parents, last = dotted.split(".")
        table = self.table
        for depth, part in enumerate(parents):
            if part not in table:
                self.origins[".".join(parents[: depth + 1])] = "--set"
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                self.origins[dotted] = "--set"
                self.problem(dotted, f"{'.'.join(parents[: depth + 1])} is a value, not a table", toml_value(value))
                return
        if last == "use" and self._is_other(table, {"use": value}, ".".join(parents)):
            kept = ABOUT_STEP if parents[0] == "steps" and len(parents) == 2 else ()
            for key in [key for key in table if key not in kept]:  # the keys of another method, but for those set here
                if self.origins.get(".".join([*parents, key])) != "--set":
                    del table[key]
        table[last] = value
        self.origins[dotted] = "--set"

    def origin(self, dotted):
        """The place that a key's value was written in: `--set`, a profile's table or the recipe's own."""
        for length in range(dotted.count(".") + 1, 0, -1):
            place = self.origins.get(".".join(dotted.split(".")[:length]))
            if place:
                return place
        return f"[{'.'.join([self.name, *dotted.split('.')[:-1]])}]"

    def _is_other(self, below: dict[str, Any], above: dict[str, Any], dotted: str) -> bool:
        """Whether the table `above` names by `use` another method than `below`; both belong at `dotted`."""
        return "use" in above and above["use"] != below.get("use", self._default_method(dotted.split(".")))

    def _default_method(self, path: list[str]) -> str | None:
        """The method or stage of the table at `path` where it has no `use`: its field's default, or its own name."""
        kind, rest = self.kinds.get(path[0]), path[1:]
        if path[0] == "steps" and len(path) > 1:
            if len(path) == 2:
                return path[1]
            steps = self.table.get("steps")
            own = steps.get(path[1]) if isinstance(steps, dict) else None
            kind, rest = own.get("use", path[1]) if isinstance(own, dict) else path[1], path[2:]
        if not rest or not isinstance(kind, str) or kind not in self.kinds.values():
            return None
        about = slot_fields(load_stage(kind, self.home).Config).get(rest[0], {"many": len(rest) == 1})
        if about.get("many"):
            return rest[1] if len(rest) == 2 else None
        return about["default"] if len(rest) == 1 else None

    def _overlaid(self, below: dict[str, Any], above: dict[str, Any], path: str) -> dict[str, Any]:
        """One raw table at `path` over another. One that names another method than the one below takes its place."""
        found = copy.deepcopy(below)
        for key, value in above.items():
            under, dotted = found.get(key), f"{path}.{key}"
            if isinstance(value, dict) and isinstance(under, dict) and not self._is_other(under, value, dotted):
                found[key] = self._overlaid(under, value, dotted)
            else:
                found[key] = copy.deepcopy(value)
        return found

    def written(self, dotted: str) -> str:
        """Where the key of a step stands in the file: in the step's own table, or in the one that its stage shares."""
        parts = dotted.split(".")
        if parts[0] != "steps" or ".".join(parts[:2]) not in self.shared:
            return dotted
        table, own, edits = self.shared[".".join(parts[:2])]
        rest = parts[2:]
        if rest[:1] and rest[0] in ABOUT_STEP:
            return dotted
        if edits:
            return ".".join([*parts[:2], *rest[1:]]) if rest[:1] == ["method"] else dotted
        return ".".join([table, *rest]) if holds(self.table.get(table), rest) and not holds(own, rest) else dotted

    def problem(self, dotted, what, got=None, allowed=None, fix=None):
        """Note one problem at `dotted`, once; a value that looks like a secret is not repeated."""
        self.broken.append(key_of(dotted))
        dotted = self.written(dotted)
        self.broken.append(key_of(dotted))
        place = self.origin(dotted)
        where = f"--set {dotted}" if place == "--set" else f"{self.file} {place} {dotted}"
        error = RecipeError(f"{dotted}: {what}", where=where, got=got and mask(got, dotted), allowed=allowed, fix=fix)
        if str(error) not in map(str, self.problems):
            self.problems.append(error)

    @property
    def home(self) -> Path:
        """The folder of the recipe file, in which methods and stages may lie."""
        return self.file.resolve().parent

    @cached_property
    def kinds(self) -> dict[str, str]:
        """{table of a recipe: stage} of every stage but `data`, whose table is the builder's."""
        return stage_tables(self.home)


def slot_fields(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """{key: what `slots.one_of` or `slots.many_of` said of it} of the fields that hold methods."""
    extras = {key: about.json_schema_extra for key, about in model.model_fields.items()}
    return {key: extra for key, extra in extras.items() if isinstance(extra, dict) and "slot" in extra}


def stage_tables(home: Path) -> dict[str, str]:
    """{table of a recipe: stage} of every stage but `data`, whose table is the builder's."""
    found = {}
    for kind, source in (list_beside("stages", home) | list_own("stages")).items():
        if kind != "data":
            if isinstance(source.place, Path):
                table = read_table_name(source.place, kind)
            else:
                table = getattr(load_source(source), "TABLE", kind)
            found[table] = kind
    return found


def load_stage(kind: str, home: Path) -> ModuleType:
    """The module of a stage. Raises RecipeError where its file, beside the recipe file, cannot be imported."""
    try:
        return load_slot("stages", kind, home)
    except Exception as error:
        source = find_one("stages", kind, home)
        got = f"{type(error).__name__}: {error}"
        raise RecipeError("the file of a stage cannot be imported", where=source and source.origin, got=got) from error


def read_table_name(file: Path, default: str) -> str:
    """TABLE of a stage's file from outside, read without running it: it runs when a recipe names it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return default  # said where the stage is loaded
    for line in tree.body:
        if not isinstance(line, ast.Assign):
            continue
        names = [target.id for target in line.targets if isinstance(target, ast.Name)]
        if "TABLE" in names and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str):
            return line.value.value
    return default


def holds(table: Any, path: list[str]) -> bool:
    """Whether a raw table has a value at a path of keys."""
    for key in path:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True


def key_of(dotted: str) -> str:
    """The key of a stage's table that a dotted place lies in: `sft.adapter` of `sft.adapter.rank`."""
    return ".".join(dotted.split(".")[: 3 if dotted.startswith("steps.") else 2])
