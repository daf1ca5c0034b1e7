"""The statistics against published values, scipy, and simulation."""

import math
import random

import numpy as np
import pytest
from scipy.stats import binomtest

from recipes.report import stats


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


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (7, 12), (1069, 1257)])
def test_wilson_matches_scipy(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert stats.wilson(right, n) == stats.Interval(pytest.approx(expected.low), pytest.approx(expected.high))


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
def test_mcnemar_is_the_exact_binomial_test(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert stats.mcnemar(gained, lost) == pytest.approx(expected)


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


def test_bootstrap_is_reproducible():
    values, clusters = [0, 1, 1, 0, 1, 1], list("aabbcc")
    assert np.array_equal(stats.bootstrap_means(values, clusters), stats.bootstrap_means(values, clusters))
    assert not np.array_equal(stats.bootstrap_means(values, clusters), stats.bootstrap_means(values, clusters, seed=1))


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
    for trial in range(400):
        level = np.repeat(rng.normal(0.5, 0.2, clusters), 6)
        values = level + rng.normal(0, 0.1, len(level))
        names = [str(i // 6) for i in range(len(level))]
        low, high = np.quantile(stats.bootstrap_means(values, names, 400, trial), [0.025, 0.975])
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 400 <= 0.98


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
    assert (result.gained, result.lost, result.p_bootstrap) == (8, 1, None)
    assert result.p == result.p_items == stats.mcnemar(8, 1)
    assert result.difference == pytest.approx(7 / 20)
    assert result.lower > result.interval.low


def test_paired_counts_clustered_gains_for_less():
    """Thirty gains in three of forty nodes: certain for independent items, not so for nodes."""
    model, against = [1] * 30 + [0] * 370, [0] * 400
    nodes = [str(i // 10) for i in range(400)]
    result = stats.paired(model, against, nodes)
    assert result.p_items < 1e-8
    assert result.p == result.p_bootstrap > 0.05
    assert result.interval.low <= 0 < result.interval.high
    assert result.design_effect > 5


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
    assert result.p == max(result.p_items, result.p_bootstrap) < 0.001


def test_interval_and_p_of_graded_scores_tell_the_same():
    """Small steady gains on few items: the bootstrap alone is sure, the interval with one gain and one loss is not."""
    rng = random.Random(3)
    for n in (6, 12, 36, 100):
        for gain in (0.0, 0.02, 0.05, 0.1, 0.3):
            after = [min(1.0, 0.5 + gain + rng.uniform(-0.02, 0.02)) for _ in range(n)]
            result = stats.paired(after, [0.5] * n, [str(i) for i in range(n)])
            assert (result.interval.low > 0 or result.interval.high < 0) == (result.p < 0.05), (n, gain)


def test_paired_refuses_lists_of_different_length():
    with pytest.raises(ValueError, match="shorter"):
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
    n = math.ceil(stats.items_for_difference(0.08, 0.20))
    rng = np.random.default_rng(1)
    draws = rng.multinomial(n, [0.14, 0.06, 0.80], size=2000)
    power = np.mean([stats.mcnemar(int(g), int(lo)) < 0.05 for g, lo, _ in draws])
    assert 0.75 <= power <= 0.83  # the exact test is a little conservative


def test_items_for_margin_match_the_textbook_formula():
    assert stats.items_for_margin(0.0, 0.10, 0.05) == pytest.approx((1.64485 + 0.84162) ** 2 * 0.10 / 0.05**2, rel=1e-4)
    assert stats.items_for_margin(-0.06, 0.10, 0.05) == math.inf
    assert stats.items_for_difference(0.0, 0.10) == math.inf


def test_detectable_inverts_the_sample_size():
    size = stats.detectable(300, 0.10)
    assert stats.items_for_difference(size, 0.10 + size) == pytest.approx(300, rel=1e-6)
    assert stats.detectable(300, 0.10, effect=4) == pytest.approx(stats.detectable(75, 0.10))
    assert stats.detectable(3, 0.10) == 1.0
    assert stats.detectable(1200, 0.10) < size


def test_items_to_add_are_round_and_grow_with_clustering():
    model = [1] * 12 + [0] * 8 + [1] * 80
    against = [0] * 12 + [1] * 8 + [1] * 80
    alone = stats.items_to_add(stats.paired(model, against, [str(i) for i in range(100)]), 0.05)
    nodes = stats.items_to_add(stats.paired(model, against, [str(i // 4) for i in range(100)]), 0.05)
    assert alone == float(f"{alone:.1e}") > 0
    assert nodes > alone
    same = stats.paired([1] * 10, [1] * 10, [str(i) for i in range(10)])
    assert 0 < stats.items_to_add(same, 0.05) < 10_000
