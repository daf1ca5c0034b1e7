"""Vibration signals in closed form, in m/s² over seconds: tones, modulation, impulses, meshing gears, and noise.

`p` holds a signal's parameters (Hz, m/s², 1/s; see signals.py), `t` the sample times in s, `rng` a numpy Generator for
what no question asks for: phases, slip, the hum of a healthy machine.
"""

import numpy as np

SLIP = 0.01  # standard deviation of the time between two strikes of a rolling defect, a share of that time


def single_harmonic(p, t, rng):
    return p["amplitude"] * np.sin(2 * np.pi * p["frequency"] * t + _phase(rng))


def multi_harmonic(p, t, rng):
    """The fundamental and its second and third harmonic."""
    return sum(p[f"amplitude_{k}"] * np.sin(2 * np.pi * k * p["fundamental"] * t + _phase(rng)) for k in (1, 2, 3))


def am(p, t, rng):
    return (
        p["amplitude"]
        * _swing(p["index"], p["am_frequency"], t, rng)
        * np.cos(2 * np.pi * p["carrier"] * t + _phase(rng))
    )


def fm(p, t, rng):
    """The instantaneous frequency is carrier + deviation · cos(2π fm_frequency t)."""
    turning = p["deviation"] / p["fm_frequency"] * np.sin(2 * np.pi * p["fm_frequency"] * t + _phase(rng))
    return p["amplitude"] * np.cos(2 * np.pi * p["carrier"] * t + turning + _phase(rng))


def am_fm(p, t, rng):
    return _swing(p["index"], p["am_frequency"], t, rng) * fm(p, t, rng)


def chirp(p, t, rng):
    """A linear sweep over the whole record."""
    slope = (p["end"] - p["start"]) / (t[-1] + t[1])
    return p["amplitude"] * np.cos(2 * np.pi * (p["start"] * t + slope * t**2 / 2) + _phase(rng))


def gear(p, t, rng):
    """Meshing and its second harmonic, both modulated in amplitude and phase once a turn by the damaged tooth."""
    turn = 2 * np.pi * p["shaft"] * t + _phase(rng)
    mesh = 2 * np.pi * p["mesh"] * t + _phase(rng)
    swing = 1 + p["index"] * np.cos(turn)
    return p["amplitude"] * swing * (np.cos(mesh + 0.3 * np.sin(turn)) + 0.4 * np.cos(2 * mesh + 0.6 * np.sin(turn)))


def impulses(p, t, rng):
    """Strikes at exactly even times."""
    return _ringing(p, _even(p["rate"], t, rng, 0.0), 1.0, t)


def outer_race(p, t, rng):
    """The defect stands still in the load zone: every strike is alike."""
    return _ringing(p, _even(p["rate"], t, rng, SLIP), 1.0, t)


def inner_race(p, t, rng):
    """The defect passes the load zone once a turn of the shaft."""
    strikes = _even(p["rate"], t, rng, SLIP)
    return _ringing(p, strikes, _swing(p["index"], p["shaft"], strikes, rng), t)


def ball(p, t, rng):
    """The defect passes the load zone once a turn of the cage."""
    strikes = _even(p["rate"], t, rng, SLIP)
    return _ringing(p, strikes, _swing(p["index"], p["cage"], strikes, rng), t)


def healthy(p, t, rng):
    """The hum of a sound machine, white, with weak lines at the first three shaft harmonics."""
    lines = sum(0.3 / k * np.sin(2 * np.pi * k * p["shaft"] * t + _phase(rng)) for k in (1, 2, 3))
    return p["amplitude"] * (lines + rng.standard_normal(len(t)))


def noisy(clean, snr_db, rng):
    """`clean` with white Gaussian noise that many dB below its mean square; None adds none."""
    if snr_db is None:
        return clean
    power = np.mean(clean**2) / 10 ** (snr_db / 10)
    return clean + np.sqrt(power) * rng.standard_normal(len(clean))


def _phase(rng):
    return rng.uniform(0, 2 * np.pi)


def _swing(depth, frequency, t, rng):
    return 1 + depth * np.cos(2 * np.pi * frequency * t + _phase(rng))


def _even(rate, t, rng, slip):
    """Times of strikes in s, from before the record, so that the first ringing is under way.

    Slip adds up from strike to strike, since rolling elements do not find back to where they would be without it
    (Antoni and Randall 2003).
    """
    count = int((t[-1] + 0.1) * rate * 1.2) + 3
    between = np.maximum(1 + slip * rng.standard_normal(count), 0.5) / rate
    return np.cumsum(between) - 0.1 - rng.uniform(0, 1 / rate)


def _ringing(p, strikes, weights, t):
    """Every strike at time s sets off amplitude · weight · exp(-decay (t - s)) · sin(2π resonance (t - s))."""
    reach = 12 / p["decay"]  # later it has fallen below 1e-5
    found = np.zeros_like(t)
    for strike, weight in zip(strikes, np.broadcast_to(weights, strikes.shape), strict=True):
        first, last = np.searchsorted(t, strike), np.searchsorted(t, strike + reach)
        since = t[first:last] - strike
        found[first:last] += weight * np.exp(-p["decay"] * since) * np.sin(2 * np.pi * p["resonance"] * since)
    return p["amplitude"] * found
