"""The classes of simulated signals: what is drawn for each, how it sounds, what may be asked about it.

Training and test draw every parameter from cells of one grid that they do not share: each single value of a test
signal, not just their combination, is away from all training values of that parameter. Values are rounded to three
digits when they are drawn or derived, so an answer that states them is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from data_builders.core.schema import order
from data_builders.vsllava import waves
from data_builders.vsllava.bearing import BEARINGS

CELLS, TESTED = 24, 4  # cells of a range; every TESTED-th of them belongs to the test
METRIC = "m/s^2"
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
    """A class of signals: its wave, the symbols of what is drawn for it, and what may be asked.

    Nothing is asked that the heading of every signal gives: neither the shaft rate, nor the rate of a bearing's fault,
    which is the product of shaft rate and order.
    """

    label: str
    wave: Callable
    drawn: tuple[str, ...]
    asked: tuple[Asked, ...]
    derive: Callable = field(default=lambda p, orders: {})  # (drawn, orders of the bearing) -> further parameters


@dataclass(frozen=True)
class Signal:
    """One record: `samples` (N,) float32 in `unit`, at `fs` Hz; `id` is its key in signals.npz.

    `labels` names its class, or both of a superposition; `params` holds what the answers are made from, for a
    superposition by label. `source` is "simulated" or the recording that it was cut from. `shaft` is the shaft rate in
    Hz; `bearing` a name in BEARINGS.
    """

    id: str
    labels: tuple[str, ...]
    params: dict
    samples: np.ndarray
    fs: int
    shaft: float
    bearing: str
    snr_db: float | None
    source: str
    unit: str = METRIC

    @property
    def label(self):
        return JOIN.join(self.labels)

    @property
    def by_label(self):
        """{label: parameters}"""
        return self.params if len(self.labels) > 1 else {self.label: self.params}


JOIN = " + "
SIMULATED = "simulated"
RECORDED = ("healthy", "outer race fault", "inner race fault", "ball fault", "gear fault")  # what recordings may be of
# Limits of what is drawn, or the whole numbers that it may be.
RANGES = {
    "amplitude": (0.5, 5.0),  # m/s²
    "frequency": (5, 200),  # Hz, as all that follow but for what is marked
    "fundamental": (10, 60),
    "amplitude_1": (0.3, 3.0),  # m/s²
    "amplitude_2": (0.3, 3.0),  # m/s²
    "amplitude_3": (0.3, 3.0),  # m/s²
    "carrier": (150, 400),
    "am_frequency": (5, 20),
    "fm_frequency": (2, 15),
    "index": (0.3, 0.9),  # depth of a modulation
    "deviation": (10, 60),
    "rate": (5, 30),  # of impulses; that of a fault follows from shaft and bearing
    "resonance": (400, 800),
    "decay": (150, 400),  # 1/s
    "teeth": range(8, 17),
    "start": (20, 200),
    "end": (300, 800),
    "shaft": (12, 30),
}
RESONANCE = Asked("resonance", "resonance frequency", "Hz", 0.1)


def _struck(part):
    """The rate at which that part of the bearing is struck, and the cage's."""
    return lambda p, orders: {"rate": orders[part] * p["shaft"], "cage": orders["cage"] * p["shaft"]}


SPECS = {
    spec.label: spec
    for spec in (
        SignalSpec(
            "single harmonic",
            waves.single_harmonic,
            ("amplitude", "frequency", "shaft"),
            (Asked("frequency", "frequency", "Hz", 0.03), Asked("amplitude", "amplitude", "m/s^2", 0.1)),
        ),
        SignalSpec(
            "multi harmonic",
            waves.multi_harmonic,
            ("fundamental", "amplitude_1", "amplitude_2", "amplitude_3", "shaft"),
            (
                Asked("fundamental", "fundamental frequency", "Hz", 0.03),
                Asked("amplitude_1", "amplitude of the fundamental", "m/s^2", 0.1),
            ),
        ),
        SignalSpec(
            "AM",
            waves.am,
            ("amplitude", "carrier", "am_frequency", "index", "shaft"),
            (
                Asked("carrier", "carrier frequency", "Hz", 0.05),
                Asked("am_frequency", "amplitude modulation frequency", "Hz", 0.05),
                Asked("index", "modulation index", None, 0.15),
            ),
        ),
        SignalSpec(
            "FM",
            waves.fm,
            ("amplitude", "carrier", "fm_frequency", "deviation", "shaft"),
            (Asked("carrier", "carrier frequency", "Hz", 0.05), Asked("deviation", "frequency deviation", "Hz", 0.15)),
        ),
        SignalSpec(
            "AM-FM",
            waves.am_fm,
            ("amplitude", "carrier", "am_frequency", "fm_frequency", "index", "deviation", "shaft"),
            (
                Asked("carrier", "carrier frequency", "Hz", 0.05),
                Asked("am_frequency", "amplitude modulation frequency", "Hz", 0.05),
            ),
        ),
        SignalSpec(
            "periodic impulse",
            waves.impulses,
            ("amplitude", "rate", "resonance", "decay", "shaft"),
            (Asked("rate", "impulse rate", "Hz", 0.05), RESONANCE),
        ),
        SignalSpec(
            "outer race fault",
            waves.outer_race,
            ("amplitude", "resonance", "decay", "shaft"),
            (RESONANCE,),
            _struck("outer"),
        ),
        SignalSpec(
            "inner race fault",
            waves.inner_race,
            ("amplitude", "resonance", "decay", "index", "shaft"),
            (RESONANCE,),
            _struck("inner"),
        ),
        SignalSpec(
            "ball fault",
            waves.ball,
            ("amplitude", "resonance", "decay", "index", "shaft"),
            (RESONANCE,),
            _struck("ball"),
        ),
        SignalSpec(
            "gear fault",
            waves.gear,
            ("amplitude", "teeth", "index", "shaft"),
            (Asked("mesh", "gear mesh frequency", "Hz", 0.03),),
            lambda p, orders: {"mesh": p["teeth"] * p["shaft"]},
        ),
        SignalSpec(
            "chirp",
            waves.chirp,
            ("amplitude", "start", "end", "shaft"),
            (Asked("start", "start frequency", "Hz", 0.15), Asked("end", "end frequency", "Hz", 0.1)),
        ),
        SignalSpec("healthy", waves.healthy, ("amplitude", "shaft"), ()),
    )
}
# Superpositions of a steady part and a struck one. Those that are held out have parts that all others show as well.
STEADY = ("single harmonic", "AM", "chirp")
STRUCK = ("periodic impulse", "outer race fault", "inner race fault", "ball fault")
HELD_OUT = (
    ("single harmonic", "ball fault"),
    ("AM", "inner race fault"),
    ("chirp", "outer race fault"),
    ("single harmonic", "periodic impulse"),
)
TAUGHT = tuple(pair for pair in product(STEADY, STRUCK) if pair not in HELD_OUT)


def rounded(value, digits=3):
    """`value` with that many significant digits."""
    return float(f"{value:.{digits}g}")


def text(value):
    """A number as features and answers state it: three significant digits, without an exponent."""
    value = rounded(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.3f}"


def draw(symbol, split, rng):
    """A value of that parameter from the cells of that split ("train" or "test")."""
    limits = RANGES[symbol]
    if isinstance(limits, range):
        return int(rng.choice([value for at, value in enumerate(limits) if (at % TESTED == 1) == (split == "test")]))
    low, high = limits
    cell = rng.choice([cell for cell in range(CELLS) if (cell % TESTED == 1) == (split == "test")])
    return rounded(low + (high - low) * (cell + rng.uniform(MARGIN, 1 - MARGIN)) / CELLS)


def simulate(labels, split, seed, use, number, spec):
    """The signal of that number for that use; the same for the same arguments, `spec` being the `[data]` table.

    Two labels are superposed, about equally strong; their amplitudes are those that they have in the sum.

    The shaft rate is that of the machine that the signal comes from, whether or not the signal shows it: that it is
    known tells nothing about the class.
    """
    key = f"{use}-{'+'.join(label.replace(' ', '_') for label in labels)}-{number:05d}"
    rng = np.random.default_rng(order(seed, "signal", key))
    bearing = str(rng.choice(spec.bearings))
    snr_db = float(rng.choice(spec.snr_db)) if rng.uniform() >= spec.clean else None
    t = np.arange(round(spec.fs * spec.seconds)) / spec.fs
    params, parts, shared = {}, [], {}
    for label in labels:
        kind = SPECS[label]
        drawn = {symbol: draw(symbol, split, rng) for symbol in kind.drawn} | shared
        shared = {"shaft": drawn["shaft"]}
        derived = kind.derive(drawn, BEARINGS[bearing].orders)
        params[label] = drawn | {symbol: rounded(value) for symbol, value in derived.items()}
        parts.append(kind.wave(params[label], t, rng))
    if len(parts) > 1:
        for at, (label, strength) in enumerate(zip(labels, (1.0, rng.uniform(0.7, 1.4)), strict=True)):
            before = params[label]["amplitude"]
            params[label]["amplitude"] = rounded(before * strength / np.sqrt(np.mean(parts[at] ** 2)))
            parts[at] = parts[at] * (params[label]["amplitude"] / before)
    samples = waves.noisy(sum(parts, np.zeros(len(t))), snr_db, rng).astype(np.float32)
    params = params if len(labels) > 1 else params[labels[0]]
    return Signal(key, tuple(labels), params, samples, spec.fs, shared["shaft"], bearing, snr_db, SIMULATED)
