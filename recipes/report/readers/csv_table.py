"""A table: CSV with the columns item, model and score, one row an item and model.

More columns may stand in it: `task` (else all rows are one task, "items"), `version`, `prompt`, `reply`, and any that
`--cluster` names.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from recipes.base.errors import RecipeError
from recipes.report.answers import Answers, Item, Model
from recipes.report.readers import Choice, hash_of, make_score

FORM = "a .csv with the columns item, model and score"
NEEDED = ("item", "model", "score")


def is_mine(path: Path) -> bool:
    return path.suffix == ".csv"


def read(path: Path, model: Model, choice: Choice) -> dict[str, Answers]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        table = csv.DictReader(stream)
        columns, rows = table.fieldnames or [], list(table)
    if lacking := [name for name in NEEDED if name not in columns]:
        raise RecipeError("A column is missing", where=str(path), got=", ".join(columns), allowed=", ".join(lacking))
    models = sorted({row["model"] for row in rows})
    wanted = choice.model or (models[0] if len(models) == 1 else "")
    if wanted not in models:
        raise RecipeError(
            "Say which model of the table is meant",
            where=str(path),
            got=wanted or "no name",
            allowed=", ".join(models),
            fix=f"give the file as {path}::MODEL",
        )
    tasks: dict[str, dict[str, Item]] = defaultdict(dict)
    versions: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        task = row.get("task") or "items"
        if row["model"] != wanted or not choice.wants(task):
            continue
        where = f"{path}, line {number}"
        if row["item"] in tasks[task]:
            raise RecipeError("An item stands twice for one model", where=where, got=row["item"])
        versions[task] = row.get("version") or ""
        tasks[task][row["item"]] = Item(
            doc_id=len(tasks[task]),
            doc=dict(row),
            question=row.get("prompt") or row["item"],
            gold="",
            reply=row.get("reply") or "",
            score=make_score(row["score"], where),
            doc_hash=hash_of(row["item"]),
            prompt_hash=hash_of(row.get("prompt")),
            target_hash="",
            source=row.get(choice.node) or "" if choice.node else "",
        )
    return {
        name: Answers(model, "score", versions[name], {}, {}, tuple(found.values())) for name, found in tasks.items()
    }
