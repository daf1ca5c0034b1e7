"""Where signals come from: simulated at will, or cut from recordings, each draw numbered."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from data_builders.core.read_cache import read_once
from data_builders.core.schema import order
from data_builders.core.selection import in_turns
from data_builders.vsllava import questions
from data_builders.vsllava.recordings import read_recordings, split
from data_builders.vsllava.signals import HELD_OUT, SPECS, TAUGHT, simulate


@dataclass(frozen=True)
class Supply:
    """Where signals come from. `labels` may be answered; `most(use, kind)` is how many draws there are at most: none of
    parameters of recordings, of which nothing but class and speed is known.

    `draw(use, kind, count)` gives pairs (Signal, number), the classes in turn; use is "sft", "rl" or "test", kind a
    test kind. Draws of the same signal have different numbers, from which wording and parameter follow.
    """

    labels: tuple[str, ...]
    most: Callable
    draw: Callable


def simulated(spec, seed, labels=tuple(SPECS)):
    """Signals of these classes, and superpositions of two of them."""
    one = tuple((label,) for label in labels)
    pairs = {"pairs": TAUGHT, "composition": HELD_OUT}
    by_kind = {kind: tuple(pair for pair in found if set(pair) <= set(labels)) for kind, found in pairs.items()}
    by_kind["parameter"] = tuple((label,) for label in labels if SPECS[label].asked)

    def draw(use, kind, count):
        classes = by_kind.get(kind, one)
        for at in range(count):
            number, labels = at // len(classes), classes[at % len(classes)]
            yield simulate(labels, split_of(use), seed, f"{use}-{kind}", number, spec), number

    return Supply(labels, lambda use, kind: sys.maxsize if by_kind.get(kind, one) else 0, draw)


def recorded(spec, folder, seed, ledger):
    recordings = read_once(lambda _: read_recordings(folder), folder, ledger, "recordings")
    for recording in recordings:
        if recording.load in (*spec.train_loads, *spec.test_loads):
            ledger.keep("recordings")
        else:
            ledger.drop("recordings", "its load is neither for training nor for the test", recording.name)
    pools = dict(zip(("train", "test"), split(recordings, spec, folder), strict=True))
    ordered = {
        name: in_turns(sorted(pool, key=lambda s: order(seed, "window", s.id)), lambda s: s.label, seed)
        for name, pool in pools.items()
    }

    def most(use, kind):
        rounds = 1 if use == "test" else questions.LEAST
        return 0 if kind in ("parameter", "pairs", "composition") else rounds * len(ordered[split_of(use)])

    def draw(use, kind, count):
        pool = ordered[split_of(use)]
        for at in range(count):
            yield pool[at % len(pool)], at // len(pool) + at % len(pool)

    present = {recording.label for recording in recordings}
    return Supply(tuple(label for label in SPECS if label in present), most, draw)


def split_of(use):
    return "test" if use == "test" else "train"
