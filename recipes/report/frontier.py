"""What is gained and what is kept: every setting as one point, for runs that were asked the same tasks of one base.

gain     mean over the tasks of the recipe's field of the final model's score less the base's, in 0..1
kept     mean over the general tasks of the final model's score over the base's
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from recipes.report.load import Evaluation
from recipes.report.seeds import by_setting


@dataclass(frozen=True)
class Point:
    """One setting, mean over its seeds; `gains` and `kepts` are those of each seed."""

    name: str
    gains: tuple[float, ...]
    kepts: tuple[float, ...]

    @property
    def gain(self) -> float:
        return sum(self.gains) / len(self.gains)

    @property
    def kept(self) -> float:
        return sum(self.kepts) / len(self.kepts)


@dataclass(frozen=True)
class Frontier:
    """The points that may be compared: one base, the same tasks."""

    base: str
    tasks: tuple[str, ...]
    points: tuple[Point, ...]


def frontiers(evaluations: list[Evaluation]) -> list[Frontier]:
    """Every group of two settings or more that have tasks of a field and general ones in common."""

    def asked(seeds):
        return _asked(next(iter(seeds.values())))

    found, measured = [], [e for e in evaluations if measure(e)]
    for (base, tasks), group in groupby(sorted(by_setting(measured), key=asked), key=asked):
        points = [_point(list(seeds.values())) for seeds in group]
        if len(points) > 1:
            found.append(Frontier(base, tasks, tuple(sorted(points, key=lambda p: (p.name, p.gain)))))
    return found


def measure(evaluation: Evaluation) -> tuple[float, float] | None:
    """(gain, kept) of the final model; None where a kind of task is missing or the base knows nothing general."""
    base, final = evaluation.chain[0].name, evaluation.chain[-1].name
    scores = {
        kind: [(t.answers[final].mean, t.answers[base].mean) for t in evaluation.tasks if t.kind == kind and t.n]
        for kind in ("field", "general")
    }
    if base == final or not all(scores.values()) or not all(before for _, before in scores["general"]):
        return None
    gain = sum(after - before for after, before in scores["field"]) / len(scores["field"])
    return gain, sum(after / before for after, before in scores["general"]) / len(scores["general"])


def _asked(evaluation: Evaluation) -> tuple[str, tuple[str, ...]]:
    return evaluation.base_name, tuple(t.name for t in evaluation.tasks if t.kind in ("field", "general") and t.n)


def _point(runs: list[Evaluation]) -> Point:
    manifest = runs[0].manifest
    gains, kepts = zip(*(measure(run) for run in runs), strict=True)
    return Point(
        manifest.recipe if manifest.profile == "embedded" else f"{manifest.recipe}/{manifest.profile}", gains, kepts
    )
