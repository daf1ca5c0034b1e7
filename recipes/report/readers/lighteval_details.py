"""lighteval: `details_<task>_<date>.parquet` of `--save-details`; needs pyarrow, which comes with `datasets`.

Source of the form: lighteval 0.13, logging/evaluation_tracker.py and info_loggers.py (columns doc, metric,
model_response); before 0.10 the columns are example, full_prompt, gold, predictions and metrics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.report.answers import Answers, Item, Model
from recipes.report.jsonfiles import read_json
from recipes.report.readers import Choice, hash_of, make_score

FORM = "a folder with lighteval's details_*.parquet, or such a file"


def is_mine(path: Path) -> bool:
    return path.suffix == ".parquet" or (path.is_dir() and any(path.rglob("details_*.parquet")))


def read(path: Path, model: Model, choice: Choice) -> dict[str, Answers]:
    """The newest details of each task."""
    try:
        from pyarrow.parquet import read_table  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise RecipeError(
            "lighteval's details are parquet, which needs pyarrow", where=str(path), fix="pip install pyarrow"
        ) from error
    files = sorted(path.rglob("details_*.parquet"), key=lambda f: f.name.rsplit("_", 1)[1]) if path.is_dir() else [path]
    newest = {file.name.removeprefix("details_").rsplit("_", 1)[0]: file for file in files}
    found = {}
    for task, file in sorted(newest.items()):
        rows = read_table(file).to_pylist() if choice.wants(task) else []
        if rows:
            found[task] = _make_answers(rows, model, _version(file, task), choice, str(file))
    return found


def _make_answers(rows: list[dict[str, Any]], model: Model, version: str, choice: Choice, where: str) -> Answers:
    metric = choice.metric or _first_metric(rows, where)
    items = []
    for number, row in enumerate(rows):
        doc = row.get("doc") or {"query": row.get("example"), "gold": row.get("gold"), **(row.get("specifics") or {})}
        said = row.get("model_response") or {}
        asked = said.get("input") or row.get("full_prompt") or doc.get("query")
        doc = {**(doc.get("specific") or {}), **doc}
        replies = said.get("text") or row.get("predictions") or [""]
        items.append(
            Item(
                doc_id=number,
                doc=doc | {"options": doc.get("choices") or []},
                question=str(doc.get("query")),
                gold=str(doc.get("gold", doc.get("gold_index"))),
                reply=str(replies[0] if isinstance(replies, list) else replies),
                score=make_score((row.get("metric") or row.get("metrics") or {}).get(metric), f"{where}, row {number}"),
                doc_hash=hash_of([doc.get("query"), doc.get("choices")]),
                prompt_hash=hash_of(asked),
                target_hash=hash_of([doc.get("gold"), doc.get("gold_index")]),
                source=str(doc.get(choice.node) or "") if choice.node else "",
            )
        )
    return Answers(model, metric, version, {}, {}, tuple(items))


def _first_metric(rows: list[dict[str, Any]], where: str) -> str:
    """The first that has a number for every item."""
    columns = [row.get("metric") or row.get("metrics") or {} for row in rows]
    for name in columns[0]:
        if all(isinstance(metrics.get(name), (int, float)) for metrics in columns):
            return name
    raise RecipeError("No metric has a number for every item", where=where, got=", ".join(columns[0]))


def _version(details: Path, task: str) -> str:
    """The task's version in the results of the same date, which lie beside the folder of details; "" without them."""
    date = details.stem.rsplit("_", 1)[1]
    for home in details.parents[:5]:
        for file in (home / "results").rglob(f"results_{date}.json"):
            return str(read_json(file).get("versions", {}).get(task, ""))
    return ""
