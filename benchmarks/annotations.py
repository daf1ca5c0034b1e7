"""Share of annotated parameters of public functions, and of those that say what they return, by package.

Read from the source, nothing is imported. Public is what no leading underscore hides: neither the function, nor its
class, nor its module; functions inside functions are private. `self`, `cls` and `_` count for nothing.

    python -m benchmarks.annotations [ROOT] --depth 2
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.base.places import ROOT

PACKAGES = ("recipes", "data_builders", "eval")
UNCOUNTED = {"self", "cls", "_"}


@dataclass
class Count:
    """Parameters and results of public functions, and how many of each are annotated."""

    functions: int = 0
    parameters: int = 0
    annotated: int = 0
    results: int = 0  # functions whose result is annotated; those of __init__ need none and count as annotated

    def add(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Count one function."""
        given = function.args
        parameters = [
            *(*given.posonlyargs, *given.args, *given.kwonlyargs),
            *(one for one in (given.vararg, given.kwarg) if one is not None),
        ]
        parameters = [one for one in parameters if one.arg not in UNCOUNTED]
        self.functions += 1
        self.parameters += len(parameters)
        self.annotated += sum(one.annotation is not None for one in parameters)
        self.results += function.returns is not None or function.name == "__init__"


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public functions of a module's or class's body, methods and what Python itself calls included."""
    for node in body:
        name = getattr(node, "name", "")
        if name.startswith("_") and not name.startswith("__"):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef | ast.If | ast.Try):
            yield from public_functions(node.body)


def count_packages(root: Path, depth: int) -> dict[str, Count]:
    """{package: counts} of the checkout at `root`; packages below `depth` count for the one that holds them."""
    counts: dict[str, Count] = {}
    for file in (file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))):
        path = file.relative_to(root)
        if path.stem.startswith("_") and not path.stem.startswith("__"):
            continue
        count = counts.setdefault(".".join(path.parent.parts[:depth]), Count())
        for function in public_functions(ast.parse(file.read_text(encoding="utf-8")).body):
            count.add(function)
    return counts


def main() -> None:
    """Print the table."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    reader.add_argument("root", nargs="?", type=Path, default=ROOT, help="a checkout (default: this one)")
    reader.add_argument("--depth", type=int, default=1, help="how deep packages are told apart (default: 1)")
    options = reader.parse_args()
    print(f"{'package':<32}{'functions':>10}{'parameters':>12}{'annotated':>11}{'results':>9}")
    for package, count in sorted(count_packages(options.root, options.depth).items()):
        if count.functions:
            share, results = count.annotated / max(1, count.parameters), count.results / count.functions
            print(f"{package:<32}{count.functions:>10}{count.parameters:>12}{share:>11.1%}{results:>9.1%}")


if __name__ == "__main__":
    main()
