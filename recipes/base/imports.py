"""Which files of this project the code in a folder is made of, read off its import statements."""

import ast
from collections.abc import Iterator
from pathlib import Path

from recipes.base.hashing import files_under
from recipes.base.places import ROOT


def find_code(folder: Path, root: Path = ROOT) -> dict[str, Path]:
    """The files of `folder` and of every module under `root` that they import, however many modules away.

    An import inside a function counts too. Other packages than those that lie in `root` are left out.

    Args:
        folder: a folder under `root`, or one Python file there.
        root: the folder in which the imported packages lie.

    Returns:
        {path relative to `root`: file}, sorted.
    """
    found, waiting = set(), list(files_under(folder).values())
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += find_imports(file, root) if file.suffix == ".py" else ()
    return {file.relative_to(root).as_posix(): file for file in sorted(found)}


def find_imports(file: Path, root: Path = ROOT) -> Iterator[Path]:
    """The files under `root` that are run when the import statements of `file` are."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = file.relative_to(root).parts[: -node.level] if node.level else ()
            module = [*parts, *(node.module.split(".") if node.module else ())]
            names = [[*module, alias.name] for alias in node.names]  # the last one may be a module or a name in one
        else:
            continue
        for parts in names:
            places = [root.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
            files = [file for place in places for file in (place / "__init__.py", place.with_name(f"{place.name}.py"))]
            yield from (file for file in files if file.is_file())
