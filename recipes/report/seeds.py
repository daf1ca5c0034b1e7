"""What repeated runs say together: one recipe under one setting, run with several seeds.

A seed draws the data splits, the order of training and the samples anew, so every seed has its own test items and its
own trained models; within a seed the models answer the same items. The differences between two models are pooled over
the items of all seeds and tested like those of one run, with a learning node as one cluster over all seeds. That speaks
of the mean over these seeds; the differences seed by seed stand beside it, for a few seeds cannot tell how seeds vary.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from recipes.artifacts.store import flat
from recipes.report import stats
from recipes.report.answers import Answers
from recipes.report.jsonfiles import read_json
from recipes.report.load import Evaluation
from recipes.report.verdict import pairs


@dataclass(frozen=True)
class Pooled:
    """`model` against `against` on one task over all seeds; means in 0..1, `by_seed` the differences, in seed order."""

    task: str
    label: str
    kind: str
    model: str
    against: str
    before: float
    after: float
    by_seed: tuple[float, ...]
    test: stats.Paired
    p_holm: float  # over the tasks of this pair of models but controls


@dataclass(frozen=True)
class Repetition:
    """The runs of one setting, at least two, by seed; `name` is recipe/profile."""

    name: str
    runs: dict[int, Evaluation]
    comparisons: tuple[Pooled, ...]


def repetitions(evaluations: list[Evaluation]) -> list[Repetition]:
    """Every setting that was run with two seeds or more; in the order of their names."""
    found = []
    for runs in by_setting(evaluations):
        if len(runs) > 1:
            ordered = dict(sorted(runs.items()))
            manifest = next(iter(ordered.values())).manifest
            found.append(Repetition(f"{manifest.recipe}/{manifest.profile}", ordered, _pool(list(ordered.values()))))
    return sorted(found, key=lambda r: r.name)


def by_setting(evaluations: list[Evaluation]) -> list[dict[int, Evaluation]]:
    """The newest run of each seed, for every setting.

    A run whose earlier artefacts are gone cannot be matched, and is left out.
    """
    groups: dict[str, dict[int, Evaluation]] = defaultdict(dict)
    for evaluation in sorted(evaluations, key=lambda e: e.date or 0):
        if (setting := _setting_of(evaluation)) is not None:
            groups[setting][evaluation.manifest.seed] = evaluation
    return list(groups.values())


def _setting_of(evaluation: Evaluation) -> str | None:
    """Everything that decided the run but the seed: the spec and the outside inputs of every stage.

    Keys that say how the work was done, which a manifest names, are left out.
    """
    home, described = evaluation.manifest.path.parent, {}
    waiting = [evaluation.manifest.path.name]
    while waiting:
        path = home / waiting.pop() / "manifest.json"
        if not path.is_file():
            return None
        raw = read_json(path)
        given = {name: entry["digest"] for name, entry in raw["inputs"].items() if "stage" not in entry}
        spec = {key: value for key, value in flat(raw["spec"]).items() if key not in {"seed", *raw.get("how", ())}}
        described[raw["stage"]] = [raw["version"], spec, given]
        waiting += [entry["stage"] for entry in raw["inputs"].values() if "stage" in entry]
    return json.dumps([evaluation.manifest.recipe, evaluation.manifest.profile, described], sort_keys=True)


def pooled(by_seed: list[Answers]) -> tuple[list[float], list[str]]:
    """(scores, clusters) of one model on one task over all seeds; an item without a node is a cluster of its own."""
    clusters = [c if c.startswith("node ") else f"{n} {c}" for n, found in enumerate(by_seed) for c in found.clusters]
    return [score for found in by_seed for score in found.scores], clusters


def _pool(runs: list[Evaluation]) -> tuple[Pooled, ...]:
    found = []
    for model, against in pairs(runs[0].models):
        rows = [row for task in runs[0].tasks if (row := _pool_task(runs, task.name, model, against))]
        family = [row for row in rows if row["kind"] != "control"]
        for row, p in zip(family, stats.holm([row["test"].p for row in family]), strict=True):
            row["p_holm"] = p
        found += [Pooled(**({"p_holm": row["test"].p} | row)) for row in rows]
    return tuple(found)


def _pool_task(runs: list[Evaluation], name: str, model: str, against: str) -> dict[str, Any] | None:
    """The pooled comparison of two models on one task; None where a run lacks one of them."""
    tasks = [task for run in runs for task in run.tasks if task.name == name]
    if len(tasks) < len(runs) or any(not {model, against} <= task.answers.keys() for task in tasks):
        return None
    after = [task.answers[model] for task in tasks]
    before = [task.answers[against] for task in tasks]
    (scores, clusters), (reference, _) = pooled(after), pooled(before)
    test = stats.paired(scores, reference, clusters)
    weights = [len(answers.items) / test.n for answers in after]
    return {
        "task": name,
        "label": runs[0].label(name),
        "kind": tasks[0].kind,
        "model": model,
        "against": against,
        "before": sum(w * answers.mean for w, answers in zip(weights, before, strict=True)),
        "after": sum(w * answers.mean for w, answers in zip(weights, after, strict=True)),
        "by_seed": tuple(a.mean - b.mean for a, b in zip(after, before, strict=True)),
        "test": test,
    }


def as_text(repetition: Repetition) -> list[str]:
    """The pooled comparisons as lines for the terminal."""
    lines = [f"{repetition.name}, seeds {', '.join(map(str, repetition.runs))}, pooled over items:"]
    for row in repetition.comparisons:
        seeds = " ".join(f"{100 * difference:+.1f}" for difference in row.by_seed)
        lines.append(
            f"  {row.model} - {row.against}, {row.label}: {100 * row.before:.1f} -> {100 * row.after:.1f}, "
            f"{100 * row.test.difference:+.1f} points (95 % {100 * row.test.interval.low:+.1f} to "
            f"{100 * row.test.interval.high:+.1f}), p = {row.p_holm:.2g}, n = {row.test.n}; by seed {seeds}"
        )
    return lines
