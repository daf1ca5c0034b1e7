"""Sample sizes: what a paired comparison of so many items can show, and how many would be needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from recipes.report.stats import Paired

_normal = NormalDist()


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


@dataclass(frozen=True)
class Plan:
    """What somebody wants to show, before anything is trained or evaluated; shares and differences are of 1.

    Attributes:
        gain: the difference that is to be shown; negative for a loss.
        correlation: of right and wrong between base and tuned model over items; 0.5 to 0.8 is common, 0 if unknown.
        base: score of the base.
        tasks: tested together; each is planned at alpha / tasks, Holm's strictest step.
        cluster_size: items that share a source; 1 for none.
        cluster_correlation: of the differences of items that share one.
        seed_sd: standard deviation of the true gain between training seeds; 0 to speak of one trained model alone.
        margin: of non-inferiority.
    """

    gain: float
    correlation: float = 0.5
    base: float = 0.5
    tasks: int = 1
    cluster_size: float = 1.0
    cluster_correlation: float = 0.3
    seed_sd: float = 0.0
    margin: float = 0.05
    alpha: float = 0.05
    power: float = 0.8

    @property
    def discordant(self) -> float:
        """Share of items whose score changes: from the two scores and their correlation, at least the gain."""
        after = min(1.0, max(0.0, self.base + self.gain))
        spread = math.sqrt(self.base * (1 - self.base) * after * (1 - after))
        changed = self.base * (1 - after) + after * (1 - self.base) - 2 * self.correlation * spread
        return max(abs(self.gain), changed)

    @property
    def design_effect(self) -> float:
        """Source: Kish, Survey Sampling (1965), 1 + (m - 1) * rho."""
        return 1 + (self.cluster_size - 1) * self.cluster_correlation


def plan_items(plan: Plan, seeds: int = 1) -> float:
    """Items a seed that show the gain with the asked power, for the mean over `seeds` trained models; inf if none do.

    The variance of the gain between seeds does not shrink with items: it is taken off what the test can bear first.
    """
    independent = items_for_difference(plan.gain, plan.discordant, plan.alpha / plan.tasks, plan.power)
    z = _normal.inv_cdf(1 - plan.alpha / plan.tasks / 2) + _normal.inv_cdf(plan.power)
    left = 1 - plan.seed_sd**2 / seeds * (z / plan.gain) ** 2 if plan.gain else 0.0
    return independent * plan.design_effect / left if left > 0 else math.inf


def plan_margin(plan: Plan) -> float:
    """Items that show no loss beyond the margin with the asked power where the truth is no difference at all."""
    same = Plan(0.0, plan.correlation, plan.base)
    return items_for_margin(0.0, same.discordant, plan.margin, plan.alpha, plan.power) * plan.design_effect
