"""The statistics against published values, formulas written out here, and simulation."""

import math
import random
from statistics import NormalDist

import numpy as np
import pytest

from recipes.report import power, stats


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [  # Newcombe, Stat. Med. 17 (1998) 857, table I, score method without continuity correction
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_published_intervals(right, n, low, high):
    interval = stats.wilson(right, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize(("right", "n"), [(1, 2), (7, 12), (1069, 1257), (6.25, 20)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_ends_of_a_wilson_interval_are_the_shares_that_the_score_test_just_rejects(right, n, confidence):
    """Whole counts and a sum of graded scores: |share - end| = z * sqrt(end (1 - end) / n)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    interval = stats.wilson(right, n, confidence)
    assert interval.low < right / n < interval.high
    for end in (interval.low, interval.high):
        assert abs(right / n - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), rel=1e-12)


def test_wilson_for_the_public_benchmark_is_two_points_wide_to_each_side():
    interval = stats.wilson(0.85 * 1257, 1257)
    assert (interval.high - interval.low) / 2 == pytest.approx(0.020, abs=0.0005)


def test_wilson_without_items_says_nothing():
    assert stats.wilson(0, 0) == stats.Interval(0.0, 1.0)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(6, 16, 0.0525), (1, 7, 0.0703)],  # Fagerland et al., Stat. Med. 33 (2014) 2850: Cavo 2012 and Bentur 2009
)
def test_mcnemar_matches_published_values(gained, lost, p):
    assert stats.mcnemar(gained, lost) == pytest.approx(p, abs=5e-5)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (0, 9), (31, 12), (700, 520)])
def test_mcnemar_is_twice_the_smaller_tail_of_fair_coins(gained, lost):
    """In whole numbers to the last division, so that a large n does not overflow."""
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1))
    assert stats.mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail / 2**n), rel=1e-12)


def test_mcnemar_survives_numbers_beyond_floating_point():
    assert stats.mcnemar(4000, 0) < 1e-300


def test_bonett_price_matches_published_interval():
    differences = [1] * 6 + [-1] * 16 + [0] * 139  # Cavo 2012; R package contingencytables gives -0.1195 to -0.0032
    interval = stats.bonett_price(differences)
    assert (interval.low, interval.high) == (pytest.approx(-0.1195, abs=5e-5), pytest.approx(-0.0032, abs=5e-5))


def test_holm_matches_worked_example_in_any_order():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_copies_of_items_within_their_cluster_add_no_information():
    rng = random.Random(0)
    values = [rng.random() for _ in range(40)]
    names = [str(i) for i in range(40)]
    once = stats.cluster_interval(values, names)
    copied = stats.cluster_interval(values * 5, names * 5)
    assert (copied.low, copied.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert stats.design_effect(values * 5, names * 5) == pytest.approx(5 * 40 / 39)
    assert stats.design_effect(values, names) == pytest.approx(40 / 39)


@pytest.mark.parametrize("clusters", [7, 40])
def test_cluster_interval_covers_the_truth_with_few_and_many_clusters(clusters):
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        values = np.repeat(rng.normal(0.5, 0.2, clusters), 6) + rng.normal(0, 0.1, 6 * clusters)
        interval = stats.cluster_interval(list(values), [str(i // 6) for i in range(len(values))])
        hits += interval.low <= 0.5 <= interval.high
    assert 0.92 <= hits / 400 <= 0.98


def test_clusters_of_unequal_size_count_for_fewer():
    """Freedom is N^2 / sum of squared sizes, less one: 10^2 / (64 + 1 + 1) - 1."""
    _, _, freedom = stats.mean_over_clusters(np.zeros((10, 1)), ["a"] * 8 + ["b", "c"])
    assert freedom == pytest.approx(100 / 66 - 1)


def test_score_interval_is_wilson_for_single_items_and_never_narrower_for_clustered_ones():
    values = [1, 1, 0, 1] * 10
    alone = stats.score_interval(values, [str(i) for i in range(40)])
    assert alone == stats.wilson(30, 40)
    nodes = [str(i // 10) for i in range(40)]
    blocked = stats.score_interval(sorted(values), nodes)
    assert blocked.low < alone.low and blocked.high > alone.high
    perfect = stats.score_interval([1.0] * 40, nodes)
    assert perfect.low == stats.wilson(40, 40).low < 0.95


def test_paired_without_clusters_uses_exact_mcnemar_alone():
    model, against = [1] * 9 + [0] * 11, [0] * 8 + [1] * 2 + [0] * 10
    result = stats.paired(model, against, [str(i) for i in range(20)])
    assert (result.gained, result.lost, result.p_clusters) == (8, 1, None)
    assert result.p == result.p_items == stats.mcnemar(8, 1)
    assert result.difference == pytest.approx(7 / 20)
    assert result.lower > result.interval.low


def test_paired_counts_clustered_gains_for_less():
    """Thirty gains in three of forty nodes: certain for independent items, not so for nodes."""
    model, against = [1] * 30 + [0] * 370, [0] * 400
    nodes = [str(i // 10) for i in range(400)]
    result = stats.paired(model, against, nodes)
    assert result.p_items < 1e-8
    assert result.p == result.p_clusters > 0.05
    assert result.interval.low <= 0 < result.interval.high
    assert result.design_effect > 5


@pytest.mark.parametrize(("confidence", "two", "one"), [(0.95, 2.0227, 1.6849), (0.90, 1.6849, 1.3036)])
def test_bounds_of_clustered_items_are_those_of_a_t_test_over_nodes(confidence, two, one):
    """Ten of forty nodes lose all their 25 items; t of 39 degrees of freedom from a printed table.

    The sum over nodes has the variance 40/39 * 40 * 0.25 * 0.75. A tail four times too lenient fails here.
    """
    nodes, size, losing = 40, 25, 10
    model, against = [0.0] * (losing * size) + [1.0] * ((nodes - losing) * size), [1.0] * (nodes * size)
    result = stats.paired(model, against, [str(i // size) for i in range(nodes * size)], confidence)
    error = math.sqrt(0.25 * 0.75 / 39)
    assert (result.interval.low, result.interval.high) == (
        pytest.approx(-0.25 - two * error, abs=1e-4),
        pytest.approx(-0.25 + two * error, abs=1e-4),
    )
    assert result.lower == pytest.approx(-0.25 - one * error, abs=1e-4)
    assert result.p == pytest.approx(0.0010, abs=1.5e-4)  # t = 3.606
    assert stats.bonett_price([-1.0] * 250 + [0.0] * 750).low > result.lower


def test_equal_answers_are_no_proof_of_equality_on_few_items():
    few = stats.paired([1] * 10, [1] * 10, [str(i // 2) for i in range(10)])
    many = stats.paired([1] * 1000, [1] * 1000, [str(i // 2) for i in range(1000)])
    assert few.p == many.p == 1.0
    assert few.lower < -0.05 < many.lower < 0


def test_one_source_says_nothing_about_others():
    result = stats.paired([1] * 50, [0] * 50, ["the same"] * 50)
    assert (result.p, result.lower, result.interval) == (1.0, -1.0, stats.Interval(-1.0, 1.0))


def test_paired_takes_scores_between_right_and_wrong():
    result = stats.paired([0.75] * 30, [0.5] * 30, [str(i) for i in range(30)])
    assert result.p == max(result.p_items, result.p_clusters) < 0.001


def test_interval_and_p_of_graded_scores_tell_the_same():
    """Small steady gains on few items: the bootstrap alone is sure, the interval with one gain and one loss is not."""
    rng = random.Random(3)
    for n in (6, 12, 36, 100):
        for gain in (0.0, 0.02, 0.05, 0.1, 0.3):
            after = [min(1.0, 0.5 + gain + rng.uniform(-0.02, 0.02)) for _ in range(n)]
            result = stats.paired(after, [0.5] * n, [str(i) for i in range(n)])
            assert (result.interval.low > 0 or result.interval.high < 0) == (result.p < 0.05), (n, gain)


def test_paired_refuses_lists_of_different_length():
    with pytest.raises(ValueError, match="different length"):
        stats.paired([1, 0], [1], ["a", "b"])


def test_false_alarms_stay_at_their_level():
    rng = random.Random(5)
    alarms = 0
    for _ in range(60):
        nodes = [str(i // 5) for i in range(100)]
        level = {node: rng.random() for node in nodes}
        draw = [[float(rng.random() < level[node]) for node in nodes] for _ in range(2)]
        alarms += stats.paired(*draw, nodes).p < 0.05
    assert alarms <= 6


def test_items_for_difference_give_the_asked_power():
    n = math.ceil(power.items_for_difference(0.08, 0.20))
    rng = np.random.default_rng(1)
    draws = rng.multinomial(n, [0.14, 0.06, 0.80], size=2000)
    shown = np.mean([stats.mcnemar(int(g), int(lo)) < 0.05 for g, lo, _ in draws])
    assert 0.75 <= shown <= 0.83  # the exact test is a little conservative


def test_items_for_margin_match_the_textbook_formula():
    assert power.items_for_margin(0.0, 0.10, 0.05) == pytest.approx((1.64485 + 0.84162) ** 2 * 0.10 / 0.05**2, rel=1e-4)
    assert power.items_for_margin(-0.06, 0.10, 0.05) == math.inf
    assert power.items_for_difference(0.0, 0.10) == math.inf


def test_detectable_inverts_the_sample_size():
    size = power.detectable(300, 0.10)
    assert power.items_for_difference(size, 0.10 + size) == pytest.approx(300, rel=1e-6)
    assert power.detectable(300, 0.10, effect=4) == pytest.approx(power.detectable(75, 0.10))
    assert power.detectable(3, 0.10) == 1.0
    assert power.detectable(1200, 0.10) < size


def test_items_to_add_are_round_and_grow_with_clustering():
    model = [1] * 12 + [0] * 8 + [1] * 80
    against = [0] * 12 + [1] * 8 + [1] * 80
    alone = power.items_to_add(stats.paired(model, against, [str(i) for i in range(100)]), 0.05)
    nodes = power.items_to_add(stats.paired(model, against, [str(i // 4) for i in range(100)]), 0.05)
    assert alone == float(f"{alone:.1e}") > 0
    assert nodes > alone
    same = stats.paired([1] * 10, [1] * 10, [str(i) for i in range(10)])
    assert 0 < power.items_to_add(same, 0.05) < 10_000


@pytest.mark.parametrize(
    ("gaining", "losing", "margin", "items"),
    [
        # Difference 0.1, discordant 0.3; no loss beyond the margin is the cheaper proof:
        # (1.64485 + 0.84162)^2 (0.3 - 0.01) / (0.1 + 0.05)^2 = 79.69 items, times 5 * 40/39 = 408.7, less 200: 208.7
        (8, 4, 0.05, 210),
        # Difference -0.175, discordant 0.375; only the loss itself can be shown:
        # (1.95996 sqrt(0.375) + 0.84162 sqrt(0.375 - 0.175^2))^2 / 0.175^2 = 93.72 items, times 5 * 40/39 = 480.6,
        # less 200: 280.6
        (4, 11, 0.05, 290),
    ],
)
def test_items_to_add_are_those_needed_times_the_design_effect_less_those_there(gaining, losing, margin, items):
    """Forty nodes of five items that are right or wrong together: a design effect of 5 * 40/39."""
    change = [1] * gaining + [-1] * losing + [0] * (40 - gaining - losing)
    model, against = ([float(sign * step > 0) for step in change for _ in range(5)] for sign in (1, -1))
    result = stats.paired(model, against, [str(i // 5) for i in range(200)])
    assert result.design_effect == pytest.approx(5 * 40 / 39)
    assert power.items_to_add(result, margin) == items
