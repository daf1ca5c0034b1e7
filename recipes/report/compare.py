"""Compare two evaluate artefacts, for the `diff` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.report import stats
from recipes.report.answers import Answers
from recipes.report.jsonfiles import read_json
from recipes.report.load import load_evaluation
from recipes.report.verdict import ALPHA


def compare_models(dir_a: Path, dir_b: Path) -> list[dict[str, Any]]:
    """Paired tests of b against a, one row for each task and model that both hold.

    Row: task, model, n, a, b (mean scores 0..1), p (Holm over the rows), low, high (95 % interval of b - a), refused.
    Where items, scoring or prompts differ nothing is compared: n, p, low and high are None and `refused` says why.
    Raises RecipeError where a folder is no evaluate artefact.
    """
    runs = [{task.name: task for task in load_evaluation(folder).tasks} for folder in (dir_a, dir_b)]
    rows, tests = [], []
    for name in (n for n in runs[0] if n in runs[1]):
        before, after = runs[0][name].answers, runs[1][name].answers
        for model in (m for m in before if m in after):
            row = {"task": name, "model": model, "a": before[model].mean, "b": after[model].mean}
            row["refused"] = _difference(before[model], after[model])
            if row["refused"]:
                row |= {"n": None, "p": None, "low": None, "high": None}
            else:
                test = stats.paired(after[model].scores, before[model].scores, after[model].clusters)
                row |= {"n": test.n, "p": test.p, "low": test.interval.low, "high": test.interval.high}
                tests.append(row)
            rows.append(row)
    for row, p in zip(tests, stats.holm([row["p"] for row in tests]), strict=True):
        row["p"] = p
    return rows


def find_alpha(artefact: Path) -> float:
    """The error level of the report beside an evaluate artefact; the default where there is none."""
    report = artefact.parent / "report" / "report.json"
    return float(read_json(report)["verdict"]["alpha"]) if report.is_file() else ALPHA


def _difference(a: Answers, b: Answers) -> str:
    if a.identity != b.identity:
        return f"items or scoring differ (task hash {a.identity} and {b.identity})"
    if a.prompts != b.prompts:
        return f"prompts differ (prompt hash {a.prompts} and {b.prompts})"
    return ""
