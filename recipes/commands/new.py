"""`new`: a recipe that works at once, to be changed into another: table, builder, task and test."""

import keyword
import os
import shlex
import shutil
import sys
from pathlib import Path
from string import Template

from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.config.load import read_file
from recipes.config.typed import NAME

SKELETON = Path(__file__).parent / "skeleton"
FILES = {  # template: what it becomes
    "init.py.txt": "data_builders/$name/__init__.py",
    "spec.py.txt": "data_builders/$name/spec.py",
    "builder.py.txt": "data_builders/$name/builder.py",
    "conversions.toml.txt": "data_builders/$name/corpus/conversions.toml",
    "task.yaml.txt": "eval/tasks/$name/${name}_conversion.yaml",
    "task.md.txt": "eval/tasks/$name/README.md",
    "test.py.txt": "tests/test_$name.py",
}


def new(name, file):
    """Write the recipe `name` and append its table to `file`; what was written, as text.

    Raises `RecipeError`, before anything is written, where the name is not free or there is no folder for `file`; where
    writing fails nothing is left.
    """
    file = Path(file)
    # a package hides the module of the same name beside it, and a script run from beside it finds it before Python's
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise RecipeError(
            "not a name for a recipe",
            got=repr(name),
            allowed="a lower case letter, then letters, digits and _; no word or module of Python",
        )
    if not file.parent.is_dir():
        raise RecipeError("no such folder for the recipe file", where="--file", got=file, fix="make the folder first")
    targets = {template: ROOT / fill(path, name, file) for template, path in FILES.items()}
    places = (f"data_builders/{name}", f"eval/tasks/{name}", f"tests/test_{name}.py")
    modules = (f"data_builders/{name}.py", f"eval/{name}.py")
    taken = [place for place in (*places, *modules) if (ROOT / place).exists()]
    if name in (read_file(file) if file.exists() else {}):
        taken.append(f"[{name}] in {file}")
    if taken:
        raise RecipeError(f"the name {name!r} is taken", got=", ".join(taken), fix="choose another name")
    try:
        for template, target in targets.items():
            write(target, filled(template, name, file))
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        write(file, before + filled("recipe.toml.txt", name, file))
    except BaseException as error:
        for place in places:  # all of them new
            shutil.rmtree(ROOT / place, ignore_errors=True)
            (ROOT / place).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RecipeError("the recipe cannot be written", got=error, fix="nothing was left behind") from error
        raise
    option = "" if file.resolve() == ROOT / "recipes.toml" else f" --file {shlex.quote(str(file))}"
    lines = [
        "written",
        *(f"  {target.relative_to(ROOT)}" for target in targets.values()),
        f"  [{name}] in {file}",
        "",
        f"try it:   python -m recipes run {name}{option}",
        f"test it:  python -m pytest tests/test_{name}.py",
        "then change the corpus, the builder and the task into your own",
    ]
    return "\n".join(lines)


def filled(template, name, file):
    """What a file of the skeleton becomes."""
    return fill((SKELETON / template).read_text(encoding="utf-8"), name, file)


def write(file, text):
    """Write a file beside its place and move it there, so that what stands there is whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.tmp")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def fill(text, name, file):
    """A template with the recipe's name in it, and its file as seen from the checkout."""
    return Template(text).substitute(name=name, file=os.path.relpath(file, ROOT))
