"""How much of a field a set of questions covers, and how often it repeats itself."""

from itertools import combinations

from data_builders.core.patterns import words
from data_builders.core.similar import near_duplicates

ALIKE = 0.8  # Jaccard similarity of word triples from which two questions are near duplicates


def distinct(concept_sets):
    """(different concepts, different pairs of concepts that stand in one set); a concept is a string."""
    concepts = {concept for names in concept_sets for concept in names}
    pairs = {pair for names in concept_sets for pair in combinations(sorted(set(names)), 2)}
    return len(concepts), len(pairs)


def growth(concept_sets, sizes):
    """[(N, different concepts, different pairs)] of the first N sets, for every N of `sizes` that there are."""
    return [(size, *distinct(concept_sets[:size])) for size in sizes if size <= len(concept_sets)]


def repeats(texts, threshold=ALIKE):
    """{"exact", "near", "distinct_1", "distinct_2", "bins"} of question texts.

    `exact` counts the texts that stand earlier already, `near` those that are like one that stays, exact ones among
    them; `distinct_n` is the share of different runs of n words; `bins` is the histogram of `near_duplicates`.
    """
    ids = [f"{place:09d}" for place in range(len(texts))]
    removals, bins = near_duplicates(ids, texts, threshold)
    tokens = [words(text) for text in texts]
    found = {"exact": len(texts) - len(set(texts)), "near": len(removals), "bins": bins}
    for size in (1, 2):
        runs = [tuple(line[at : at + size]) for line in tokens for at in range(len(line) - size + 1)]
        found[f"distinct_{size}"] = round(len(set(runs)) / max(1, len(runs)), 4)
    return found
