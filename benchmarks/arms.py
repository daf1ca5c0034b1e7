"""Models that were trained in different ways, compared on the items of several seeds with the report's statistics."""

from dataclasses import replace
from typing import Any

from recipes.config.schema import Recipe
from recipes.report import stats
from recipes.report.answers import Answers
from recipes.report.seeds import pooled


def format_interval(scores: list[float], clusters: list[str]) -> str:
    """Mean and 95 % interval in per cent."""
    shown = stats.score_interval(scores, clusters)
    return f"{100 * sum(scores) / len(scores):5.1f} ({100 * shown.low:.1f} to {100 * shown.high:.1f})"


def compare(task: str, answers: dict[str, list[Answers]], against: str) -> list[str]:
    """Lines for a terminal: the score of every arm on one task, and its paired difference to the arm `against`.

    `answers` maps an arm to its answers in the order of the seeds; every arm answered the same items. "base", where it
    is among them, is shown without a test. p values are Holm's over the other arms; the differences of each seed stand
    at the end of a line.
    """
    reference, clusters = pooled(answers[against])
    lines = [f"{task}, {len(reference)} items"]
    shown = [arm for arm in ("base", against) if arm in answers]
    lines += [f"  {arm} {format_interval(*pooled(answers[arm]))}" for arm in shown]
    others = {arm: pooled(found)[0] for arm, found in answers.items() if arm not in shown}
    tests = [stats.paired(scores, reference, clusters) for scores in others.values()]
    for (arm, scores), test, p in zip(others.items(), tests, stats.holm([t.p for t in tests]), strict=True):
        low, high = 100 * test.interval.low, 100 * test.interval.high
        seeds = [100 * (a.mean - b.mean) for a, b in zip(answers[arm], answers[against], strict=True)]
        lines.append(
            f"  {arm} {format_interval(scores, clusters)}, against {against} {100 * test.difference:+.1f} "
            f"({low:+.1f} to {high:+.1f}), p {p:.2g}; by seed {' '.join(f'{seed:+.1f}' for seed in seeds)}"
        )
    return lines


def use_settings(recipe: Recipe, kind: str, settings: Any) -> Recipe:
    """The recipe with other settings of the first step of a kind; without that step where they are None."""
    (step, *_) = [step for step in recipe.steps if step.kind == kind]
    if settings is not None:
        return replace(recipe, steps=tuple(replace(s, settings=settings) if s is step else s for s in recipe.steps))
    rest = [
        replace(s, inputs=tuple(name for name in s.inputs if name != step.name)) for s in recipe.steps if s is not step
    ]
    return replace(recipe, steps=tuple(rest))
