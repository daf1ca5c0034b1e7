"""What a recipe may not ask of this machine: tasks, models, files and folders that are not there."""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from data_builders.core.benchmarks import files_of
from data_builders.core.table import general_rows
from recipes.base.errors import RecipeError
from recipes.base.general_rows import FORMS, check_general_rows
from recipes.base.hashing import files_under
from recipes.base.places import GENERAL_TRAIN, ROOT
from recipes.config.conflicts import Conflict, tables_in
from recipes.config.schema import Model, Step, model_folder, template_file, template_folder

TASKS = ROOT / "eval" / "tasks"


def nearest(word, words):
    """`did you mean 'x'?` for the closest of `words`, or None."""
    close = difflib.get_close_matches(str(word), [str(w) for w in words], n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else None


@cache
def known_tasks(folder=TASKS):
    """{task or group name: YAML file} of every task under `folder`, by a text scan."""
    names = {}
    for file in sorted(folder.rglob("*.yaml")):
        for name in re.findall(
            r"^(?:task|group): *['\"]?([\w.-]+)['\"]? *(?:#.*)?$", file.read_text(encoding="utf-8"), re.M
        ):
            names[name] = file
    return names


def find_place_conflicts(steps: tuple[Step, ...], model: Model, here: bool) -> Iterator[Conflict]:
    """What the base, files and folders do not allow; with `here`, folders of this machine are looked for."""
    yield from _find_model_conflicts(model, here)
    for step in steps:
        for path, table, _ in tables_in(step):
            yield from _find_general_conflicts(path, table, model, here)
            if here:
                yield from _find_corpus_conflicts(path, table)
        for name in getattr(step.settings, "benchmarks", ()) if here else ():
            try:
                files_of(name)
            except RecipeError as error:
                yield Conflict(
                    f"{step.place}.benchmarks", "no such test set", str(error.allowed), f'"{error.got}"', error.fix
                )


def _find_model_conflicts(model: Model, here: bool) -> Iterator[Conflict]:
    folder = model_folder(model.name)
    if folder is not None and model.revision != "main":
        yield Conflict(
            "model.revision", "only a hub id has a revision", "leave it out for a folder", f'"{model.revision}"'
        )
    template = template_file(model.chat_template)
    if template and not template.is_file() and (here or template.parent == template_folder()):
        known = [file.stem for file in template_folder().glob("*.jinja")]
        yield Conflict(
            "model.chat_template",
            "no such chat template",
            f"a file, or one of {', '.join(sorted(known))}",
            f'"{model.chat_template}"',
            nearest(model.chat_template, known) or f"correct the path; it starts from {Path.cwd()}",
        )
    if not here:
        return
    if folder is None:
        if Path(model.name).is_dir():
            yield Conflict(
                "model.name",
                "is a hub id, and a folder here has the same name",
                "one of them",
                f'"{model.name}"',
                f"write ./{model.name} for the folder, or start from another directory",
            )
        return
    whole = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    if folder.suffix == ".gguf":
        whole = folder.is_file()
    if not whole:
        yield Conflict(
            "model.name",
            "not a model folder" if folder.is_dir() else "no such model folder",
            "a folder with config.json and *.safetensors, or a file x.gguf",
            str(folder),
            "python -m recipes embedded build"
            if model.name == "embedded"
            else f"python -m recipes fetch {folder.name}"
            if folder.parent == Path("bases")
            else f"correct the path; it starts from {Path.cwd()}",
        )


def _find_general_conflicts(path: str, table: Any, model: Model, here: bool) -> Iterator[Conflict]:
    """Files of general rows or text. The embedded one is of the embedded base's own world: another base would forget
    the real one for it. A folder is the embedded base where `embedded build` wrote it, with its rows beside the
    weights.
    """
    if not isinstance(getattr(table, "general", None), str):
        return
    sizes = [key for key in ("share", "general_share", "general_rows") if getattr(table, key, 0)]
    texts = "general_share" in type(table).model_fields
    form = f"a file of rows: {FORMS}"
    if here and not general_rows(table).is_file():
        fix = f"correct the path; it starts from {Path.cwd()}"
        yield Conflict(f"{path}.general", "no such file", form, f'"{table.general}"', fix)
    elif here and sizes and table.general != "embedded":
        try:
            check_general_rows(general_rows(table), texts)
        except RecipeError as error:
            yield Conflict(f"{path}.general", error.what, str(error.allowed), f"{error.where}: {error.got}", error.fix)
    folder = model_folder(model.name)
    if folder is not None and (not here or (folder / GENERAL_TRAIN.name).is_file()):
        return
    if table.general == "embedded" and sizes:
        yield Conflict(
            f"{path}.general",
            "is text of the embedded base's invented world, and this is another base",
            form,
            f'"embedded" with model.name = "{model.name}"',
            f"set {path}.general = './general.jsonl', or {path}.{sizes[0]} = 0"
            if sizes[0] != "share"
            else f"set {path}.general = './general.jsonl', or leave out [{path}]",
        )


def _find_corpus_conflicts(path: str, table: Any) -> Iterator[Conflict]:
    """A corpus other than the table's own default is a folder or file, and holds something."""
    about = type(table).model_fields.get("corpus")
    if about is None or table.corpus == about.default:
        return
    folder = Path(table.corpus).expanduser()
    if not folder.exists():
        yield Conflict(
            f"{path}.corpus",
            "no such corpus",
            "a folder or file that exists",
            f'"{table.corpus}"',
            f"correct the path; it starts from {Path.cwd()}",
        )
    elif folder.is_dir() and not files_under(folder):
        yield Conflict(
            f"{path}.corpus", "the corpus folder is empty", "a folder with source files", f'"{table.corpus}"'
        )
