"""Readers of evaluations that were made elsewhere; one file for each form, found by looking into this folder.

A reader is a module with

    FORM                          the form in words, for errors
    is_mine(path) -> bool         whether a file or folder holds this form, by names alone
    read(path, model, choice) -> {task: Answers}

`read` gives every task that `choice.tasks` lets through, its items in an order of its own: pairing goes by
`doc_hash` (the item), `target_hash` (the right answer) and `prompt_hash` (what the model was asked), all of them hashes
of content. It raises RecipeError for files that cannot be read, and for items without a score from 0 to 1.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.report.answers import Answers, Model


@dataclass(frozen=True)
class Choice:
    """What of an evaluation is read.

    Attributes:
        tasks: names or globs; all where there is none.
        metric: that scores an item; the form's first where it is empty.
        node: field of an item that names the source it was made from.
        model: of a table that holds several.
    """

    tasks: tuple[str, ...] = ()
    metric: str = ""
    node: str = ""
    model: str = ""

    def wants(self, task: str) -> bool:
        return not self.tasks or any(fnmatchcase(task, pattern) for pattern in self.tasks)


def read_evaluation(path: Path, model: Model, choice: Choice) -> dict[str, Answers]:
    """{task: answers} of one evaluation of one model, at least one. Raises RecipeError."""
    readers = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    forms = "; ".join(reader.FORM for reader in readers)
    if not path.exists():
        raise RecipeError("There is no such file or folder", where=str(path), allowed=forms)
    reader = next((reader for reader in readers if reader.is_mine(path)), None)
    if reader is None:
        raise RecipeError("No evaluation of a known form is there", where=str(path), allowed=forms)
    found = reader.read(path, model, choice)
    if not found:
        raise RecipeError(
            "No task with items is left to read", where=str(path), got=", ".join(choice.tasks) or "no task"
        )
    return found


def hash_of(value: Any) -> str:
    """Hash of content, alike in every process."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def make_score(value: Any, where: str) -> float:
    """A number from 0 to 1 of what a form holds; also true and false. Raises RecipeError."""
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = -1.0
    if not 0 <= score <= 1:
        raise RecipeError("A score is not a number from 0 to 1", where=where, got=repr(value))
    return score
