"""The rules that `benchmarks.calibration` compares: for each of K tunings, which tasks are said to be better or worse.

A rule takes the answers of a family of tasks, `Family`, and gives two arrays of truth [T, K]: said better, said worse.
The first task is what the tuning was for; the others are general suites, the last of them "safety".

Rules of other tools were read in their code and are written out here; the packages themselves are not run.

- soup-cli 0.77.0, utils/ship_verdict.py, `decide_ship`: the task is won where its score rises at all; a suite regressed
  where it falls by more than 0.05.
- finetunecheck 2.0.2, eval/runner.py `_compute_verdict` and forgetting/: INSUFFICIENT_EVIDENCE below 20 items a suite;
  forgetting is detected by ratios of scores; EXCELLENT or GOOD by a weighted score from 65 on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recipes.report import stats

DRAWS = 1_000  # of the bootstrap baselines
ALPHA, MARGIN = 0.05, 0.05


@dataclass(frozen=True)
class Family:
    """Answers of T tasks, all with N items in the same clusters, for K tunings.

    Attributes:
        base, tuned: mean scores, [T, K].
        differences: of the items, [T, N, K].
        spreads: standard deviations of the base's and the tuned model's item scores, [T, K] each.
        clusters: name of each item's source.
        binary: right or wrong, without grades.
    """

    base: np.ndarray
    tuned: np.ndarray
    differences: np.ndarray
    spreads: tuple[np.ndarray, np.ndarray]
    clusters: list[str]
    binary: bool

    known: dict[str, np.ndarray] = field(default_factory=dict)  # p values by test, [T, K], each taken once

    def first(self, tasks: int) -> Family:
        """The family of the first tasks alone; for the p values of all tasks see `list_p`."""
        spreads = (self.spreads[0][:tasks], self.spreads[1][:tasks])
        cut = (self.base[:tasks], self.tuned[:tasks], self.differences[:tasks], spreads)
        known = {name: values[:tasks] for name, values in self.known.items()}
        return Family(*cut, self.clusters, self.binary, known)

    def list_p(self, test: str) -> np.ndarray:
        """p values [T, K] of `p` and `p_items` of this project, and of "clusters" and "items", the bootstraps."""
        if "p" not in self.known:
            found = [stats.test_columns(task, self.clusters, self.binary) for task in self.differences]
            for name in ("p", "p_items", "lower"):
                self.known[name] = np.stack([getattr(each, name) for each in found])
        if test not in self.known:
            single = [str(number) for number in range(self.differences.shape[1])]
            draws_over = self.clusters if test == "clusters" else single
            self.known[test] = bootstrap(self.differences, draws_over, stretched=test == "clusters")
        return self.known[test]


Said = tuple[np.ndarray, np.ndarray]


def say_by(p_TK: np.ndarray, family: Family) -> Said:
    change = family.tuned - family.base
    return (p_TK < ALPHA) & (change > 0), (p_TK < ALPHA) & (change < 0)


def ours(family: Family) -> Said:
    return say_by(stats.holm_columns(family.list_p("p")), family)


def ours_without_clusters(family: Family) -> Said:
    """Exact McNemar (or Bonett-Price for graded scores) with Holm, items taken as independent."""
    return say_by(stats.holm_columns(family.list_p("p_items")), family)


def ours_without_holm(family: Family) -> Said:
    return say_by(family.list_p("p"), family)


def mcnemar_alone(family: Family) -> Said:
    """Neither clusters nor Holm."""
    return say_by(family.list_p("p_items"), family)


def former_bootstrap(family: Family) -> Said:
    """This project's rule until December 2026: bootstrap over clusters, stretched by Student's t at 97.5 %."""
    p_TK = family.list_p("p_items")
    if stats.is_clustered(family.clusters) or not family.binary:
        p_TK = np.maximum(p_TK, family.list_p("clusters"))
    return say_by(stats.holm_columns(p_TK), family)


def bootstrap_items(family: Family) -> Said:
    return say_by(family.list_p("items"), family)


def unpaired_z(family: Family) -> Said:
    """Two proportions with a pooled share."""
    from scipy.special import ndtr

    n = family.differences.shape[1]
    share = (family.base + family.tuned) / 2
    error = np.sqrt(np.maximum(share * (1 - share) * 2 / n, 1e-12))
    return say_by(2 * ndtr(-np.abs(family.tuned - family.base) / error), family)


def unpaired_t(family: Family) -> Said:
    """Welch's test of item scores, as of lm-eval's own stderr of two models."""
    from scipy.special import stdtr

    n = family.differences.shape[1]
    a, b = (np.maximum(spread**2 / (n - 1), 1e-12) for spread in family.spreads)
    freedom = (a + b) ** 2 / ((a**2 + b**2) / (n - 1))
    return say_by(2 * stdtr(freedom, -np.abs(family.tuned - family.base) / np.sqrt(a + b)), family)


def soup(family: Family) -> Said:
    change = family.tuned - family.base
    better, worse = np.zeros(change.shape, bool), -change > 0.05 + 1e-9
    better[0], worse[0] = change[0] > 0, False
    return better, worse


def finetunecheck(family: Family) -> Said:
    """ "Better" is a verdict of GOOD or more; "worse" is forgetting that it says it detected."""
    change, n = family.tuned - family.base, family.differences.shape[1]
    better, worse = np.zeros(change.shape, bool), np.zeros(change.shape, bool)
    if len(change) < 2 or n < 20:
        return better, worse
    whole = (family.base[1:] > 0).all(axis=0)  # else INSUFFICIENT_EVIDENCE
    rates = family.tuned[1:] / np.where(family.base[1:] > 0, family.base[1:], 1.0)
    bounded, transfer = np.minimum(1.0, rates), change[1:].mean(axis=0)
    loss = 1 - bounded
    uneven = loss.std(axis=0, ddof=1) if len(loss) > 1 else np.zeros(loss.shape[1])
    kept, worst, safety = bounded.mean(axis=0), rates.min(axis=0), rates[-1]
    catastrophic = (transfer <= -0.20) | ((worst < 0.70) & (kept < 0.85))
    forgot = catastrophic | (worst < 0.70) | (uneven >= 0.15) | (transfer <= -0.05) | (kept < 0.95)
    roi = (
        30 * np.clip(change[0] / 0.20, 0, 1)
        + 25 * np.clip(rates.mean(axis=0), 0, 1)
        + 25 * np.clip(safety, 0, 1)
        + 10 * np.clip(1 - uneven, 0, 1)
        + 10 * np.clip(1 + np.minimum(0, transfer), 0, 1)
    )
    better[0] = whole & (safety >= 0.70) & ~catastrophic & (change[0] > 0) & (np.round(roi, 2) >= 65)
    worse[1:] = whole & (forgot | (safety < 0.70))
    return better, worse


def bootstrap(differences_TNK: np.ndarray, clusters: list[str], stretched: bool = False) -> np.ndarray:
    """Twice the smaller share of resampled means on either side of zero, [T, K]; the same draws for all columns."""
    from scipy.special import stdtrit

    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sizes_C = np.bincount(index)
    count = len(sizes_C)
    draws_BC = np.random.default_rng(20_250_810).multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(float)
    weights_B1 = (draws_BC @ sizes_C)[:, None]
    starts_C, order = (np.cumsum(sizes_C) - sizes_C), np.argsort(index, kind="stable")
    stretch = np.sqrt(count / max(1, count - 1)) * stdtrit(max(1, count - 1), 0.975) / 1.959964 if stretched else 1.0
    p_TK = np.empty((len(differences_TNK), differences_TNK.shape[2]))
    for task, values_NK in enumerate(differences_TNK):
        centre_K = values_NK.mean(axis=0)
        means_BK = draws_BC @ np.add.reduceat(values_NK[order], starts_C, axis=0) / weights_B1
        means_BK = centre_K + stretch * (means_BK - centre_K)
        side_K = np.minimum((means_BK <= 0).sum(axis=0), (means_BK >= 0).sum(axis=0))
        p_TK[task] = np.minimum(1.0, 2 * (side_K + 1) / (DRAWS + 1))
    return p_TK


RULES = {
    "this project": ours,
    "… former bootstrap over clusters": former_bootstrap,
    "… without clusters": ours_without_clusters,
    "… without Holm": ours_without_holm,
    "McNemar alone": mcnemar_alone,
    "bootstrap on items": bootstrap_items,
    "unpaired z": unpaired_z,
    "unpaired t": unpaired_t,
    "soup-cli 0.77 `ship`": soup,
    "finetunecheck 2.0": finetunecheck,
}
