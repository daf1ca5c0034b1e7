"""A step of the wire: what it reads, what else makes its result, and the key that follows from both."""

import fnmatch
import importlib
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from data_builders.core.benchmarks import files_of
from data_builders.core.table import general_rows
from recipes.artifacts.store import Key, read_manifest
from recipes.base.errors import RecipeError
from recipes.base.hashing import files_under, fingerprint
from recipes.base.places import ROOT
from recipes.config.schema import model_folder
from recipes.config.validate import known_tasks

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.py")


@dataclass(frozen=True)
class Step:
    """One stage of a run.

    `reads` names the earlier stages whose artefacts it gets as inputs, `given` folders from outside that it gets too,
    and `watched` what else makes its result: {name: {relative path: file}} or {name: version}. `module` is the module
    under recipes/stages where it has another name.
    """

    name: str
    spec: BaseModel
    reads: tuple[str, ...] = ()
    given: dict[str, Path] = field(default_factory=dict)
    watched: dict[str, dict[str, Path] | str] = field(default_factory=dict)
    module: str | None = None


def key_of(step, module, done, digests):
    """The `Key` of a step whose inputs are there; only the files that the stage's READS names count.

    A pattern of READS may hold a field of the step's spec in braces.
    """
    inputs, spec = {}, step.spec.model_dump(mode="json")
    for name in step.reads:
        written = read_manifest(done[name])["outputs"]
        patterns = [pattern.format_map(spec) for pattern in module.READS.get(name, ["*"])]
        files = {f: written[f] for f in written if any(fnmatch.fnmatchcase(f, pattern) for pattern in patterns)}
        if not files:
            raise RecipeError(
                f"stage {step.name} finds nothing to read",
                where=done[name],
                got=", ".join(written),
                allowed=", ".join(patterns),
            )
        inputs[name] = {"stage": done[name].name, "digest": fingerprint(files), "files": files}
    for name, path in step.given.items():
        files = digests.tree(path, module.READS.get(name, ["*"]))
        inputs[name] = {"path": str(path), "digest": fingerprint(files), "files": files}
    for name, content in step.watched.items():
        if isinstance(content, str):
            inputs[name] = {"path": name, "digest": content}
        else:
            files = {f: digests.of(path) for f, path in content.items()}
            inputs[name] = {"path": name, "digest": fingerprint(files), "files": files}
    located = {"data.corpus"} if "corpus" in step.given else set()
    located |= {"data.benchmarks"} & step.watched.keys()
    located |= {"model.name", "model.revision"} if "model" in step.watched else set()
    return Key(step.name, module.VERSION, spec, inputs, frozenset(located | how_keys(step.spec)))


def how_keys(table, prefix=""):
    """Dotted keys of the fields that say how, not what (see `recipes.config.schema.how`)."""
    keys, decisive = set(), getattr(table, "decisive", ())
    for name, spec_field in type(table).model_fields.items():
        if (spec_field.json_schema_extra or {}).get("identity") is False:
            if name not in decisive:
                keys.add(prefix + name)
        elif isinstance(getattr(table, name), BaseModel):
            keys |= how_keys(getattr(table, name), f"{prefix}{name}.")
    return keys


def source(recipe):
    """({"corpus": folder}, {"builder": version}) of the recipe's builder."""
    builder = importlib.import_module(f"data_builders.{recipe.builder}.builder")
    return {"corpus": Path(builder.corpus_dir(recipe.data))}, {"builder": f"version {builder.VERSION}"}


def general(name, table):
    """The file of general rows that the table of that name draws from, where it does: mix, cpt, or a builder's data."""
    if getattr(table, "general", None) is None:
        return {}
    return {f"{name}.general": {general_rows(table).name: general_rows(table)}}


def cpt_general(cpt) -> dict[str, Path]:
    """{"cpt_general": the file of general rows} where `[cpt]` draws from one; `cpt` is None without that table."""
    return {"cpt_general": general_rows(cpt)} if cpt is not None and cpt.general_share else {}


def tests_outside(data):
    """The files of the test sets that the `[data]` table names in `benchmarks`."""
    files = {f"{name}/{file.name}": file for name in getattr(data, "benchmarks", ()) for file in files_of(name)}
    return {"data.benchmarks": files} if files else {}


def base_model(model):
    """The files that make a model folder what it is: weights, configuration, tokenizer. A hub id has none."""
    folder = model_folder(model.name)
    return {"model": files_under(folder, MODEL_FILES)} if folder else {}


def tasks(spec):
    """The task folders of an evaluation without their prose, the rows of the general tasks, the code that scores."""
    from recipes.base.places import GENERAL_TEST

    folders = {known_tasks()[name].parent for name in (*spec.tasks, *spec.general)}
    found = {f"{folder.name}/{name}": path for folder in folders for name, path in files_under(folder).items()}
    files = {name: path for name, path in sorted(found.items()) if path.suffix != ".md"}
    scoring = [path for path in sorted((ROOT / "eval").iterdir()) if path.suffix in (".py", ".yaml")]
    return {"tasks": files, "scoring": {path.name: path for path in (*scoring, GENERAL_TEST) if path.is_file()}}
