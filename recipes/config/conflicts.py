"""What a method or a stage says does not go together with it, and what it may look at to say so.

A file of a slot may have

    def find_conflicts(own, scope):      yields a `Conflict` for each setting that does not go with it
    CONFLICTS = [("sft.adapter.rank=4 …", "model.quantization")]   examples: `--set` strings, and the key refused

`check` and `run` refuse these before anything starts; docs/refusals.md is written from the examples.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from recipes.base.toml import toml_value
from recipes.config.schema import Model, Step, Training
from recipes.config.slots import Method, module_of, name_of, source_of


@dataclass(frozen=True)
class Conflict:
    """One setting that is refused.

    Attributes:
        key: the dotted key that the error is about.
        reason, instead: why, and what is allowed.
        got: the value as TOML.
        fix: what to do, where `instead` does not say it already.
    """

    key: str
    reason: str
    instead: str
    got: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Scope:
    """What a method may look at to refuse a combination.

    Attributes:
        path: dotted place of its own table, such as "sft.losses.kl_to_reference".
        step: the step that it stands in.
        model: the recipe's base.
        before: the steps that this one's inputs come from, directly or not, in their order.
    """

    path: str
    step: Step
    model: Model
    before: tuple[Step, ...] = field(default_factory=tuple)

    @property
    def data(self) -> Any:
        """The builder's own table that the rows come from; None where there are several, or none."""
        found = [step.settings for step in self.before if step.kind == "data"]
        return found[0] if len(found) == 1 else None

    def before_of(self, kind: str) -> list[Step]:
        """The steps of one kind among those before."""
        return [step for step in self.before if step.kind == kind]

    def adapter_before(self) -> Step | None:
        """The last step before that leaves an adapter on which this one goes on; None where a whole model stands last.

        A step leaves an adapter where its table has one that is not "full", and does not merge it. A step without a
        table of an adapter (rl, dpo, edit) leaves what it starts from, unless its method says `leaves_whole(own)`.
        """
        for step in reversed(self.before):
            if getattr(step.module, "LEAVES", "") != "model":
                continue
            adapter, method = getattr(step.settings, "adapter", None), getattr(step.settings, "method", None)
            if adapter is None and not getattr(step.module, "MERGES", False):
                leaves_whole = getattr(module_of(method), "leaves_whole", None) if method is not None else None
                if leaves_whole is not None and leaves_whole(method):
                    return None
                continue
            whole = getattr(step.module, "MERGES", False) or adapter is None or name_of(adapter) == "full"
            return None if whole else step
        return None

    def conflict(self, key: str, reason: str, instead: str, got: object = None, fix: str | None = None) -> Conflict:
        """A `Conflict` at `key` below the method's own table, or with a leading `/` at a key of the recipe."""
        place = key[1:] if key.startswith("/") else f"{self.path}.{key}" if key else self.path
        return Conflict(place, reason, instead, None if got is None else toml_value(got), fix)


def find_conflicts(steps: tuple[Step, ...], model: Model) -> Iterator[Conflict]:
    """Every conflict of every step and of the methods in it."""
    known = {step.name: step for step in steps}
    for step in steps:
        before = tuple(other for other in steps if other.name in ancestors(step, known))
        for path, settings, module in tables_in(step):
            if hasattr(module, "find_conflicts"):
                yield from module.find_conflicts(settings, Scope(path, step, model, before))


def find_training_conflicts(own: Training, scope: Scope) -> Iterator[Conflict]:
    """What holds for every stage that learns from given text."""
    if own.batch_tokens < own.max_length:
        reason = f"a step must hold at least one row of {scope.path}.max_length"
        yield scope.conflict("batch_tokens", reason, f"a whole number >= {own.max_length}", own.batch_tokens)


def ancestors(step: Any, known: Mapping[str, Any]) -> set[str]:
    """Names of the steps that a step's inputs come from, directly or not; of drafts of steps too."""
    found, waiting = set(), list(step.inputs)
    while waiting:
        name = waiting.pop()
        if name not in found and name in known:
            found.add(name)
            waiting += known[name].inputs
    return found


def drop_earlier(names: Iterable[str], known: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps from which none of the others was made."""
    names = tuple(names)
    used = {earlier for name in names for earlier in ancestors(known[name], known)}
    return tuple(name for name in names if name not in used)


def tables_in(step: Step) -> Iterator[tuple[str, object, ModuleType]]:
    """(dotted place, table, module) of a step and of every method in it."""
    yield step.place, step.settings, step.module
    yield from _methods_in(step.place, step.settings)


def list_logs(step: Step) -> dict[str, list[str]]:
    """{key of training.jsonl: [title, unit]} of what a stage and the methods in it log beside the usual."""
    return {key: list(about) for _, _, module in tables_in(step) for key, about in getattr(module, "LOGS", {}).items()}


def list_outside(steps: tuple[Step, ...]) -> list[str]:
    """The stages and methods that come from outside this package, such as "losses/mine (file …)", each once."""
    modules = [module for step in steps for _, _, module in tables_in(step)]
    found = [source for module in modules if (source := source_of(module)) and source.origin != "recipes"]
    return list(dict.fromkeys(f"{source.slot}/{source.name} ({source.about})" for source in found))


def _methods_in(path: str, table: object) -> Iterator[tuple[str, Method, ModuleType]]:
    if not isinstance(table, BaseModel):
        return
    for name in type(table).model_fields:
        value = getattr(table, name)
        named = value.items() if isinstance(value, dict) else [("", value)]
        for label, inner in named:
            place = f"{path}.{name}.{label}" if label else f"{path}.{name}"
            if isinstance(inner, Method):
                yield place, inner, module_of(inner)
            if isinstance(inner, BaseModel):
                yield from _methods_in(place, inner)
