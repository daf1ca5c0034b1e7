"""Simulated vibration: true frequencies, noise, kinematics, one grid for training and another for the test."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.signal import hilbert

from data_builders.vsllava import waves
from data_builders.vsllava.bearing import BEARINGS
from data_builders.vsllava.features import describe, lines, measure, quantise
from data_builders.vsllava.rules import classify
from data_builders.vsllava.signals import (
    CELLS,
    HELD_OUT,
    RANGES,
    SPECS,
    STEADY,
    STRUCK,
    TAUGHT,
    TESTED,
    simulate,
    text,
)
from data_builders.vsllava.spec import Spec

SPEC = Spec()
# Where each class shows the frequency that is asked for: in the spectrum, or in the envelope's.
SHOWN = {
    **{"single harmonic": ("spectrum", "frequency"), "multi harmonic": ("spectrum", "fundamental")},
    **{"AM": ("envelope", "am_frequency"), "AM-FM": ("envelope", "am_frequency")},
    **{"periodic impulse": ("envelope", "rate"), "outer race fault": ("envelope", "rate")},
    **{"inner race fault": ("envelope", "rate"), "ball fault": ("envelope", "rate")},
    **{"gear fault": ("spectrum", "mesh"), "healthy": ("spectrum", "shaft")},
}


def signals(label, count=40, split="train", seed=5, spec=SPEC):
    return [simulate((label,), split, seed, "tried", number, spec) for number in range(count)]


@pytest.mark.parametrize("label", SHOWN)
def test_the_asked_frequency_stands_among_the_lines_within_five_per_cent(label):
    where, symbol = SHOWN[label]
    for signal in signals(label):
        found = [f for f, _ in getattr(measure(signal, 6), where)]
        asked = signal.params[symbol]
        assert min(abs(f / asked - 1) for f in found) < 0.05, (signal.id, asked, found)


@pytest.mark.parametrize("label", ["FM", "AM-FM", "chirp"])
def test_the_frequency_of_a_moving_carrier_is_its_phase_slope(label):
    for signal in signals(label, 40, spec=Spec(clean=1.0)):
        phase = np.unwrap(np.angle(hilbert(signal.samples.astype(float))))
        slope = np.gradient(phase) * signal.fs / (2 * np.pi)
        inner, p = slope[100:-100], signal.params
        if label == "chirp":
            ends = np.polyval(np.polyfit(np.arange(100, len(slope) - 100) / signal.fs, inner, 1), [0.0, 1.0])
            assert ends == pytest.approx([p["start"], p["end"]], rel=0.05)
        else:
            assert np.mean(inner) == pytest.approx(p["carrier"], rel=0.05)
            if label == "FM":  # whose amplitude never vanishes
                assert np.ptp(inner) / 2 == pytest.approx(p["deviation"], rel=0.1)


@pytest.mark.parametrize("snr_db", [20.0, 10.0, 5.0, 0.0])
def test_noise_is_within_half_a_decibel_of_what_was_asked(snr_db):
    rng = np.random.default_rng(1)
    clean = signals("ball fault", 1, spec=Spec(clean=1.0))[0].samples.astype(float)
    for _ in range(40):
        noise = waves.noisy(clean, snr_db, rng) - clean
        measured = 10 * np.log10(np.mean(clean**2) / np.mean(noise**2))
        assert abs(measured - snr_db) < 0.5
    assert waves.noisy(clean, None, rng) is clean


@pytest.mark.parametrize("name", BEARINGS)
def test_the_orders_of_a_bearing_hang_together(name):
    bearing = BEARINGS[name]
    orders = bearing.orders
    assert orders["outer"] + orders["inner"] == pytest.approx(bearing.balls)
    assert orders["cage"] * bearing.balls == pytest.approx(orders["outer"])


def test_a_known_bearing_has_its_tabulated_orders():
    """Drive and fan end of the Case Western Reserve rig, as its documentation tabulates them; IMS at 2,000 rpm."""
    drive, fan, ims = (BEARINGS[name].orders for name in ("6205", "6203", "ZA-2115"))
    assert [drive[part] for part in ("inner", "outer", "cage", "ball")] == pytest.approx(
        [5.4152, 3.5848, 0.39828, 4.7135], rel=2e-3
    )
    assert [fan[part] for part in ("inner", "outer", "cage", "ball")] == pytest.approx(
        [4.9469, 3.0530, 0.3817, 3.9874], rel=2e-3
    )
    assert ims["outer"] * 2000 / 60 == pytest.approx(236.4, rel=2e-3)


def test_slip_spreads_the_strikes_and_an_even_train_has_none():
    t, p = np.arange(8192) / 4096, {"rate": 50.0, "resonance": 600.0, "decay": 300.0, "amplitude": 1.0, "index": 0.5}
    rng = np.random.default_rng(3)
    even, slipping = (np.diff(waves._even(50.0, t, rng, slip)) * 50 for slip in (0.0, waves.SLIP))
    assert np.ptp(even) < 1e-9
    assert np.std(slipping) == pytest.approx(waves.SLIP, rel=0.3)
    assert waves.impulses(p, t, np.random.default_rng(0)).any()


def test_only_the_passing_of_the_load_zone_modulates_the_strikes():
    spec = Spec(clean=1.0, seconds=4.0)
    passing = [("inner race fault", "shaft", True), ("ball fault", "cage", True), ("outer race fault", "shaft", False)]
    for label, symbol, swings in passing:
        for signal in signals(label, 8, spec=spec):
            envelope = np.abs(hilbert(signal.samples.astype(float)))
            near = [a for f, a in lines(envelope, signal.fs, 400) if abs(f / signal.params[symbol] - 1) < 0.03]
            assert (max(near, default=0.0) / envelope.mean() > 0.2) == swings, signal.id


def test_no_value_of_a_test_signal_shares_a_cell_with_training():
    def cells(split):
        found = set()
        for label, spec in SPECS.items():
            for signal in signals(label, 60, split):
                for symbol in spec.drawn:
                    value, limits = signal.params[symbol], RANGES[symbol]
                    if isinstance(limits, range):
                        found.add((symbol, value))
                    else:
                        found.add((symbol, math.floor((value - limits[0]) / (limits[1] - limits[0]) * CELLS)))
        return found

    training, tested = cells("train"), cells("test")
    assert not training & tested
    assert {symbol for symbol, _ in tested} == {symbol for symbol, _ in training} == set(RANGES)
    assert all(cell % TESTED == 1 for symbol, cell in tested if not isinstance(RANGES[symbol], range))


def test_pairs_held_out_have_parts_that_training_pairs_show():
    assert set(HELD_OUT).isdisjoint(TAUGHT) and len(HELD_OUT) + len(TAUGHT) == len(STEADY) * len(STRUCK)
    for part in {part for pair in HELD_OUT for part in pair}:
        assert any(part in pair for pair in TAUGHT)


def test_a_superposition_has_the_lines_of_both_parts():
    for number in range(20):
        signal = simulate(("single harmonic", "outer race fault"), "train", 5, "tried", number, Spec(clean=1.0))
        tone, fault = signal.by_label["single harmonic"], signal.by_label["outer race fault"]
        assert tone["shaft"] == fault["shaft"] == signal.shaft
        found = [f for f, _ in measure(signal, 12).spectrum]
        assert min(abs(f / tone["frequency"] - 1) for f in found) < 0.05
        assert min(abs(f - fault["resonance"]) for f in found) < fault["rate"]


def test_parameters_of_a_superposition_are_those_that_it_has():
    for number in range(20):
        signal = simulate(("single harmonic", "periodic impulse"), "train", 5, "tried", number, Spec(clean=1.0))
        tone, impulses = signal.by_label["single harmonic"], signal.by_label["periodic impulse"]
        far = [a for f, a in lines(signal.samples, signal.fs, 30) if abs(f / tone["frequency"] - 1) < 0.01]
        assert max(far) == pytest.approx(tone["amplitude"], rel=0.05), signal.id
        assert np.abs(signal.samples).max() > 0.5 * impulses["amplitude"]


@pytest.mark.parametrize("label", ["outer race fault", "inner race fault", "ball fault", "gear fault"])
def test_a_derived_parameter_is_the_number_that_an_answer_states(label):
    for signal in signals(label, 20):
        assert {symbol: float(text(value)) for symbol, value in signal.params.items()} == signal.params


def test_nothing_is_asked_that_the_heading_gives():
    for label, spec in SPECS.items():
        given = {symbol for symbol in ("shaft", "rate") if symbol == "shaft" or label in STRUCK[1:]}
        assert not given & {asked.symbol for asked in spec.asked}


def test_signals_are_the_same_in_another_process():
    code = (
        "import hashlib; from data_builders.vsllava.signals import *; from data_builders.vsllava.spec import Spec;"
        "print(hashlib.sha256(b''.join(simulate((l,), 'test', 7, 'u', 3, Spec()).samples.tobytes() for l in SPECS))"
        ".hexdigest())"
    )
    command = [sys.executable, "-c", code]
    texts = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in "ab"}

    assert len(texts) == 1 and len(texts.pop().strip()) == 64


def test_whether_a_shaft_rate_is_known_tells_nothing_about_the_class():
    for label in SPECS:
        assert " Hz, orders outer " in describe(measure(signals(label, 1)[0], 3)).partition("\n")[0]


def test_the_quantised_view_is_the_first_samples_at_eight_bits():
    signal = signals("AM", 1)[0]
    head, _, levels = quantise(signal).partition("\n")
    found = np.array(list(map(int, levels.split())))
    scale = np.abs(signal.samples[:512]).max()
    assert len(found) == 512 and np.abs(found).max() == 127 and head.startswith("first 512 samples")
    assert np.abs(found / 127 * scale - signal.samples[:512]).max() <= scale / 254 + 1e-6


def test_rules_without_a_model_tell_most_types_from_the_features():
    right = [classify(measure(s, 6), tuple(SPECS)) == label for label in SPECS for s in signals(label, 10, "test", 11)]
    assert np.mean(right) > 0.85
