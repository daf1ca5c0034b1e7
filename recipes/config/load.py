"""Recipe files: TOML in, a typed `Recipe` or every error at once out; and back to TOML that runs again.

table of the recipe  <-  [NAME.profiles.PROFILE]  <-  --set dotted.key=value
"""

import copy
import importlib
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.places import ROOT
from recipes.base.redact import mask
from recipes.base.toml import toml_table, toml_value
from recipes.config.describe import allowed, choices, descend
from recipes.config.schema import DEFAULT_PROFILE, OPTIONAL, TABLES, Head, Model, Recipe
from recipes.config.validate import cross_checks, nearest

BUILDERS = ROOT / "data_builders"
NAME = re.compile(r"[a-z][a-z0-9_]*")


def read_file(file):
    """The recipe tables of a TOML file, by name. Raises `RecipeError`; a syntax error or double key names its line."""
    file = Path(file)
    try:
        tables = tomllib.loads(
            file.read_text(encoding="utf-8") + "\n"
        )  # so that an error on the last line has a number
    except FileNotFoundError:
        raise RecipeError("no such recipe file", where=file, fix="give another with --file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError("the recipe file cannot be read", where=file, got=error) from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError("the file is not valid TOML", where=file, got=error, fix="mend that line") from None
    for name, table in tables.items():
        if not isinstance(table, dict) or not NAME.fullmatch(name):
            raise RecipeError(
                f"{name!r} is not a recipe",
                where=file,
                got=toml_value(table) if not isinstance(table, dict) else f"[{name}]",
                allowed="one table per recipe, named in lower case letters, digits and _",
                fix=f"rename or remove {name!r}",
            )
    return tables


def profiles(table):
    """The profiles of a raw recipe table; the default one exists even where it overlays nothing."""
    named = table.get("profiles", {})
    return list(dict.fromkeys([DEFAULT_PROFILE, *(named if isinstance(named, dict) else ())]))


def builders():
    """Names of the data builders: folders that hold a `spec.py`."""
    return sorted(spec.parent.name for spec in BUILDERS.glob("*/spec.py"))


def load(file, name, profile=None, sets=(), here=True):
    """The recipe `name` of `file` under `profile` with `--set` strings applied last.

    Every profile of the recipe is validated, not only the chosen one. `here=False` leaves out the checks that look at
    this machine (folders that must exist). Raises `RecipeError` for a file or name that is not there, else
    `ConfigErrors` with every problem found.
    """
    tables = read_file(file)
    if name not in tables:
        raise RecipeError(
            f"no recipe {name!r}",
            where=file,
            allowed=", ".join(tables) or "(the file is empty)",
            fix=nearest(name, tables),
        )
    profile = profile or DEFAULT_PROFILE
    if profile not in profiles(tables[name]):
        raise RecipeError(
            f"recipe {name!r} has no profile {profile!r}",
            where=f"{file} [{name}.profiles]",
            allowed=", ".join(profiles(tables[name])),
            fix=nearest(profile, profiles(tables[name])),
        )
    problems, chosen = [], None
    for other in [profile] + [p for p in profiles(tables[name]) if p != profile]:
        draft = Draft(Path(file), name, other, tables[name])
        for text in sets if other == profile else ():
            draft.set(text)
        recipe = draft.validate(here and other == profile)
        chosen = recipe if other == profile else chosen
        problems += [p for p in draft.problems if str(p) not in {str(q) for q in problems}]
    if problems:
        raise ConfigErrors(problems)
    return chosen


@dataclass
class Draft:
    """A recipe table being put together; remembers where every value came from and collects the problems."""

    file: Path
    name: str
    profile: str
    raw: dict

    def __post_init__(self):
        self.problems, self.broken, self.origins = [], [], {}
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
            if isinstance(value, dict) and isinstance(table.get(key), dict):
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
        table[last] = value
        self.origins[dotted] = "--set"

    def origin(self, dotted):
        """The place that a key's value was written in: `--set`, a profile's table or the recipe's own."""
        for length in range(dotted.count(".") + 1, 0, -1):
            place = self.origins.get(".".join(dotted.split(".")[:length]))
            if place:
                return place
        return f"[{'.'.join([self.name, *dotted.split('.')[:-1]])}]"

    def problem(self, dotted, what, got=None, allowed=None, fix=None):
        """Note one problem at `dotted`; a value that looks like a secret is not repeated."""
        place = self.origin(dotted)
        self.broken.append(".".join(dotted.split(".")[:2]))
        where = f"--set {dotted}" if place == "--set" else f"{self.file} {place} {dotted}"
        self.problems.append(
            RecipeError(f"{dotted}: {what}", where=where, got=got and mask(got, dotted), allowed=allowed, fix=fix)
        )

    def validate(self, here):
        """The typed recipe, or None where there are problems. An optional table set to false is left out."""
        self.table = {key: value for key, value in self.table.items() if key not in OPTIONAL or value is not False}
        head = {key: value for key, value in self.table.items() if key not in TABLES and key != "data"}
        valid = {"head": self._table(Head, head, ""), "data": self._data()}
        for key, model in TABLES.items():
            if key in self.table:
                valid[key] = self._table(model, self.table[key], key)
            elif key == "model":
                valid[key] = Model()
            else:
                valid[key] = None
                if key in OPTIONAL:
                    continue
                needed = " (rl starts from the model that sft leaves)" if key == "sft" and "rl" in self.table else ""
                self.problem(key, f"the table is missing{needed}", fix=f"add [{self.name}.{key}]")
        broken = set(self.broken)

        def cross_problem(dotted, *words, involves=()):
            if broken.isdisjoint({dotted, *involves}):
                self.problem(dotted, *words)

        cross_checks(valid, cross_problem, here)
        if self.problems:
            return None
        tables = {key: valid[key] for key in ("data", *TABLES)}
        return Recipe(name=self.name, profile=self.profile, file=self.file, **dict(valid["head"]), **tables)

    def _data(self):
        """The builder's own Spec for [data]; None where the builder or the table is wrong."""
        builder, table = self.table.get("builder"), self.table.get("data", {})
        if not isinstance(builder, str):
            return None  # the head's own check reports it
        if builder not in builders():
            self.problem(
                "builder",
                "no such builder",
                toml_value(builder),
                ", ".join(builders()) or "(none)",
                nearest(builder, builders()),
            )
            return None
        try:
            spec = importlib.import_module(f"data_builders.{builder}.spec").Spec
        except (ImportError, AttributeError) as error:
            self.problem(
                "builder",
                "its spec.py cannot be used",
                f"{type(error).__name__}: {error}",
                f"data_builders/{builder}/spec.py with a pydantic class Spec",
            )
            return None
        return self._table(spec, table, "data")

    def _table(self, model, table, prefix, noted=frozenset()):
        """The typed table; None where nothing valid remains.

        Wrong keys are noted and left out, so that the other keys still get their cross checks; a key in `noted`, which
        was left out so, is not missed.
        """
        if not isinstance(table, dict):
            self.problem(prefix, "must be a table", toml_value(table), f"[{self.name}.{prefix}]")
            return None
        try:
            # strict whatever a builder's Spec says; as JSON, because an array may then still become a tuple
            return model.model_validate_json(json.dumps(table, default=str), strict=True)
        except ValidationError as error:
            found = error.errors()
            deeper = {tuple(e["loc"][:n]) for e in found for n in range(len(e["loc"]))}
            for e in found:
                if (tuple(e["loc"]) not in deeper or not e["loc"]) and not noted.intersection(e["loc"][:1]):
                    self._invalid(model, e, prefix)
            wrong = frozenset(e["loc"][0] for e in found if e["loc"])
            rest = {key: value for key, value in table.items() if key not in wrong}
            return (
                self._table(model, rest, prefix, noted | wrong)
                if len(rest) < len(table) and not any(e["type"] == "missing" for e in found)
                else None
            )

    def _invalid(self, model, error, prefix):
        parts = [prefix, *map(str, error["loc"])] if prefix else [str(part) for part in error["loc"]]
        dotted = ".".join(parts)
        fields, field = descend(model, error["loc"])
        if error["type"] == "extra_forbidden":
            names = [*fields, *([] if prefix else ["data", *TABLES, "profiles"])]
            self.problem(dotted, "unknown key", toml_value(error["input"]), ", ".join(names), nearest(parts[-1], names))
        elif error["type"] == "missing":
            self.problem(dotted, "is missing", "nothing", allowed(field), field and field.description)
        else:
            got = error["input"]
            near = nearest(got, choices(field)) if isinstance(got, str) and choices(field) else None
            what = error["msg"].removeprefix("Value error, ") if error["type"] == "value_error" else "wrong value"
            self.problem(dotted, what, toml_value(got) if error["loc"] else None, allowed(field), near)


def as_toml(recipe):
    """The resolved recipe as one TOML table without profiles; running it gives the same fingerprints."""
    tables = {
        key: getattr(recipe, key).model_dump(mode="json")
        for key in ("data", *TABLES)
        if getattr(recipe, key) is not None
    }
    head = {"summary": recipe.summary, "builder": recipe.builder, "seed": recipe.seed}
    return toml_table(recipe.name, {**head, **tables})
