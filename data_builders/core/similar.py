"""Near duplicates among many texts: candidates by MinHash and bands, each checked by its exact Jaccard similarity.

A text is its set of word triples, as 64-bit hashes. Sketches come from rensa (R-MinHash, 64-bit hashes reduced to 32);
texts whose sketches agree in one band of five values are candidates (locality-sensitive hashing: Broder 1997; Indyk and
Motwani 1998). With 25 bands a pair of similarity s is found with probability 1 - (1 - s^5)^25: 0.9999 at 0.8, 0.98 at
0.7, 0.55 at 0.5. Of few texts all pairs are compared, and nothing is missed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_builders.core.patterns import words

if TYPE_CHECKING:
    import numpy as np

SHINGLE = 3
BANDS, ROWS = 25, 5
SEED = 1
FEW = 1_000  # texts of one block; up to here all pairs are compared
CROWD = 16  # texts of one band value; each is compared with the first so many and with so many before it
BATCH = 20_000  # texts, or pairs, that are worked on at once: bounds the memory beside the hashes themselves
BINS = 20  # of the histogram, 0.05 wide
KNOWN = 2_000_000  # words whose hash is remembered


@dataclass(frozen=True)
class Removal:
    """Text `index` goes, because text `like`, which stays, is like it; `similarity` is their Jaccard similarity."""

    index: int
    like: int
    similarity: float


def near_duplicates(
    ids: Sequence[str],
    texts: Sequence[str],
    threshold: float,
    blocks: Sequence[Hashable] | None = None,
    apart: Sequence[Hashable] | None = None,
) -> tuple[list[Removal], list[int]]:
    """([Removal], histogram) of texts that are near duplicates of one that stays; the same whatever their order.

    `ids` are strings that differ; of two texts that are alike the one with the smaller id stays. Only texts of the same
    `blocks` value are compared (any hashable), and never two with the same `apart` value that is not None. `threshold`
    is absolute: a Jaccard similarity of word triples in (0, 1]. `histogram` counts the texts by the similarity of the
    one most like them, in BINS equal bins; below 0.5 candidates are found by chance only where there are more than FEW
    texts. Memory: about 1 kB for each text of 30 words.
    """
    import numpy as np

    if not len(texts):
        return [], [0] * BINS
    rank = np.argsort(np.argsort(np.array(ids, dtype=object)))  # place in the order of ids, which decides who stays
    hashes, starts = shingles(texts)
    block, marks = codes(blocks, len(texts), -1), codes(apart, len(texts), None)
    same, leader = equal_sets(hashes, starts, block, marks, rank)
    block[same] = -1 - np.arange(len(same))  # out of the comparison: its leader stands for it
    first, second = candidates(hashes, starts, block, rank)
    allowed = (marks[first] != marks[second]) | (marks[first] < 0)
    first, second = first[allowed], second[allowed]
    similarity = jaccard(hashes, starts, first, second)
    nearest = np.zeros(len(texts))
    np.maximum.at(nearest, first, similarity)
    np.maximum.at(nearest, second, similarity)
    nearest[same] = nearest[leader] = 1.0
    histogram = np.bincount(np.minimum((nearest * BINS + 1e-9).astype(int), BINS - 1), minlength=BINS).tolist()
    alike = similarity >= threshold
    first, second, similarity = first[alike], second[alike], similarity[alike]
    earlier = np.where(rank[first] < rank[second], first, second)
    later = first + second - earlier
    order = np.lexsort((rank[earlier], rank[later]))
    gone = {}
    for row, like, value in zip(later[order].tolist(), earlier[order].tolist(), similarity[order].tolist()):
        if row not in gone and like not in gone:
            gone[row] = Removal(row, like, value)
    for row, like in zip(same.tolist(), leader.tolist()):
        gone[row] = Removal(row, gone[like].like, gone[like].similarity) if like in gone else Removal(row, like, 1.0)
    return [gone[row] for row in sorted(gone)], histogram


class Known(dict[str, int]):
    """Words with their 64-bit hashes, made where a word is first asked for; the same in every process."""

    def __missing__(self, word: str) -> int:
        value = self[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
        return value


def shingles(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 hashes of all texts, one text after the other, each sorted and without repeats; int64 starts [n + 1])."""
    import numpy as np

    known, parts, sizes = Known(), [], []
    for begin in range(0, len(texts), BATCH):
        flat, counts = [], []
        for text in texts[begin : begin + BATCH]:
            tokens = words(text)
            counts.append(len(tokens))
            flat += map(known.__getitem__, tokens)
        if len(known) > KNOWN:
            known.clear()
        hashes, owner = triples(np.array(flat, dtype=np.uint64), np.array(counts))
        order = np.lexsort((hashes, owner))
        hashes, owner = hashes[order], owner[order]
        new = np.ones(len(hashes), dtype=bool)
        new[1:] = (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1])
        parts.append(hashes[new])
        sizes.append(np.bincount(owner[new], minlength=len(counts)))
    return np.concatenate(parts), np.concatenate([[0], np.cumsum(np.concatenate(sizes))])


def triples(tokens: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of SHINGLE words in a row, and which text each is from. A shorter text is one shingle."""
    import numpy as np

    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
    padded = np.maximum(counts, SHINGLE)
    starts, places = np.cumsum(padded) - padded, np.cumsum(counts) - counts
    wide = np.zeros(int(padded.sum()), dtype=np.uint64)
    wide[np.arange(len(tokens)) + np.repeat(starts - places, counts)] = tokens
    number = padded - SHINGLE + 1
    owner = np.repeat(np.arange(len(counts)), number)
    begin = np.repeat(starts, number) + np.arange(len(owner)) - np.repeat(np.cumsum(number) - number, number)
    with np.errstate(over="ignore"):
        hashes = np.zeros(len(begin), dtype=np.uint64)
        for offset, factor in enumerate(factors):
            hashes = mix_bits(hashes ^ (wide[begin + offset] * factor))
    return hashes, owner


def mix_bits(values: np.ndarray) -> np.ndarray:
    """The finalizer of MurmurHash3, by which every bit of the input changes half of the output."""
    import numpy as np

    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def equal_sets(
    hashes: np.ndarray, starts: np.ndarray, block: np.ndarray, apart: np.ndarray, rank: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(texts, the first text in rank with the same triples and block for each); only of texts without an apart mark."""
    import numpy as np

    with np.errstate(over="ignore"):
        whole = np.add.reduceat(mix_bits(hashes), starts[:-1])
    free = np.flatnonzero(apart < 0)
    order = free[np.lexsort((rank[free], whole[free], block[free]))]
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (whole[order][1:] == whole[order][:-1]) & (block[order][1:] == block[order][:-1])
    leader = order[np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))] if len(order) else order
    return order[again], leader[again]


def codes(values: Sequence[Hashable] | None, count: int, absent: int | None) -> np.ndarray:
    """Values as int64 numbers, equal for equal values; all 0 for None, and -1 for a value that is `absent`."""
    import numpy as np

    if values is None:
        return np.full(count, 0 if absent == -1 else -1)
    seen = {}
    return np.array([-1 if value is None and absent is None else seen.setdefault(value, len(seen)) for value in values])


def candidates(
    hashes: np.ndarray, starts: np.ndarray, block: np.ndarray, rank: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(first, second) int64 indices of pairs in the same block that may be alike, each pair once."""
    import numpy as np

    members = {}
    order = np.lexsort((rank, block))
    edges = np.flatnonzero(np.diff(block[order])) + 1
    pairs, many = [], np.zeros(len(block), dtype=bool)
    for group in np.split(order, edges):
        if 1 < len(group) <= FEW:
            upper = np.triu_indices(len(group), 1)
            pairs.append(group[upper[0]] * len(block) + group[upper[1]])
        elif len(group) > FEW:
            many[group] = True
            members[int(block[group[0]])] = group
    if many.any():
        pairs += find_banded(hashes, starts, block, rank, np.flatnonzero(many))
    found = np.unique(np.concatenate(pairs)) if pairs else np.zeros(0, dtype=np.int64)
    return found // len(block), found % len(block)


def find_banded(
    hashes: np.ndarray, starts: np.ndarray, block: np.ndarray, rank: np.ndarray, chosen: np.ndarray
) -> list[np.ndarray]:
    """Codes first * n + second of the pairs of `chosen` texts that share a band, `first` being earlier in rank."""
    import numpy as np
    from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]  compiled, without types

    total = len(block)
    chosen = chosen[np.argsort(rank[chosen])]
    sketches = np.zeros((len(chosen), BANDS * ROWS), dtype=np.uint32)
    for begin in range(0, len(chosen), BATCH):
        part = chosen[begin : begin + BATCH]
        sizes = (starts[part + 1] - starts[part]).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        take = np.repeat(starts[part] - offsets[:-1], sizes) + np.arange(offsets[-1])
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            hashes[take], offsets.astype(np.uint64), BANDS * ROWS, SEED
        )
        sketches[begin : begin + len(part)] = np.array(matrix.to_rows(), dtype=np.uint32)
    pairs = []
    own = block[chosen].astype(np.uint64)
    for band in range(BANDS):
        with np.errstate(over="ignore"):
            key = mix_bits(own * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1))
            for column in range(band * ROWS, (band + 1) * ROWS):
                key = mix_bits(key ^ sketches[:, column].astype(np.uint64))
        order = np.argsort(key, kind="stable")  # within a key by rank
        key = key[order]
        begin = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        size = np.diff(np.concatenate([begin, [len(key)]]))
        place = np.arange(len(key)) - np.repeat(begin, size)
        head = np.repeat(begin, size)
        for step in range(1, min(int(size.max()), CROWD + 1)):  # with those just before it
            at = np.flatnonzero(place >= step)
            if not len(at):
                break
            pairs.append(chosen[order[at - step]] * total + chosen[order[at]])
        for step in range(min(int(size.max()) - CROWD - 1, CROWD)):  # and with the first of a crowd
            at = np.flatnonzero(place > CROWD + step)
            pairs.append(chosen[order[head[at] + step]] * total + chosen[order[at]])
        pairs = [np.unique(np.concatenate(pairs))] if pairs else []
    agree = pairs[0] if pairs else np.zeros(0, dtype=np.int64)
    return [likely(agree, sketches, chosen, total)]


def likely(pairs: np.ndarray, sketches: np.ndarray, chosen: np.ndarray, total: int) -> np.ndarray:
    """The pairs whose sketches agree in 40 % of the values or more; one in 10^5 of similarity 0.6 is lost."""
    import numpy as np

    place = np.zeros(total, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    kept = []
    for begin in range(0, len(pairs), BATCH * 10):
        part = pairs[begin : begin + BATCH * 10]
        same = (sketches[place[part // total]] == sketches[place[part % total]]).mean(axis=1)
        kept.append(part[same >= 0.4])
    return np.concatenate(kept) if kept else pairs


def jaccard(hashes: np.ndarray, starts: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Exact Jaccard similarity of the shingle sets of each pair; float64 [pairs]."""
    import numpy as np

    found = np.zeros(len(first))
    for begin in range(0, len(first), BATCH):
        pair = np.concatenate([first[begin : begin + BATCH], second[begin : begin + BATCH]])
        count = len(pair) // 2
        sizes = starts[pair + 1] - starts[pair]
        ends = np.cumsum(sizes)
        take = np.repeat(starts[pair] - (ends - sizes), sizes) + np.arange(ends[-1])
        owner = np.repeat(np.arange(len(pair)) % count, sizes)
        order = np.lexsort((hashes[take], owner))
        value, owner = hashes[take][order], owner[order]
        both = np.bincount(owner[1:][(value[1:] == value[:-1]) & (owner[1:] == owner[:-1])], minlength=count)
        found[begin : begin + BATCH] = both / (sizes[:count] + sizes[count:] - both)
    return found
