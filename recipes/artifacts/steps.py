"""The steps of a recipe made ready to run: what each gets, what else makes its result, and the key that follows."""

import fnmatch
import importlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SerializeAsAny, create_model

from data_builders.core.benchmarks import files_of
from recipes.artifacts.lineage import Inputs
from recipes.artifacts.store import Key, read_manifest
from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests, files_under, fingerprint
from recipes.base.table import Table
from recipes.config.conflicts import ancestors, drop_earlier, tables_in
from recipes.config.schema import Model, Recipe, Step, model_folder, template_file
from recipes.config.slots import Method, list_needs, load, name_of, outside

MODEL_FOLDER = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.py")  # what makes a model what it is
ROWS = "data"  # under which name a step gets its folder of rows


class DataSpec(Table):
    """What the data stage gets: the builder and its table."""

    builder: str
    data: SerializeAsAny[BaseModel]
    seed: int


@dataclass(frozen=True)
class Prepared:
    """A step with all that decides its result.

    Attributes:
        spec: what the stage gets of the recipe: its own table, the seed, the model where it reads one.
        rows: steps whose rows it gets: one, but for the stage `rows`.
        models: steps whose models it gets, oldest first.
        rerankers: steps whose rerankers it gets.
        lines: of each model which steps made it.
        asked: the models that an evaluation asks.
        given: folders from outside.
        watched: what else makes the result: {name: {relative path: file}} or {name: version}.
    """

    step: Step
    spec: Any
    rows: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    rerankers: tuple[str, ...] = ()
    lines: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    given: dict[str, Path] = field(default_factory=dict)
    watched: dict[str, dict[str, Path] | str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def needs(self) -> tuple[str, ...]:
        """Every step whose result it gets."""
        return (*self.rows, *self.models, *self.rerankers)

    def name_input(self, step: str) -> str:
        """Under which name the stage gets the result of a step."""
        return ROWS if step in self.rows and self.step.kind != "rows" else step

    def inputs(self, done: dict[str, Path]) -> Inputs:
        """What the stage gets, of the results that are there."""
        folders = {self.name_input(name): done[name] for name in self.needs if name in done}
        return Inputs(self.given | folders, self.lines, self.step.inputs, self.asked)


def prepare(recipe: Recipe) -> list[Prepared]:
    """The steps of a recipe, in the order in which they run."""
    known = {step.name: step for step in recipe.steps}
    return [prepare_step(step, recipe, known) for step in recipe.steps]


def prepare_step(step: Step, recipe: Recipe, known: dict[str, Step]) -> Prepared:
    """One step of a recipe; `known` holds the steps before it by name."""
    order = list(known)
    before = sorted(ancestors(step, known), key=order.index)

    def leaving(kind: str) -> tuple[str, ...]:
        return tuple(name for name in before if leaves(known[name]) == kind)

    spec = make_spec(step, recipe, [known[name] for name in before])
    given, watched = {}, {}
    if step.kind == "data":
        given, watched = find_source(step)
    elif getattr(step.settings, "corpus", ""):
        given = {"corpus": Path(step.settings.corpus).expanduser()}
    if "model" in type(spec).model_fields:
        watched |= find_model_files(recipe.model)
    for path, table, _ in tables_in(step):
        for name, file in getattr(table, "files", {}).items():
            watched |= {f"{path}.{name}": {file.name: file}}
    watched |= find_test_sets(spec)
    watched |= find_method_versions(step)
    watched |= find_order(step, known)
    if hasattr(step.module, "find_inputs"):
        watched |= step.module.find_inputs(spec)
    return Prepared(
        step,
        spec,
        rows_of(step, known),
        leaving("model"),
        leaving("reranker"),
        {name: line_of(known[name], known) for name in leaving("model")},
        tuple(name for name in leaving("model") if known[name].measured),
        given,
        watched,
    )


def leaves(step: Step) -> str:
    """What a step leaves: "rows", "model", "reranker" or "scores"."""
    return getattr(step.module, "LEAVES", "scores")


def rows_of(step: Step, known: dict[str, Step]) -> tuple[str, ...]:
    """The steps whose rows a step gets: those that it names, else those of the model that it starts from.

    Rows from which other rows among these were made are left out, but for the stage `rows`.
    """
    if step.kind == "data":
        return ()
    direct = tuple(name for name in step.inputs if leaves(known[name]) == "rows")
    if direct:
        return direct if step.kind == "rows" else drop_earlier(direct, known)
    return next((found for name in reversed(step.inputs) if (found := rows_of(known[name], known))), ())


def line_of(step: Step, known: dict[str, Step]) -> tuple[str, ...]:
    """The steps that made a step's model, oldest first, its own last."""
    models = [name for name in step.inputs if leaves(known[name]) == "model"]
    return (*(line_of(known[models[0]], known) if models else ()), step.name)


def table_of(step: Step) -> str:
    """The name of a stage's table in a recipe."""
    return getattr(step.module, "TABLE", step.kind)


def make_spec(step: Step, recipe: Recipe, before: list[Step]) -> Any:
    """What a stage gets of a recipe: the part of it that decides the stage's result, and nothing else."""
    if step.kind == "data":
        return DataSpec(builder=step.builder, data=step.settings, seed=recipe.seed)
    parts: dict[str, Any] = {table_of(step): step.settings, "seed": recipe.seed}
    if getattr(step.module, "COMPARES", False):
        sets = [name for one in before if one.kind == "data" for name in getattr(one.settings, "benchmarks", ())]
        parts["benchmarks"] = tuple(dict.fromkeys(sets))
    needs = {need for _, table, module in tables_in(step) for need in list_needs(table, module)}
    if step.kind != "rows" or needs & {"base_model", "base_tokenizer"}:
        parts["model"] = recipe.model
    return _spec_class(step.kind, tuple(sorted(parts)), table_of(step))(**parts)


def spec_of(kind: str, **parts: Any) -> Any:
    """What a stage of this repository gets, made by hand: `spec_of("sft", model=…, seed=…, sft=…)`."""
    module = load("stages", kind)
    return _spec_class(kind, tuple(sorted(parts)), getattr(module, "TABLE", kind))(**parts)


@cache
def _spec_class(kind: str, names: tuple[str, ...], table: str) -> type[Table]:
    kinds: dict[str, Any] = {"seed": int, "model": Model, "benchmarks": tuple[str, ...], table: SerializeAsAny[Table]}
    fields: dict[str, Any] = {name: (kinds[name], ...) for name in names}
    return create_model(f"{kind.title()}Spec", __base__=Table, **fields)


def key_of(prepared: Prepared, done: dict[str, Path], digests: Digests) -> Key:
    """The `Key` of a step whose inputs are there; only the files that the stage names in `list_reads` count."""
    step, module = prepared.step, prepared.step.module
    reads = module.list_reads(prepared.spec)
    inputs: dict[str, dict[str, Any]] = {}
    roles = [("rows", prepared.rows), ("models", prepared.models), ("reranker", prepared.rerankers)]
    for role, name in [(role, name) for role, names in roles for name in names]:
        if role not in reads:
            continue
        written = read_manifest(done[name])["outputs"]
        files = {f: written[f] for f in written if any(fnmatch.fnmatchcase(f, pattern) for pattern in reads[role])}
        if not files:
            raise RecipeError(
                f"step {step.name} finds nothing to read",
                where=done[name],
                got=", ".join(written),
                allowed=", ".join(reads[role]),
            )
        inputs[prepared.name_input(name)] = {
            "stage": done[name].name,
            "digest": fingerprint(files),
            "files": files,
        }
    for name, path in prepared.given.items():
        files = digests.tree(path, reads.get(name, ["*"]))
        inputs[name] = {"path": str(path), "digest": fingerprint(files), "files": files}
    for name, content in prepared.watched.items():
        if isinstance(content, str):
            inputs[name] = {"path": name, "digest": content}
        else:
            files = {f: digests.of(path) for f, path in content.items()}
            inputs[name] = {"path": name, "digest": fingerprint(files), "files": files}
    table = table_of(step)
    located = {f"{table}.corpus"} if "corpus" in prepared.given else set()
    located |= {"data.benchmarks", "benchmarks"} if "benchmarks" in prepared.watched else set()
    located |= {"model.name", "model.revision"} if "model" in prepared.watched else set()
    located |= {"model.chat_template"} if "chat template" in prepared.watched else set()
    spec = prepared.spec.model_dump(mode="json")
    runtime = frozenset(located | runtime_keys(prepared.spec))
    return Key(step.name, module.VERSION, spec, inputs, runtime, step.kind)


def runtime_keys(table: BaseModel, prefix: str = "") -> set[str]:
    """Dotted keys of the fields about execution, not identity (see `recipes.base.table.runtime_field`)."""
    keys: set[str] = set()
    decisive = getattr(table, "decisive", ())
    for name, about in type(table).model_fields.items():
        value = getattr(table, name)
        extra = about.json_schema_extra
        if isinstance(extra, dict) and extra.get("identity") is False:
            if name not in decisive:
                keys.add(prefix + name)
        elif isinstance(value, BaseModel):
            keys |= runtime_keys(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for label, inner in value.items():
                if isinstance(inner, BaseModel):
                    keys |= runtime_keys(inner, f"{prefix}{name}.{label}.")
    return keys


def find_source(step: Step) -> tuple[dict[str, Path], dict[str, dict[str, Path] | str]]:
    """({"corpus": folder}, what else a builder's result is made from) of a data step."""
    builder = importlib.import_module(f"data_builders.{step.builder}.builder")
    watched: dict[str, dict[str, Path] | str] = {"builder": f"version {builder.VERSION}"}
    if getattr(step.settings, "general", None) is not None:
        from data_builders.core.table import general_rows

        watched["data.general"] = {general_rows(step.settings).name: general_rows(step.settings)}
    return {"corpus": Path(builder.corpus_dir(step.settings))}, watched


def find_test_sets(spec: Any) -> dict[str, dict[str, Path] | str]:
    """The files of the test sets from outside that rows are compared with."""
    named = getattr(getattr(spec, "data", None), "benchmarks", None) or getattr(spec, "benchmarks", ())
    files = {f"{name}/{file.name}": file for name in named for file in files_of(name)}
    return {"benchmarks": files} if files else {}


def find_model_files(model: Model) -> dict[str, dict[str, Path] | str]:
    """The files that make a model folder what it is: weights, configuration, tokenizer, of which a hub id has none;
    and the chat template that the recipe names."""
    folder, template = model_folder(model.name), template_file(model.chat_template)
    found: dict[str, dict[str, Path] | str] = {"model": files_under(folder, MODEL_FOLDER)} if folder else {}
    return found | ({"chat template": {"template": template}} if template else {})


def find_method_versions(step: Step) -> dict[str, dict[str, Path] | str]:
    """The declared versions of the methods in a step; of one from outside the repository its file counts too."""
    methods = [(table, module) for _, table, module in tables_in(step) if isinstance(table, Method)]
    versions = sorted({f"{name_of(table)} {getattr(module, 'VERSION', 1)}" for table, module in methods})
    files = {file.name: file for table, _ in methods if (file := outside(table))}
    if (file := _outside_stage(step)) is not None:
        files[file.name] = file
    found: dict[str, dict[str, Path] | str] = {"methods": ", ".join(versions)} if versions else {}
    return found | ({"methods from outside": files} if files else {})


def find_order(step: Step, known: dict[str, Step]) -> dict[str, dict[str, Path] | str]:
    """The order in which a step that leaves a model names several, because that decides what it starts from."""
    models = [name for name in step.inputs if leaves(known[name]) == "model"]
    return {"order": ", ".join(models)} if leaves(step) == "model" and len(models) > 1 else {}


def _outside_stage(step: Step) -> Path | None:
    module = step.module
    named, file = getattr(module, "__name__", "recipes."), getattr(module, "__file__", None)
    return None if named.startswith("recipes.") or not file else Path(file)
