"""The op-amp simulator: textbook relations, bounds for any input, its own notation, and ngspice beside it."""

import math
import random
import re
import shutil
import subprocess
from dataclasses import asdict, replace

import pytest

from recipes.base.opamp import (
    BOUNDS,
    DECKS,
    PROCESS,
    Performance,
    Sizes,
    Specification,
    figure_of_merit,
    linearise,
    overdrives,
    read_sizes,
    read_specification,
    simulate,
    write_netlist,
)

GOOD = Sizes(I5=20, I7=100, W1=5, W3=5, W6=50, L=0.5, Cc=1)
WANTED = Specification(load=2, gain=60, gbw=10, phase=45, slew=10, power=300)


def test_the_figures_follow_the_textbook():
    found, network = simulate(GOOD, 2), linearise(GOOD, 2)
    assert found.fault == "" and found.power == pytest.approx(1.8 * 120)
    gm1 = math.sqrt(2 * PROCESS.kpn * 5 / 0.5 * 10e-6)
    assert network.gm1 == pytest.approx(gm1)
    assert found.gbw == pytest.approx(gm1 / (2 * math.pi * network.cc) / 1e6, rel=0.2)
    assert found.gain == pytest.approx(20 * math.log10(network.gm1 * network.gm6 / (network.g1 * network.g2)))
    assert found.slew == pytest.approx(20e-6 / network.cc / 1e6)
    assert network.measure_response(found.gbw * 1e6)[0] == pytest.approx(1, rel=1e-4)
    assert figure_of_merit(found, 2) == pytest.approx(1e3 * found.gbw * 2 / 216)


def test_more_capacitance_costs_bandwidth_and_gives_phase_margin():
    found = [simulate(replace(GOOD, Cc=cc), 2) for cc in (0.5, 1, 2)]
    assert found[0].gbw > found[1].gbw > found[2].gbw and found[0].phase < found[1].phase < found[2].phase


def test_no_transistor_gives_more_than_weak_inversion():
    network = linearise(replace(GOOD, W1=1000), 2)
    assert network.gm1 == pytest.approx(10e-6 / PROCESS.weak)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-300, 1e300, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", BOUNDS)
def test_any_number_gives_a_result_and_a_senseless_one_no_performance(name, value):
    found = simulate(replace(GOOD, **{name: value}), 2)
    assert found == Performance(fault=found.fault) and found.fault and WANTED.share_met(found) == 0.0
    assert simulate(GOOD, value).fault


def test_designs_all_over_the_bounds_have_finite_figures():
    rng, works = random.Random(0), 0
    for _ in range(300):
        sizes = Sizes(**{name: math.exp(rng.uniform(*map(math.log, pair))) for name, pair in BOUNDS.items()})
        found = simulate(sizes, 2)
        works += not found.fault
        figures = [value for name, value in asdict(found).items() if name != "fault"]
        assert found.fault or all(map(math.isfinite, figures))
    assert works > 10


def test_sizes_and_specifications_are_read_as_they_are_written():
    assert read_sizes(str(GOOD)) == GOOD and read_specification(str(WANTED)) == WANTED
    assert read_sizes(str(GOOD).replace("20 uA", "0.02 mA").replace("0.5 um", "500 nm")) == GOOD
    assert read_sizes(str(GOOD).replace(" uA", "").replace(" um", "").replace(" pF", "")) == GOOD


@pytest.mark.parametrize(
    "text",
    ["", "I5 = 20 uA", str(GOOD) + ", I5 = 30 uA", str(GOOD).replace("20 uA", "20 pF"), str(GOOD).replace("20", "-20")],
)
def test_sizes_that_are_not_stated_once_each_are_none(text):
    assert read_sizes(text) is None


@pytest.mark.parametrize("text", ["", "load=2", "load=nan gain=1 gbw=1 phase=1 slew=1 power=1", "a=1"])
def test_a_malformed_specification_is_an_error(text):
    with pytest.raises(ValueError):
        read_specification(text)


def test_the_share_counts_demands():
    found = simulate(GOOD, 2)
    assert WANTED.share_met(found) == 1.0
    assert (
        replace(WANTED, gain=200).share_met(found) == 0.8 and replace(WANTED, power=1, gbw=1e6).share_met(found) == 0.6
    )


def measure(sizes, load, folder):
    """What ngspice makes of a design, in the units of Performance."""
    found = {}
    for deck in DECKS:
        path = folder / f"{deck}.cir"
        path.write_text(write_netlist(sizes, load, deck))
        done = subprocess.run(["ngspice", "-b", str(path)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        found |= dict(re.findall(r"^(low|unity|turned|rise|fall)\s*=\s*([-+.\deE]+)", done.stdout, re.M))
        if deck == "op":
            found["drawn"] = re.search(r"^0\t(\S+)", done.stdout, re.M)[1]
    found = {name: float(value) for name, value in found.items()}
    phase = (180 + math.degrees(found["turned"]) + 180) % 360 - 180
    slew = 0.2e-6 / max(found["rise"], found["fall"])
    power = PROCESS.vdd * (-1e6 * found["drawn"] - sizes.I5)  # without the reference of I5
    return Performance(found["low"], found["unity"] / 1e6, phase, slew, power)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
def test_a_dozen_designs_agree_with_ngspice_and_level_1_models(tmp_path):
    """Differences seen with ngspice 39: gain 0.4 to 2.2 dB low (the square law's transconductance also grows with the
    drain voltage), unity-gain frequency 0 to 8 % low, phase margin within 4 degrees, slew rate up to half again as high
    where the transistors leave saturation before the edge ends, power 1 to 3 % low (mirrors copy a little more)."""
    rng, compared = random.Random(1), 0
    ranges = {"I5": (5, 100), "I7": (20, 500), "W1": (2, 40), "W3": (1, 20), "W6": (10, 200), "L": (0.25, 2)}
    while compared < 12:
        load, *values = (
            float(f"{math.exp(rng.uniform(*map(math.log, pair))):.2g}")
            for pair in ((1, 10), *ranges.values(), (0.4, 5))
        )
        sizes = Sizes(*values)
        found = simulate(sizes, load)
        if found.fault or found.phase < 20 or min(overdrives(sizes)) < 2 * PROCESS.weak:
            continue
        compared += 1
        other = measure(sizes, load, tmp_path)
        assert found.gain == pytest.approx(other.gain, abs=2.5), sizes
        assert found.gbw == pytest.approx(other.gbw, rel=0.1), sizes
        assert found.phase == pytest.approx(other.phase, abs=5), sizes
        assert found.power == pytest.approx(other.power, rel=0.05), sizes
        assert other.slew / 1.05 < found.slew < 1.6 * other.slew, sizes
