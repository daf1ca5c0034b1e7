"""What is measured in a signal, as numbers and as the text that a model reads in place of it."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks, hilbert
from scipy.stats import kurtosis, skew

from data_builders.vsllava.bearing import BEARINGS
from data_builders.vsllava.signals import rounded, text

TRACK = 4  # parts of the record in which the strongest line is looked for: it moves in a chirp
LOWEST = 1.5  # Hz; slower swings of the envelope are the record's own length
SAMPLES = 512  # of the quantised view


@dataclass(frozen=True)
class Features:
    """Every number rounded to three digits, as the text states it, so that who reads the one knows no more.

    `spectrum` holds (Hz, amplitude in `unit`) and `envelope` (Hz, amplitude over the envelope's mean), strongest first;
    `track` the strongest frequency of each quarter, in Hz; `share` is that of the strongest line in the power.
    """

    fs: int
    count: int
    shaft: float
    bearing: str
    unit: str
    rms: float
    peak: float
    crest: float
    kurtosis: float
    skewness: float
    share: float
    spectrum: tuple[tuple[float, float], ...]
    envelope: tuple[tuple[float, float], ...]
    track: tuple[float, ...]


def measure(signal, peaks):
    """The Features of a Signal, with that many lines of spectrum and envelope spectrum."""
    x = signal.samples.astype(float)
    x = x - x.mean()
    rms, top = np.sqrt(np.mean(x**2)), np.abs(x).max()
    envelope = np.abs(hilbert(x))
    mean = envelope.mean()
    spectrum = lines(x, signal.fs, peaks)
    swings = lines(envelope - mean, signal.fs, peaks, LOWEST)
    return Features(
        fs=signal.fs,
        count=len(x),
        shaft=rounded(signal.shaft),
        bearing=signal.bearing,
        unit=signal.unit,
        rms=rounded(rms),
        peak=rounded(top),
        crest=rounded(top / rms),
        kurtosis=rounded(kurtosis(x, fisher=False)),
        skewness=round(float(skew(x)), 2) + 0.0,
        share=round(min(1.0, (spectrum[0][1] / rms) ** 2 / 2), 2),
        spectrum=tuple((rounded(f), rounded(a)) for f, a in spectrum),
        envelope=tuple((rounded(f), round(a / mean, 2)) for f, a in swings),
        track=tuple(rounded(lines(part, signal.fs, 1)[0][0]) for part in np.array_split(x, TRACK)),
    )


def lines(x, fs, count, lowest=0.0):
    """The `count` strongest lines [(Hz, amplitude)] of a spectrum under a Hann window.

    Place and height are those of the parabola through the logarithms of the highest bin and its neighbours.
    """
    spectrum = amplitudes(x) + 1e-12
    bins, _ = find_peaks(spectrum, distance=3)
    bins = bins[bins * fs / len(x) >= lowest]
    if not len(bins):
        bins = np.array([max(1, int(spectrum[1:-1].argmax()) + 1)])
    bins = bins[np.argsort(-spectrum[bins], kind="stable")][:count]
    left, middle, right = (np.log(spectrum[bins + step]) for step in (-1, 0, 1))
    curve = left - 2 * middle + right
    shift = np.divide(left - right, 2 * curve, out=np.zeros_like(curve), where=curve < 0)
    height = np.exp(middle - shift * (left - right) / 4)
    return [(float(f), float(a)) for f, a in zip((bins + shift) * fs / len(x), height, strict=True)]


def amplitudes(x):
    """The amplitude spectrum of `x` without its mean under a Hann window, at the frequencies of np.fft.rfftfreq."""
    window = np.hanning(len(x))
    return np.abs(np.fft.rfft((x - x.mean()) * window)) * 2 / window.sum()


def heading(found):
    """What is known of a signal without measuring it: length, unit, shaft rate, orders of the bearing's faults."""
    orders = BEARINGS[found.bearing].orders
    return (
        f"{found.count / found.fs:g} s at {found.fs} Hz in {found.unit}, shaft {text(found.shaft)} Hz, orders "
        + " ".join(f"{part} {text(orders[part])}" for part in ("outer", "inner", "ball"))
    )


def describe(found):
    """The `features` view: five lines."""
    return "\n".join(
        [
            heading(found),
            "spectrum: " + ", ".join(f"{text(f)} {text(a)}" for f, a in found.spectrum),
            "envelope: "
            + ", ".join(f"{text(f)} {depth:.2f} order {text(f / found.shaft)}" for f, depth in found.envelope),
            "track: " + " ".join(map(text, found.track)),
            f"rms {text(found.rms)} peak {text(found.peak)} crest {text(found.crest)} "
            f"kurtosis {text(found.kurtosis)} skewness {found.skewness:.2f} share {found.share:.2f}",
        ]
    )


def quantise(signal):
    """The `quantised` view: the first samples as whole numbers of 8 bits, -127 to 127 over the largest of them."""
    x = signal.samples[:SAMPLES].astype(float)
    scale = np.abs(x).max() or 1.0
    levels = np.round(127 * x / scale).astype(int)
    return f"first {len(x)} samples, full scale {text(scale)} {signal.unit}\n" + " ".join(map(str, levels))
