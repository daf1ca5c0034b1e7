"""One page over all runs: recipes x profiles x models x tasks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recipes.base.errors import RecipeError
from recipes.report.answers import Model
from recipes.report.frontier import frontiers
from recipes.report.jsonfiles import read_json
from recipes.report.load import Evaluation, load_evaluation
from recipes.report.render import render
from recipes.report.seeds import Repetition, repetitions
from recipes.report.verdict import Score, score


@dataclass(frozen=True)
class Column:
    """A task asked in one way: items, gold answers, metric, task version and decoding are equal down the column."""

    task: str
    label: str
    identity: str
    n: int
    kind: str


@dataclass(frozen=True)
class Row:
    """One model of one run, its scores by column identity."""

    run: Evaluation
    model: Model
    scores: dict[tuple[str, str], Score]
    link: str  # to the run's own report; empty where that shows another run


@dataclass(frozen=True)
class Board:
    """All runs of one recipe, newest first."""

    recipe: str
    columns: list[Column]
    rows: list[Row]
    other_prompts: set[tuple[str, str, str]]  # (fingerprint, model, column identity): prompts unlike the newest run's


def write_leaderboard(runs: Path, out: Path) -> tuple[Path, list[Repetition]]:
    """Write `out/index.html` over every finished evaluation below `runs` (runs/<recipe>/<profile>/).

    Returns its path, and the settings that were run with several seeds.

    A run that cannot be read is named on the page with the reason.
    """
    evaluations, broken = [], {}
    for folder in sorted(runs.glob("*/*/evaluate-????????")):
        try:
            evaluations.append(load_evaluation(folder))
        except RecipeError as error:
            broken[str(folder.relative_to(runs))] = str(error)
    recipes = sorted({e.manifest.recipe for e in evaluations})
    boards = [_board(recipe, [e for e in evaluations if e.manifest.recipe == recipe], out) for recipe in recipes]
    out.mkdir(parents=True, exist_ok=True)
    page = out / "index.html"
    repeated = repetitions(evaluations)
    shown = {"boards": boards, "repeated": repeated, "frontiers": frontiers(evaluations), "broken": broken}
    page.write_text(render("leaderboard.html.jinja", **shown), encoding="utf-8")
    return page, repeated


def _board(recipe: str, evaluations: list[Evaluation], out: Path) -> Board:
    newest_first = sorted(evaluations, key=lambda e: e.date or 0, reverse=True)
    columns: dict[tuple[str, str], Column] = {}
    wording: dict[tuple[str, str], str] = {}
    rows, others = [], set()
    for evaluation in newest_first:
        link = _report_link(evaluation, out)
        for model in evaluation.models:
            scores = {}
            for task in evaluation.tasks:
                answers = task.answers.get(model.name)
                if answers is None:
                    continue
                key = (task.name, answers.identity)
                label = evaluation.label(task.name)
                columns.setdefault(key, Column(task.name, label, answers.identity, len(answers.items), task.kind))
                scores[key] = score(task, answers)
                if not model.method and wording.setdefault(key, answers.prompts) != answers.prompts:
                    others.add((evaluation.manifest.fingerprint, model.name, answers.identity))
            rows.append(Row(evaluation, model, scores, link))
    order = {"field": 0, "control": 1, "format": 2, "general": 3}
    ordered = sorted(columns.values(), key=lambda column: order[column.kind])
    return Board(recipe, ordered, rows, others)


def _report_link(evaluation: Evaluation, out: Path) -> str:
    report = evaluation.manifest.path.parent / "report"
    if not (report / "report.json").is_file():
        return ""
    if read_json(report / "report.json").get("fingerprint") != evaluation.manifest.fingerprint:
        return ""
    return Path(os.path.relpath(report / "index.html", out)).as_posix()
