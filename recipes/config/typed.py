"""A draft read as a typed recipe: its chain of steps, each with the settings of its own stage and methods."""

import importlib
import json
import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from recipes.base.places import ROOT
from recipes.base.table import Table
from recipes.base.toml import toml_value
from recipes.config.conflicts import ancestors, drop_earlier, find_conflicts
from recipes.config.describe import allowed, choices, descend
from recipes.config.draft import Draft, key_of, load_stage, slot_fields
from recipes.config.schema import Head, Model, Recipe, Step
from recipes.config.slots import find, find_one
from recipes.config.slots import load as load_slot
from recipes.config.validate import find_place_conflicts, nearest

ALWAYS = ("data", "evaluate")  # stages of every recipe
BUILDERS = ROOT / "data_builders"
NAME = re.compile(r"[a-z][a-z0-9_]*")


def builders():
    """Names of the data builders: folders that hold a `spec.py`."""
    return sorted(spec.parent.name for spec in BUILDERS.glob("*/spec.py"))


@dataclass(frozen=True)
class StepDraft:
    """A step whose settings are not typed yet; `place` is the dotted place of its table, for messages."""

    name: str
    kind: str
    module: ModuleType
    settings: Any
    place: str
    inputs: tuple[str, ...]
    measured: bool = True
    builder: str = ""
    missing: bool = False


class TypedDraft(Draft):
    """A draft that is read as a `Recipe`, or tells every problem on the way."""

    def validate(self, here: bool) -> Recipe | None:
        """The typed recipe, or None where there are problems. A stage's table set to false is left out."""
        kinds = self.kinds
        left_out = [key for key, value in self.table.items() if value is False and key in (*kinds, "steps")]
        self.table = {key: value for key, value in self.table.items() if key not in left_out}
        raw = {key: self.table[key] for key in kinds if key in self.table}
        named = self.table.get("steps")
        scalars = {key: value for key, value in self.table.items() if key not in (*kinds, "model", "data", "steps")}
        head = self._table(Head, scalars, "")
        model = self._table(Model, self.table.get("model", {}), "model")
        drafts = self._named_steps(named, kinds) if isinstance(named, dict) else self._default_steps(raw, kinds)
        if named is not None and not isinstance(named, dict):
            self.problem("steps", "must be tables", toml_value(named), f"[{self.name}.steps.NAME]")
        steps = [self._typed_step(draft, head.builder if head else "") for draft in drafts]
        if isinstance(named, dict):
            self._unused_tables(raw, drafts, kinds)
        broken = set(self.broken)
        known = tuple(step for step in steps if step is not None)
        if model is not None:
            for conflict in (*find_conflicts(known, model), *find_place_conflicts(known, model, here)):
                if conflict.key not in broken and key_of(conflict.key) not in broken:
                    self.problem(conflict.key, conflict.reason, conflict.got, conflict.instead, conflict.fix)
        if self.problems or head is None or model is None:
            return None
        return Recipe(
            name=self.name,
            profile=self.profile,
            file=self.file,
            summary=head.summary,
            builder=head.builder,
            seed=head.seed,
            model=model,
            steps=known,
            explicit=isinstance(named, dict),
        )

    def _default_steps(self, raw: dict[str, Any], kinds: dict[str, str]) -> list[StepDraft]:
        """The chain that the tables of a recipe stand for: data, then each stage that has a table, by its place."""
        modules = {kind: load_stage(kind, self.home) for table, kind in kinds.items() if table in raw}
        modules |= {kind: load_stage(kind, self.home) for kind in ALWAYS}
        chain = sorted(modules, key=lambda kind: (modules[kind].PLACE, kind))
        tables = {kind: table for table, kind in kinds.items()}
        drafts: list[StepDraft] = []
        for kind in chain:
            module = modules[kind]
            unread = getattr(module, "UNREAD", ())
            before = [one.name for one in drafts if one.kind not in unread]
            if module.LEAVES != "scores":  # only an evaluation looks at all that was made
                before = [name for name in before if modules[name].LEAVES in ("rows", "model")][-1:]
            table = tables.get(kind, kind)
            settings = self.table.get("data", {}) if kind == "data" else raw.get(table, {})
            missing = kind != "data" and table not in raw
            drafts.append(StepDraft(kind, kind, module, settings, table, tuple(before), missing=missing))
        if not any(module.LEAVES == "model" for module in modules.values()):
            self.problem("sft", "the table is missing: no stage trains a model", fix=f"add [{self.name}.sft]")
        return drafts

    def _named_steps(self, named: dict[str, Any], kinds: dict[str, str]) -> list[StepDraft]:
        """The steps that `[NAME.steps]` lists, in the order of the file."""
        tables, drafts = {kind: table for table, kind in kinds.items()}, []
        for name, own in named.items():
            place = f"steps.{name}"
            if own is False:
                continue
            if not isinstance(own, dict):
                self.problem(place, "must be a table", toml_value(own), f"[{self.name}.{place}]")
                continue
            if draft := self._named_step(name, dict(own), drafts, tables):
                drafts.append(draft)
        for kind in ALWAYS:
            if not any(draft.kind == kind for draft in drafts) and not self.problems:
                self.problem("steps", f"no step {kind}", ", ".join(draft.name for draft in drafts), f"[steps.{kind}]")
        if not any(draft.module.LEAVES == "model" for draft in drafts) and not self.problems:
            self.problem("steps", "no step leaves a model", ", ".join(draft.name for draft in drafts))
        return drafts

    def _named_step(
        self, name: str, own: dict[str, Any], drafts: list[StepDraft], tables: dict[str, str]
    ) -> StepDraft | None:
        """One step of `[NAME.steps]`, after those in `drafts`; None where something about it is wrong."""
        place = f"steps.{name}"
        if not NAME.fullmatch(name) or name == "report":
            allowed = 'lower case letters, digits and _, and not "report"'
            self.problem(place, "no name of a step", toml_value(name), allowed)
            return None
        kind, inputs = own.pop("use", name), own.pop("inputs", None)
        measured, builder = own.pop("measured", True), own.pop("builder", "")
        module = self._stage_module(place, kind)
        if module is None:
            return None
        if not isinstance(measured, bool):
            self.problem(f"{place}.measured", "wrong value", toml_value(measured), "true or false")
        edits = not getattr(module, "LEAVES", "")
        if edits:
            own, kind = {"method": own | {"use": kind}}, "edit"
            module = load_slot("stages", "edit")
        earlier = [draft.name for draft in drafts]
        if inputs is None:
            inputs = earlier if module.LEAVES == "scores" else [] if kind == "data" else earlier[-1:]
        if not isinstance(inputs, list) or any(one not in earlier for one in inputs):
            allowed = ", ".join(earlier) or "(none: it is the first)"
            self.problem(f"{place}.inputs", "no such step before this one", toml_value(inputs), f"a list of {allowed}")
            return None
        table = tables.get(kind, kind)
        shared = self.table.get(table, {})
        shared = shared if isinstance(shared, dict) and not edits else {}
        self.shared[place] = (table, own, edits)
        settings = self._overlaid(shared, own, table)
        where = table if table in self.table and not own else place
        draft = StepDraft(name, kind, module, settings, where, tuple(inputs), bool(measured), builder)
        return draft if self._inputs_are_clear(draft, drafts) else None

    def _stage_module(self, place: str, kind: object) -> ModuleType | None:
        """The module of a stage, or of a method of the slot `edit`, which the stage of that name carries out."""
        for slot in ("stages", "edit"):
            if isinstance(kind, str) and find_one(slot, kind, self.home) is not None:
                return self._module(slot, kind, f"{place}.use")
        names = [*find("stages", self.home), *find("edit", self.home)]
        self.problem(f"{place}.use", "no such stage", toml_value(kind), ", ".join(names), nearest(kind, names))
        return None

    def _inputs_are_clear(self, draft: StepDraft, before: list[StepDraft]) -> bool:
        """Whether a step gets what it works on: one folder of rows, but for the stage `rows`, which puts several
        together; and for an edit, a model."""
        kinds = {one.name: one.module.LEAVES for one in before}
        place = f"steps.{draft.name}.inputs"
        known = {one.name: one for one in before}
        rows = drop_earlier([name for name in draft.inputs if kinds[name] == "rows"], known)
        if len(rows) > 1 and draft.kind != "rows":
            fix = f'put a step before: [{self.name}.steps.both] use = "rows", inputs = {toml_value(list(rows))}'
            self.problem(place, "several inputs have rows", ", ".join(rows), "one of them", fix)
            return False
        leading = {kinds[name] for name in (*draft.inputs, *ancestors(draft, known))}
        learns = draft.kind == "rows" or hasattr(draft.module, "name_rows") or draft.module.LEAVES == "scores"
        lacking = "rows" if learns and "rows" not in leading else ""
        if draft.kind == "edit" and "model" not in [kinds[name] for name in draft.inputs]:
            lacking = "a model"
        if lacking:
            got, allowed = toml_value(list(draft.inputs)), f"steps that lead to {lacking}"
            self.problem(place, f"no input has {lacking}", got, allowed)
        return not lacking

    def _unused_tables(self, raw: dict[str, Any], drafts: list[StepDraft], kinds: dict[str, str]) -> None:
        used = {draft.kind for draft in drafts}
        for table in raw:
            if kinds[table] not in used:
                allowed = ", ".join(draft.name for draft in drafts)
                self.problem(table, "no step of [steps] reads this table", f"[{self.name}.{table}]", allowed)

    def _typed_step(self, draft: StepDraft, builder: str) -> Step | None:
        chosen = (draft.builder or builder) if draft.kind == "data" else ""
        if draft.kind == "data":
            settings = self._data(chosen, draft)
        elif draft.missing:
            self.problem(draft.place, "the table is missing", fix=f"add [{self.name}.{draft.place}]")
            settings = None
        else:
            settings = self._table(draft.module.Config, draft.settings, draft.place)
        if settings is None:
            return None
        return Step(draft.name, draft.kind, draft.module, settings, draft.place, draft.inputs, draft.measured, chosen)

    def _data(self, builder: str, draft: StepDraft) -> Any:
        """The builder's own Spec for its table; None where the builder or the table is wrong."""
        place = f"steps.{draft.name}.builder" if draft.builder else "builder"
        if builder not in builders():
            near, allowed = nearest(builder, builders()), ", ".join(builders()) or "(none)"
            what = "no such builder" if builder else "is missing"
            fix = near or "name a folder under data_builders/ that has a spec.py"
            self.problem(place, what, toml_value(builder) if builder else "nothing", allowed, fix)
            return None
        try:
            spec = importlib.import_module(f"data_builders.{builder}.spec").Spec
        except (ImportError, AttributeError) as error:
            self.problem(
                place,
                "its spec.py cannot be used",
                f"{type(error).__name__}: {error}",
                f"data_builders/{builder}/spec.py with a pydantic class Spec",
            )
            return None
        return self._table(spec, draft.settings, draft.place)

    def _table(self, model: type[Table], table: Any, prefix: str, noted: frozenset = frozenset()) -> Any:
        """The typed table; None where nothing valid remains.

        Wrong keys are noted and left out, so that the other keys still get their cross checks; a key in `noted`, which
        was left out so, is not missed. Tables of methods are typed by the files that they name.
        """
        if not isinstance(table, dict):
            self.problem(prefix, "must be a table", toml_value(table), f"[{self.name}.{prefix}]")
            return None
        slots = {key: about for key, about in slot_fields(model).items() if key in table}
        methods = {key: self._methods(about, table[key], f"{prefix}.{key}") for key, about in slots.items()}
        table = {key: value for key, value in table.items() if key not in slots}
        found = self._plain_table(model, table, prefix, noted)
        valid = {key: value for key, value in methods.items() if value is not None}
        return found.model_copy(update=valid) if found is not None and valid else found

    def _plain_table(self, model: type[Table], table: dict[str, Any], prefix: str, noted: frozenset) -> Any:
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
                self._plain_table(model, rest, prefix, noted | wrong)
                if len(rest) < len(table) and not any(e["type"] == "missing" for e in found)
                else None
            )

    def _methods(self, about: dict[str, Any], table: Any, prefix: str) -> Any:
        """The typed table of one method, or {label: table} where a field holds several; None where it is wrong."""
        if not isinstance(table, dict):
            self.problem(prefix, "must be a table", toml_value(table), f"[{self.name}.{prefix}]")
            return None
        if not about.get("many"):
            return self._method(about["slot"], table, prefix, about["default"])
        found = {}
        for label, inner in table.items():
            if inner is False:
                continue
            if not isinstance(inner, dict):
                self.problem(
                    f"{prefix}.{label}", "must be a table", toml_value(inner), f"[{self.name}.{prefix}.{label}]"
                )
                continue
            found[label] = self._method(about["slot"], inner, f"{prefix}.{label}", label)
        return {label: inner for label, inner in found.items() if inner is not None}

    def _method(self, slot: str, table: dict[str, Any], prefix: str, default: str) -> Any:
        name = table.get("use", default)
        module = self._module(slot, name, prefix if "use" not in table else f"{prefix}.use")
        return module and self._table(module.Config, table | {"use": name}, prefix)

    def _module(self, slot: str, name: object, place: str) -> ModuleType | None:
        """The module of a method; None, with the problem noted, where there is none or it cannot be imported."""
        if not isinstance(name, str) or find_one(slot, name, self.home) is None:
            names = list(find(slot, self.home))
            what = f"no method of the slot {slot} has this name"
            self.problem(place, what, toml_value(name), ", ".join(names) or "(none)", nearest(name, names))
            return None
        try:
            module = load_slot(slot, name, self.home)
        except Exception as error:
            source = find_one(slot, name, self.home)
            got = f"{type(error).__name__}: {error}"
            allowed = f"a file of the slot {slot}: {source.origin}" if source else f"a file of the slot {slot}"
            self.problem(place, "its file cannot be imported", got, allowed)
            return None
        if slot != "stages" and not hasattr(module, "Config"):
            self.problem(place, "its file has no Config", str(module.__file__), "see docs/methods.md")
            return None
        return module

    def _invalid(self, model, error, prefix):
        parts = [prefix, *map(str, error["loc"])] if prefix else [str(part) for part in error["loc"]]
        dotted = ".".join(parts)
        fields, field = descend(model, error["loc"])
        if error["type"] == "extra_forbidden":
            names = [*fields, *([] if prefix else ["data", "model", *self.kinds, "steps", "profiles"])]
            self.problem(dotted, "unknown key", toml_value(error["input"]), ", ".join(names), nearest(parts[-1], names))
        elif error["type"] == "missing":
            self.problem(dotted, "is missing", "nothing", allowed(field), field and field.description)
        else:
            got = error["input"]
            near = nearest(got, choices(field)) if isinstance(got, str) and choices(field) else None
            what = error["msg"].removeprefix("Value error, ") if error["type"] == "value_error" else "wrong value"
            self.problem(dotted, what, toml_value(got) if error["loc"] else None, allowed(field), near)
