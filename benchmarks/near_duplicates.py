"""Near duplicates among generated rows: time, memory, and how many of the planted ones are found.

Rows are questions made from templates and words, as a teacher makes them; a tenth are copies of another row with one
word changed. Prints seconds, peak memory and the shares of planted copies and of other rows that go.

    python -m benchmarks.near_duplicates --rows 1000000
"""

import argparse
import random
import resource
import time

from data_builders.core.similar import near_duplicates

SEED = 7
THRESHOLD = 0.8
OPENINGS = (
    "What happens to the {a} of a {b} when its {c} is {v}",
    "In a {b} with a {c} of {n} units, why does the {a} stay {v}",
    "How is the {a} of a {b} related to the {c} that a designer has {v}",
    "Which {c} does a {b} need so that its {a} is {v} by a factor of {n}",
    "Explain why the {v} {a} of the {b} follows its {c}",
)
ENDS = (
    "and which of its {d} parts decides that at high {e} and low {f}?",
    "if the {d} is kept the same while {e} and {f} both grow in the same measure?",
    "given that the {d} at the output is small against its {e} and its {f} is not known?",
)
SYLLABLES = ("am", "pli", "fi", "er", "cur", "rent", "mir", "ror", "noi", "se", "ga", "in", "lo", "ad", "vol", "tage")


def rows(count):
    """(texts, indices of the planted copies)."""
    rng = random.Random(SEED)
    lexicon = sorted({"".join(rng.choices(SYLLABLES, k=rng.choice((2, 3)))) for _ in range(6000)})
    texts, planted = [], []
    for index in range(count):
        if index % 10 == 9:
            words = texts[rng.randrange(index)].split(" ")
            words[-1] = (
                rng.choice(lexicon) + "?"
            )  # the last word is in one triple, so the copy stays above the threshold
            planted.append(index)
            texts.append(" ".join(words))
        else:
            slots = {name: rng.choice(lexicon) for name in "abcdefv"} | {"n": rng.randrange(2, 1000)}
            texts.append(f"{rng.choice(OPENINGS)} {rng.choice(ENDS)}".format(**slots))
    return texts, planted


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--rows", type=int, default=50_000, help="rows (default: 50000)")
    options = options.parse_args()
    texts, planted = rows(options.rows)
    ids = [f"{index:016x}" for index in range(len(texts))]
    made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.perf_counter()
    removals, histogram = near_duplicates(ids, texts, THRESHOLD)
    seconds = time.perf_counter() - started
    gone = {removal.index for removal in removals}
    others = len(gone - set(planted))
    print(f"{len(texts):,} rows, {sum(map(len, texts)) / len(texts):.0f} characters each, threshold {THRESHOLD}")
    print(f"{seconds:.1f} s, peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB", end=" ")
    print(f"(of which the rows themselves {made:.2f})")
    print(f"planted copies removed: {len(gone & set(planted)):,} of {len(planted):,}; other rows removed: {others:,}")
    print("rows by similarity of the nearest, in steps of 0.05:", *histogram)


if __name__ == "__main__":
    main()
