"""`new`: a recipe that works at once, to be changed into another: table, builder, task and test."""

import keyword
import os
from pathlib import Path
from string import Template

from recipes.config import ROOT
from recipes.errors import RecipeError
from recipes.loader import NAME, read_file

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

    Raises `RecipeError`, before anything is written, where the name is not free.
    """
    file = Path(file)
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise RecipeError(
            "not a name for a recipe",
            got=repr(name),
            allowed="a lower case letter, then letters, digits and _; no word of Python",
        )
    targets = {template: ROOT / fill(path, name, file) for template, path in FILES.items()}
    places = (f"data_builders/{name}", f"eval/tasks/{name}", f"tests/test_{name}.py")
    taken = [place for place in places if (ROOT / place).exists()]
    if name in (read_file(file) if file.exists() else {}):
        taken.append(f"[{name}] in {file}")
    if taken:
        raise RecipeError(f"the name {name!r} is taken", got=", ".join(taken), fix="choose another name")
    for template, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(fill((SKELETON / template).read_text(encoding="utf-8"), name, file), encoding="utf-8")
    with open(file, "a", encoding="utf-8") as table:
        table.write(fill((SKELETON / "recipe.toml.txt").read_text(encoding="utf-8"), name, file))
    option = "" if file.resolve() == ROOT / "recipes.toml" else f" --file {file}"
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


def fill(text, name, file):
    """A template with the recipe's name in it, and its file as seen from the checkout."""
    return Template(text).substitute(name=name, file=os.path.relpath(file, ROOT))
