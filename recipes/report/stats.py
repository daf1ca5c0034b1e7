"""The statistics behind a verdict: intervals, paired tests, power.

scipy gives the Wilson interval, the exact binomial test and Student's t, loaded where they are used; numpy the
bootstrap over clusters; the standard library the normal quantiles. What none of them has (Bonett-Price, Holm, sample
sizes for paired scores) is written here after the papers that the functions name.

Scores are numbers in [0, 1], one per item; a *cluster* is the source the item was made from (a learning node), because
items from one source are right or wrong together and count for less than independent ones.

Two approximations err in opposite directions: formulas for independent items are too sure when items come in clusters,
and the bootstrap is too sure when few items differ (with no difference at all its interval has no width). Where items
come in clusters both are computed and the more careful one is used: the wider interval, the larger p value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
SEED = 20_250_810
_BLOCK = 1_000  # resamples drawn at once: bounds memory to 8 MB per 1,000 clusters
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
    p_bootstrap: float | None  # None where every item is its own cluster
    p: float

    @property
    def churn(self) -> float:
        """Share of items that changed without adding to the difference."""
        return max(0.0, self.discordant - abs(self.difference))


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion; (0, 1) for n = 0. `successes` may be a sum of scores between 0 and 1.

    Source: Wilson, JASA 22 (1927) 209.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    from scipy.stats import binomtest

    test = binomtest(int(successes), n)
    # binomtest takes whole counts alone; the interval is as well defined for a sum of graded scores
    test.k = successes  # pyright: ignore[reportAttributeAccessIssue]
    interval = test.proportion_ci(confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def bootstrap_means(
    values: Sequence[float], clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> np.ndarray:
    """Means of `resamples` draws of whole clusters with replacement; float array [resamples]. Same seed, same draws.

    The draws are stretched about the mean by sqrt(C / (C - 1)) and by Student's t over the normal quantile at 97.5 %,
    without which few clusters give intervals that are too narrow. Source: Hesterberg, Am. Stat. 69 (2015) 371.
    """
    from scipy.special import stdtrit

    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums_C = np.bincount(index, weights=np.asarray(values, dtype=float))
    sizes_C = np.bincount(index).astype(float)
    count = len(sizes_C)
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, _BLOCK):
        draws_BC = rng.multinomial(count, np.full(count, 1 / count), size=min(_BLOCK, resamples - start))
        means.append((draws_BC @ sums_C) / (draws_BC @ sizes_C))
    centre = sums_C.sum() / sizes_C.sum()
    stretch = math.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.975) / _normal.inv_cdf(0.975) if count > 1 else 1.0
    return centre + stretch * (np.concatenate(means) - centre)


def cluster_interval(values: Sequence[float], clusters: Sequence[str], confidence: float = 0.95) -> Interval:
    """Percentile interval of the mean from the bootstrap over clusters."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(bootstrap_means(values, clusters), [tail, 1 - tail])
    return Interval(float(low), float(high))


def score_interval(values: Sequence[float], clusters: Sequence[str], confidence: float = 0.95) -> Interval:
    """Interval of a mean score: Wilson, widened to the cluster bootstrap where items share clusters."""
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
    if gained + lost == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue)


def _with_one_gain_and_one_loss(differences: Sequence[float]) -> tuple[float, float]:
    """(mean, its standard error) of paired differences after adding +1 and -1."""
    n = len(differences) + 2
    mean = sum(differences) / n
    return mean, math.sqrt(((sum(d * d for d in differences) + 2) / n - mean * mean) / n)


def bonett_price(differences: Sequence[float], confidence: float = 0.95, sides: int = 2) -> Interval:
    """Wald interval of a mean paired difference after adding one gain and one loss.

    Keeps a sensible width when few or no items differ. Source: Bonett and Price, J. Educ. Behav. Stat. 37 (2012) 479.
    """
    mean, spread = _with_one_gain_and_one_loss(differences)
    half = _normal.inv_cdf(1 - (1 - confidence) / sides) * spread
    return Interval(max(-1.0, mean - half), min(1.0, mean + half))


def bonett_price_p(differences: Sequence[float]) -> float:
    """Two-sided p value of that interval: below 0.05 where the interval at 95 % leaves zero out."""
    mean, spread = _with_one_gain_and_one_loss(differences)
    return 2 * _normal.cdf(-abs(mean) / spread)


def design_effect(values: Sequence[float], clusters: Sequence[str]) -> float:
    """How many times larger the variance of the mean is than for independent items; at least 1."""
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    residuals = np.asarray(values, dtype=float) - np.mean(values)
    count, total = int(index.max()) + 1, float(residuals @ residuals)
    if count < 2 or total == 0:
        return 1.0
    return max(1.0, float(np.sum(np.bincount(index, weights=residuals) ** 2)) / total * count / (count - 1))


def paired(
    model: Sequence[float], against: Sequence[float], clusters: Sequence[str], confidence: float = 0.95
) -> Paired:
    """Compare two models item by item; the three sequences run over the same items, at least one.

    Right or wrong, one item per cluster: exact McNemar and the Bonett-Price interval. Otherwise also the cluster
    bootstrap of the mean difference (p = twice the smaller share of resampled differences on either side of zero); see
    the module's text. Graded scores have the p value of the Bonett-Price interval in McNemar's place, so that interval
    and p never tell two stories.
    """
    differences = [a - b for a, b in zip(model, against, strict=True)]
    gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    binary = all(score in (0, 1) for score in (*model, *against))
    p_items = mcnemar(gained, lost) if binary else bonett_price_p(differences)
    interval = bonett_price(differences, confidence)
    lower = bonett_price(differences, confidence, sides=1).low
    p_bootstrap = None
    if is_clustered(clusters) or not binary:
        means = bootstrap_means(differences, clusters)
        tail = 1 - confidence
        low, high, one_sided = np.quantile(means, [tail / 2, 1 - tail / 2, tail])
        interval = interval.hull(Interval(max(-1.0, float(low)), min(1.0, float(high))))
        lower = max(-1.0, min(lower, float(one_sided)))
        one_side = min(int(np.sum(means <= 0)), int(np.sum(means >= 0)))
        p_bootstrap = min(1.0, 2 * (one_side + 1) / (len(means) + 1))
        if len(set(clusters)) < 2:
            interval, lower, p_bootstrap = Interval(-1.0, 1.0), -1.0, 1.0  # one source says nothing about the others
    return Paired(
        n=len(differences),
        clusters=len(set(clusters)),
        difference=sum(differences) / len(differences),
        interval=interval,
        lower=lower,
        gained=gained,
        lost=lost,
        discordant=sum(d * d for d in differences) / len(differences),
        design_effect=design_effect(differences, clusters),
        p_items=p_items,
        p_bootstrap=p_bootstrap,
        p=max(p_items, p_bootstrap or 0.0),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given. Source: Holm, Scand. J. Stat. 6 (1979) 65."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted


def items_for_difference(difference: float, discordant: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Independent paired items needed to show `difference` != 0 in a two-sided test; inf for 0.

    `discordant` is the share of items whose score changes; it cannot be below the difference and is raised to it.
    Source: Connor, Biometrics 43 (1987) 207.
    """
    size = abs(difference)
    if size == 0:
        return math.inf
    changed = max(discordant, size)
    need = _normal.inv_cdf(1 - alpha / 2) * math.sqrt(changed)
    need += _normal.inv_cdf(power) * math.sqrt(max(0.0, changed - size * size))
    return (need / size) ** 2


def items_for_margin(
    difference: float, discordant: float, margin: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Independent paired items needed to show, one-sided, that the difference lies above `-margin`; inf if not."""
    if difference <= -margin:
        return math.inf
    z = _normal.inv_cdf(1 - alpha) + _normal.inv_cdf(power)
    return z * z * max(0.0, max(discordant, abs(difference)) - difference * difference) / (difference + margin) ** 2


def detectable(n: int, churn: float, effect: float = 1.0, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference (0..1) that a paired test on `n` items shows with this power; 1 where none can.

    `churn` is the share of items that change without adding to the difference (as many gained as lost); the items that
    make up the difference come on top of it. `effect` is the design effect of clustering.
    """

    def too_small(size: float) -> bool:
        return items_for_difference(size, churn + size, alpha, power) * effect > n

    low, high = 0.0, 1.0
    if too_small(high):
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if too_small(middle) else (low, middle)
    return high


def items_to_add(result: Paired, margin: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """About how many more items would settle an open comparison, if the observed difference is the true one.

    The smaller of: showing the difference, and showing that it is no loss beyond `margin`. Two figures, rounded up;
    None where no number of items would.
    """
    share = max(result.discordant, 2 / (result.n + 2))  # as in the interval: one gain and one loss are always possible
    need = min(
        items_for_difference(result.difference, share, alpha, power),
        items_for_margin(result.difference, share, margin, alpha, power),
    )
    if math.isinf(need):
        return None
    more = max(1.0, need * result.design_effect - result.n)
    step = 10 ** max(0, math.floor(math.log10(more)) - 1)
    return math.ceil(more / step) * step
