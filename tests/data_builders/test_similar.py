"""Near duplicates: the exact pairs come out, by whatever way and in whatever order, and nothing else."""

import random

import pytest

from data_builders.core import similar
from data_builders.core.patterns import words
from data_builders.core.similar import BINS, near_duplicates

pytestmark = pytest.mark.slow

LEXICON = [
    first + second
    for first in ("am", "cur", "noi", "gain", "lo", "vol")
    for second in ("pli", "rent", "se", "ad", "tage", "x")
]


def jaccard(one, other):
    sets = []
    for text in (one, other):
        tokens = words(text)
        sets.append({tuple(tokens[i : i + 3]) for i in range(max(1, len(tokens) - 2))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.fixture(scope="module")
def rows():
    """400 texts: sixty originals with copies that differ in some words, and texts of their own."""
    rng, texts = random.Random(3), []
    for _ in range(60):
        original = [rng.choice(LEXICON) for _ in range(rng.randrange(8, 40))]
        texts.append(" ".join(original))
        for changes in range(rng.randrange(0, 6)):
            copy = list(original)
            for _ in range(changes):
                copy[rng.randrange(len(copy))] = rng.choice(LEXICON)
            texts.append(" ".join(copy).title() + "?")
    while len(texts) < 400:
        texts.append(" ".join(rng.choice(LEXICON) for _ in range(20)))
    return texts


def expected(ids, texts, threshold):
    """What goes, from the definition, in the slow way."""
    kept, gone = [], {}
    for place in sorted(range(len(ids)), key=ids.__getitem__):
        like = [other for other in kept if jaccard(texts[place], texts[other]) >= threshold]
        if like:
            gone[ids[place]] = {ids[other] for other in like}
        else:
            kept.append(place)
    return gone


@pytest.mark.slow
@pytest.mark.parametrize("few", [similar.FEW, 1], ids=["all pairs", "bands"])
def test_what_goes_is_what_the_definition_says_in_any_order_of_the_rows(rows, few, monkeypatch):
    monkeypatch.setattr(similar, "FEW", few)
    ids = [f"{index * 7919 % 1009:04d}" for index in range(len(rows))]
    wanted = expected(ids, rows, 0.8)
    assert len(wanted) > 30
    for seed in (1, 2):
        order = random.Random(seed).sample(range(len(rows)), len(rows))
        shuffled = [ids[place] for place in order]
        removals, histogram = near_duplicates(shuffled, [rows[place] for place in order], 0.8)
        found = {shuffled[removal.index]: removal for removal in removals}
        assert found.keys() == wanted.keys()
        assert all(shuffled[removal.like] in wanted[row] for row, removal in found.items())
        for removal in removals:
            value = jaccard(rows[order[removal.index]], rows[order[removal.like]])
            assert removal.similarity == pytest.approx(value) and value >= 0.8
        assert len(histogram) == BINS and sum(histogram) == len(rows)


def test_the_histogram_counts_texts_by_their_nearest():
    texts = ["one two three four five", "one two three four five", "one two three four six", "seven eight nine ten"]
    removals, histogram = near_duplicates(list("abcd"), texts, 0.9)
    assert [(removal.index, removal.like) for removal in removals] == [(1, 0)]
    assert (histogram[-1], histogram[10], histogram[0]) == (2, 1, 1)


def test_blocks_are_apart_and_texts_of_one_mark_are_never_compared():
    texts = ["one two three four five"] * 4
    assert [r.index for r in near_duplicates(list("abcd"), texts, 0.8, blocks=["x", "x", "y", "y"])[0]] == [1, 3]
    assert [r.index for r in near_duplicates(list("abcd"), texts, 0.8, apart=["f", "f", "g", None])[0]] == [2, 3]


def test_the_threshold_is_absolute():
    texts = ["a b c d e f g h i j", "a b c d e f g h i k", "q r s t u v w x y z"]  # 7 of 9 triples
    assert len(near_duplicates(list("abc"), texts, 7 / 9)[0]) == 1
    assert near_duplicates(list("abc"), texts, 0.78)[0] == []


@pytest.mark.slow
def test_a_crowd_of_copies_leaves_one_and_costs_no_pairs_of_all(monkeypatch):
    count = 5000
    for kinds in (3, count):
        texts = [
            f"the same words again and again in each of these many rows, this is {n % kinds}" for n in range(count)
        ]
        removals, _ = near_duplicates([f"{n:05d}" for n in range(count)], texts, 0.8)
        assert len(removals) == count - 1 and {removal.like for removal in removals} == {0}


def test_what_is_like_a_text_that_goes_but_not_like_one_that_stays_stays():
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"]
    chain = [" ".join([*words[:18], "x"]), " ".join([*words[:17], "y", "z"]), " ".join([*words[2:17], "y", "z"])]
    near = jaccard(chain[0], chain[1]), jaccard(chain[1], chain[2]), jaccard(chain[0], chain[2])
    threshold = min(near[:2])
    assert near[2] < threshold
    for ids in ("abc", "cba"):
        assert [removal.index for removal in near_duplicates(list(ids), chain, threshold)[0]] == [1]


def test_no_texts_and_empty_texts_are_no_trouble():
    assert near_duplicates([], [], 0.8) == ([], [0] * BINS)
    assert len(near_duplicates(list("ab"), ["", ""], 0.8)[0]) == 1
