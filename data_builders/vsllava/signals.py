"""The classes of simulated signals: what is drawn for each, how it sounds, what may be asked about it.

Training and test draw every parameter from cells of one grid that they do not share, so no value of a test signal, not
one of them, comes near enough to a training value to stand in the same cell. Values are rounded to three digits when
they are drawn, so an answer that states them is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from data_builders.schema import order
from data_builders.vsllava import waves
from data_builders.vsllava.bearing import BEARINGS

CELLS, TESTED = 24, 4  # cells of a range; every TESTED-th of them belongs to the test
MARGIN = 0.2  # of a cell, at either end, left out: rounding moves no value into the next cell


@dataclass(frozen=True)
class Asked:
    """A parameter that is asked for: its symbol, its name in words, its unit, the relative error that is right."""

    symbol: str
    name: str
    unit: str | None
    tolerance: float


@dataclass(frozen=True)
class SignalSpec:
    """A class of signals. `ranges` gives limits (low, high), or a range of whole numbers, of what is drawn."""

    label: str
    wave: Callable
    ranges: dict
    asked: tuple[Asked, ...]
    derive: Callable = field(default=lambda p, orders: {})  # (drawn, orders of the bearing) -> further parameters


@dataclass(frozen=True)
class Signal:
    """One record: `samples` (N,) float32 in m/s², at `fs` Hz. `labels` names its class, or both of a superposition.

    `params` holds what the answers are made from, for a superposition by label. `source` is "simulated" or the
    recording that it was cut from. `shaft` is the shaft rate in Hz; `bearing` a name in BEARINGS.
    """

    key: str
    labels: tuple[str, ...]
    params: dict
    samples: np.ndarray
    fs: int
    shaft: float
    bearing: str
    snr_db: float | None
    source: str

    @property
    def label(self):
        return JOIN.join(self.labels)


JOIN = " + "
AMPLITUDE, SHAFT = (0.5, 5.0), (12.0, 30.0)
RINGING = {"amplitude": AMPLITUDE, "resonance": (400, 800), "decay": (150, 400), "index": (0.4, 0.9), "shaft": SHAFT}
RESONANCE = Asked("resonance", "resonance frequency", "Hz", 0.1)
TURNING = Asked("shaft", "shaft rate", "Hz", 0.03)


def _struck(part):
    """The rate at which that part of the bearing is struck, and the cage's."""
    return lambda p, orders: {"rate": orders[part] * p["shaft"], "cage": orders["cage"] * p["shaft"]}


SPECS = {
    spec.label: spec
    for spec in (
        SignalSpec(
            "single harmonic",
            waves.single_harmonic,
            {"amplitude": AMPLITUDE, "frequency": (5, 200), "shaft": SHAFT},
            (Asked("frequency", "frequency", "Hz", 0.03), Asked("amplitude", "amplitude", "m/s^2", 0.1)),
        ),
        SignalSpec(
            "multi harmonic",
            waves.multi_harmonic,
            {"fundamental": (10, 60), **{f"amplitude_{k}": (0.3, 3.0) for k in (1, 2, 3)}, "shaft": SHAFT},
            (
                Asked("fundamental", "fundamental frequency", "Hz", 0.03),
                Asked("amplitude_1", "amplitude of the fundamental", "m/s^2", 0.1),
            ),
        ),
        SignalSpec(
            "AM",
            waves.am,
            {"amplitude": AMPLITUDE, "carrier": (100, 400), "modulation": (2, 20), "index": (0.2, 1.0), "shaft": SHAFT},
            (
                Asked("carrier", "carrier frequency", "Hz", 0.03),
                Asked("modulation", "modulation frequency", "Hz", 0.05),
                Asked("index", "modulation index", None, 0.15),
            ),
        ),
        SignalSpec(
            "FM",
            waves.fm,
            {
                "amplitude": AMPLITUDE,
                "carrier": (150, 400),
                "modulation": (2, 15),
                "deviation": (10, 60),
                "shaft": SHAFT,
            },
            (Asked("carrier", "carrier frequency", "Hz", 0.05), Asked("deviation", "frequency deviation", "Hz", 0.15)),
        ),
        SignalSpec(
            "AM-FM",
            waves.am_fm,
            {
                "amplitude": AMPLITUDE,
                "carrier": (150, 400),
                "am_frequency": (8, 20),
                "fm_frequency": (2, 7),
                "index": (0.3, 1.0),
                "deviation": (10, 60),
                "shaft": SHAFT,
            },
            (
                Asked("carrier", "carrier frequency", "Hz", 0.05),
                Asked("am_frequency", "amplitude modulation frequency", "Hz", 0.05),
            ),
        ),
        SignalSpec(
            "periodic impulse",
            waves.impulses,
            {"amplitude": AMPLITUDE, "rate": (5, 30), "resonance": (300, 800), "decay": (80, 300), "shaft": SHAFT},
            (Asked("rate", "impulse rate", "Hz", 0.05), RESONANCE),
        ),
        SignalSpec(
            "outer race fault",
            waves.outer_race,
            {name: limits for name, limits in RINGING.items() if name != "index"},
            (Asked("rate", "outer race fault frequency", "Hz", 0.05), RESONANCE),
            _struck("outer"),
        ),
        SignalSpec(
            "inner race fault",
            waves.inner_race,
            RINGING,
            (Asked("rate", "inner race fault frequency", "Hz", 0.05), RESONANCE),
            _struck("inner"),
        ),
        SignalSpec(
            "ball fault",
            waves.ball,
            RINGING,
            (Asked("rate", "ball fault frequency (twice the spin rate)", "Hz", 0.05), RESONANCE),
            _struck("ball"),
        ),
        SignalSpec(
            "gear fault",
            waves.gear,
            {"amplitude": AMPLITUDE, "teeth": range(10, 21), "index": (0.3, 0.9), "shaft": (12, 22)},
            (Asked("mesh", "gear mesh frequency", "Hz", 0.03), TURNING),
            lambda p, orders: {"mesh": p["teeth"] * p["shaft"]},
        ),
        SignalSpec(
            "chirp",
            waves.chirp,
            {"amplitude": AMPLITUDE, "start": (20, 200), "end": (300, 800), "shaft": SHAFT},
            (Asked("start", "start frequency", "Hz", 0.15), Asked("end", "end frequency", "Hz", 0.1)),
        ),
        SignalSpec("healthy", waves.healthy, {"amplitude": AMPLITUDE, "shaft": SHAFT}, (TURNING,)),
    )
}
# Superpositions of a steady part and a struck one. Those that are held out have parts that all others show as well.
PAIRS = tuple(
    product(("single harmonic", "AM", "chirp"), ("periodic impulse", "outer race fault", "inner race fault", "ball fault"))
)
HELD_OUT = (
    ("single harmonic", "ball fault"),
    ("AM", "inner race fault"),
    ("chirp", "outer race fault"),
    ("single harmonic", "periodic impulse"),
)
TAUGHT = tuple(pair for pair in PAIRS if pair not in HELD_OUT)


def rounded(value, digits=3):
    """`value` with that many significant digits."""
    return float(f"{value:.{digits}g}")


def text(value):
    """A number as features and answers state it: three significant digits, without an exponent."""
    value = rounded(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.3f}"


def draw(limits, split, rng):
    """A value within the limits, from the cells of that split ("train" or "test")."""
    if isinstance(limits, range):
        return int(rng.choice([value for at, value in enumerate(limits) if (at % TESTED == 1) == (split == "test")]))
    low, high = limits
    cell = rng.choice([cell for cell in range(CELLS) if (cell % TESTED == 1) == (split == "test")])
    return rounded(low + (high - low) * (cell + rng.uniform(MARGIN, 1 - MARGIN)) / CELLS)


def simulate(labels, split, seed, number, fs, seconds, snrs, bearings):
    """The signal of that number; the same for the same arguments. Two labels are superposed, about equally strong.

    The shaft rate is that of the machine that the signal comes from, whether or not the signal shows it: its being known
    tells nothing about the class.
    """
    key = f"{split}-{'+'.join(label.replace(' ', '_') for label in labels)}-{number:05d}"
    rng = np.random.default_rng(order(seed, "signal", key))
    bearing, snr_db = str(rng.choice(bearings)), snrs[int(rng.integers(len(snrs)))]
    t = np.arange(round(fs * seconds)) / fs
    params, parts, shared = {}, [], {}
    for label in labels:
        spec = SPECS[label]
        drawn = {name: draw(limits, split, rng) for name, limits in spec.ranges.items()} | shared
        shared = {"shaft": drawn["shaft"]}
        params[label] = drawn | spec.derive(drawn, BEARINGS[bearing].orders)
        parts.append(spec.wave(params[label], t, rng))
    if len(parts) > 1:
        strength = rng.uniform(0.7, 1.4)
        parts = [part / np.sqrt(np.mean(part**2)) * weight for part, weight in zip(parts, (1.0, strength), strict=True)]
    samples = waves.noisy(sum(parts), snr_db, rng).astype(np.float32)
    params = params if len(labels) > 1 else params[labels[0]]
    return Signal(key, tuple(labels), params, samples, fs, shared["shaft"], bearing, snr_db, "simulated")
