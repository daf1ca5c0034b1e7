"""The statistics behind a verdict: intervals and paired tests; sample sizes are in `power`.

numpy and `scipy.special` alone: `scipy.stats` takes longer to load than a whole report to write. Each formula names its
paper.

Scores are numbers in [0, 1], one per item; a *cluster* is the source the item was made from (a learning node, a
passage), because items from one source are right or wrong together and count for less than independent ones.

Two approximations err in opposite directions: formulas for independent items are too sure when items come in clusters,
and the t test over clusters is too sure when few items differ (with no difference at all its interval has no width).
Where items come in clusters both are computed and the more careful one is used: the wider interval, the larger p value.
How often the outcome is wrong is measured by `benchmarks/calibration.py`.

Suffixes of arrays: N items, C clusters, K comparisons on the same items, tested together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

_normal = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A closed interval of a score (0..1) or of a difference of scores (-1..1)."""

    low: float
    high: float

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Paired:
    """One model against another on the same items; differences are `model - against`."""

    n: int
    clusters: int
    difference: float
    interval: Interval  # two-sided, at the asked confidence
    lower: float  # one-sided lower bound at the same confidence (non-inferiority)
    gained: int
    lost: int
    discordant: float  # mean squared difference; for right/wrong scores the share of items that changed
    design_effect: float
    p_items: float  # items taken as independent: exact McNemar, or of the Bonett-Price interval for graded scores
    p_clusters: float | None  # t test over clusters; None for right/wrong scores with every item its own cluster
    p: float

    @property
    def churn(self) -> float:
        """Share of items that changed without adding to the difference."""
        return max(0.0, self.discordant - abs(self.difference))


@dataclass(frozen=True)
class Columns:
    """Paired tests of K comparisons on the same items, float arrays [K]; the meaning of each is that of `Paired`."""

    low: np.ndarray
    high: np.ndarray
    lower: np.ndarray
    p_items: np.ndarray
    p_clusters: np.ndarray | None
    p: np.ndarray


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion; (0, 1) for n = 0. `successes` may be a sum of scores between 0 and 1.

    Source: Wilson, JASA 22 (1927) 209.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    z, share = _normal.inv_cdf((1 + confidence) / 2), successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return Interval(max(0.0, low) if successes else 0.0, min(1.0, high) if successes < n else 1.0)


def mean_over_clusters(values_NK: np.ndarray, clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray, float]:
    """(means [K], their standard errors [K], degrees of freedom): cluster-robust, for at least two clusters.

    The error is that of residuals summed over clusters, times sqrt(C / (C - 1)). Clusters of unequal size count for
    fewer: C* = N^2 / sum of squared sizes, and Student's t has C* - 1 degrees of freedom. Sources: Liang and Zeger,
    Biometrika 73 (1986) 13; Carter, Schnepel and Steigerwald, Rev. Econ. Stat. 99 (2017) 698, for equal correlation.
    """
    index, sizes_C = _number(clusters)
    means_K = values_NK.mean(axis=0)
    residuals_NK = (values_NK - means_K)[np.argsort(index, kind="stable")]
    starts_C = (np.cumsum(sizes_C) - sizes_C).astype(int)
    sums_CK = np.add.reduceat(residuals_NK, starts_C, axis=0)
    count, total = len(sizes_C), len(values_NK)
    errors_K = np.sqrt((sums_CK**2).sum(axis=0) * count / (count - 1)) / total
    return means_K, errors_K, float(total**2 / np.sum(sizes_C**2) - 1)


def _number(clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(number of each item's cluster [N], size of each cluster [C], as float)."""
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return index, np.bincount(index).astype(float)


def cluster_interval(values: Sequence[float], clusters: Sequence[str], confidence: float = 0.95) -> Interval:
    """t interval of the mean over clusters; everything from 0 to 1 for one cluster."""
    from scipy.special import stdtrit

    if len(set(clusters)) < 2:
        return Interval(0.0, 1.0)
    mean, error, freedom = mean_over_clusters(np.asarray(values, dtype=float)[:, None], clusters)
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * float(error[0])
    return Interval(float(mean[0]) - half, float(mean[0]) + half)


def score_interval(values: Sequence[float], clusters: Sequence[str], confidence: float = 0.95) -> Interval:
    """Interval of a mean score: Wilson, widened to the t interval over clusters where items share them."""
    interval = wilson(sum(values), len(values), confidence)
    if is_clustered(clusters):
        interval = interval.hull(cluster_interval(values, clusters, confidence))
    return Interval(max(0.0, interval.low), min(1.0, interval.high))


def is_clustered(clusters: Sequence[str]) -> bool:
    """True where at least two items come from one source."""
    return len(set(clusters)) < len(clusters)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p value from the two discordant counts, 1 where both are 0.

    Source: McNemar, Psychometrika 12 (1947) 153.
    """
    return float(_mcnemar(np.array([gained]), np.array([lost]))[0])


def _mcnemar(gained_K: np.ndarray, lost_K: np.ndarray) -> np.ndarray:
    from scipy.special import bdtr

    return np.minimum(1.0, 2 * bdtr(np.minimum(gained_K, lost_K).astype(float), gained_K + lost_K, 0.5))


def _with_one_gain_and_one_loss(differences_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(means [K], their standard errors [K]) of paired differences after adding +1 and -1."""
    n = len(differences_NK) + 2
    means_K = differences_NK.sum(axis=0) / n
    return means_K, np.sqrt((((differences_NK**2).sum(axis=0) + 2) / n - means_K**2) / n)


def bonett_price(differences: Sequence[float], confidence: float = 0.95, sides: int = 2) -> Interval:
    """Wald interval of a mean paired difference after adding one gain and one loss.

    Keeps a sensible width when few or no items differ. Source: Bonett and Price, J. Educ. Behav. Stat. 37 (2012) 479.
    """
    means, errors = _with_one_gain_and_one_loss(np.asarray(differences, dtype=float)[:, None])
    half = _normal.inv_cdf(1 - (1 - confidence) / sides) * float(errors[0])
    return Interval(max(-1.0, float(means[0]) - half), min(1.0, float(means[0]) + half))


def design_effect(values: Sequence[float], clusters: Sequence[str]) -> float:
    """How many times larger the variance of the mean is than for independent items; at least 1."""
    index, sizes_C = _number(clusters)
    residuals = np.asarray(values, dtype=float) - np.mean(values)
    count, total = len(sizes_C), float(residuals @ residuals)
    if count < 2 or total == 0:
        return 1.0
    return max(1.0, float(np.sum(np.bincount(index, weights=residuals) ** 2)) / total * count / (count - 1))


def test_columns(
    differences_NK: np.ndarray, clusters: Sequence[str], binary: bool, confidence: float = 0.95
) -> Columns:
    """Paired tests of K columns of differences; `binary` says that the scores were right or wrong, without grades.

    Right or wrong, one item per cluster: exact McNemar and the Bonett-Price interval. Otherwise also the t test over
    clusters; see the module's text. Graded scores have the p value of the Bonett-Price interval in McNemar's place, so
    that interval and p never tell two stories.
    """
    from scipy.special import ndtr, stdtr, stdtrit

    tail = 1 - confidence
    means_K, errors_K = _with_one_gain_and_one_loss(differences_NK)
    gained_K, lost_K = (differences_NK > 0).sum(axis=0), (differences_NK < 0).sum(axis=0)
    p_items_K = _mcnemar(gained_K, lost_K) if binary else 2 * ndtr(-np.abs(means_K) / errors_K)
    half_K, one_sided_K = (_normal.inv_cdf(1 - tail / sides) * errors_K for sides in (2, 1))
    low_K, high_K, lower_K = means_K - half_K, means_K + half_K, means_K - one_sided_K
    p_clusters_K, p_K = None, p_items_K
    if is_clustered(clusters) or not binary:
        if len(set(clusters)) < 2:  # one source says nothing about the others
            ones_K = np.ones_like(means_K)
            return Columns(-ones_K, ones_K, -ones_K, p_items_K, ones_K, ones_K)
        means_K, errors_K, freedom = mean_over_clusters(differences_NK, clusters)
        half_K, one_sided_K = (stdtrit(freedom, 1 - tail / sides) * errors_K for sides in (2, 1))
        low_K, high_K = np.minimum(low_K, means_K - half_K), np.maximum(high_K, means_K + half_K)
        lower_K = np.minimum(lower_K, means_K - one_sided_K)
        ratios_K = np.divide(np.abs(means_K), errors_K, out=np.full_like(means_K, np.inf), where=errors_K > 0)
        p_clusters_K = np.where(means_K == 0, 1.0, 2 * stdtr(freedom, -ratios_K))
        p_K = np.maximum(p_items_K, p_clusters_K)
    return Columns(
        np.maximum(low_K, -1.0), np.minimum(high_K, 1.0), np.maximum(lower_K, -1.0), p_items_K, p_clusters_K, p_K
    )


def paired(
    model: Sequence[float], against: Sequence[float], clusters: Sequence[str], confidence: float = 0.95
) -> Paired:
    """Compare two models item by item; the three sequences run over the same items, at least one. See `test_columns`.

    Raises ValueError for sequences of different length.
    """
    if not len(model) == len(against) == len(clusters):
        raise ValueError(f"sequences of different length: {len(model)}, {len(against)}, {len(clusters)}")
    before, after = np.asarray(against, dtype=float), np.asarray(model, dtype=float)
    differences = after - before
    binary = bool(np.isin(after, (0, 1)).all() and np.isin(before, (0, 1)).all())
    found = test_columns(differences[:, None], clusters, binary, confidence)
    return Paired(
        n=len(differences),
        clusters=len(set(clusters)),
        difference=float(differences.mean()),
        interval=Interval(float(found.low[0]), float(found.high[0])),
        lower=float(found.lower[0]),
        gained=int((differences > 0).sum()),
        lost=int((differences < 0).sum()),
        discordant=float((differences**2).mean()),
        design_effect=design_effect(differences.tolist(), clusters),
        p_items=float(found.p_items[0]),
        p_clusters=None if found.p_clusters is None else float(found.p_clusters[0]),
        p=float(found.p[0]),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given. Source: Holm, Scand. J. Stat. 6 (1979) 65."""
    return [float(p) for p in holm_columns(np.asarray(p_values, dtype=float)[:, None])[:, 0]]


def holm_columns(p_TK: np.ndarray) -> np.ndarray:
    """`holm` over the first axis, the tests of one family, for each of K families."""
    order_TK = np.argsort(p_TK, axis=0, kind="stable")
    factors_T = np.arange(len(p_TK), 0, -1)[:, None]
    running_TK = np.maximum.accumulate(np.minimum(1.0, np.take_along_axis(p_TK, order_TK, axis=0) * factors_T), axis=0)
    adjusted_TK = np.empty_like(p_TK)
    np.put_along_axis(adjusted_TK, order_TK, running_TK, axis=0)
    return adjusted_TK
