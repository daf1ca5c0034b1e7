"""lm-eval: `results_*.json` and `samples_*.jsonl` of `lm_eval --output_path … --log_samples`, any backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.report.answers import Answers, Model, read_samples
from recipes.report.jsonfiles import read_json
from recipes.report.readers import Choice

FORM = "a folder with lm-eval's samples_*.jsonl and results_*.json (--log_samples)"


def is_mine(path: Path) -> bool:
    return path.is_dir() and (any(path.rglob("samples_*.jsonl")) or any(path.rglob("results_*.json")))


def read(path: Path, model: Model, choice: Choice) -> dict[str, Answers]:
    """The newest samples of each task, with the results of the same date beside them."""
    files = sorted(path.rglob("samples_*.jsonl"), key=lambda f: f.name.rsplit("_", 1)[1])
    if not files:
        raise RecipeError("lm-eval logged no samples here", where=str(path), fix="evaluate again with --log_samples")
    folders = sorted({str(file.parent) for file in files})
    if len(folders) > 1:
        raise RecipeError("The folder holds several models", where=str(path), got=", ".join(folders), fix="name one")
    newest = {file.name[len("samples_") :].rsplit("_", 1)[0]: file for file in files}  # the last of a name wins
    found = {}
    for task, file in sorted(newest.items()):
        if not choice.wants(task):
            continue
        results = _find_results(file, task)
        answers = read_samples(file, model, task, results, choice.metric, choice.node)
        if answers is None:
            continue
        if results.get("higher_is_better", {}).get(task, {}).get(answers.metric) is False:
            raise RecipeError(
                "A lower value of this metric is better",
                where=f"{path}, task {task}",
                got=answers.metric,
                fix="name another metric",
            )
        found[task] = answers
    return found


def _find_results(samples: Path, task: str) -> dict[str, Any]:
    """The results of the samples' own date, else the newest that hold the task. Raises RecipeError where none does."""
    date = samples.stem.rsplit("_", 1)[1]
    files = sorted(samples.parent.glob("results_*.json"), key=lambda f: (f.stem == f"results_{date}", f.name))
    for file in reversed(files):
        results = read_json(file)
        if task in results.get("results", {}):
            return results
    raise RecipeError(
        "lm-eval's results do not hold a task of the samples",
        where=str(samples.parent),
        got=task,
        allowed="the results_*.json of the same run, which says the task's version",
    )
