"""Recorded vibration as windows: bearing data in MATLAB files, or CSV, WAV, NPY and NPZ with a recordings.toml.

A recording belongs to training or to the test as a whole, by its load. Files of the Case Western Reserve bearing data
carry class, fault size, load and number in their names ("12k_Drive_End_IR007_0_105.mat"), the drive end's acceleration
in `X105_DE_time` and the speed in `X105RPM`. Anything else is described by a recordings.toml beside the files:

    [[recording]]
    file = "pump_3.csv"         # .mat, .csv (one column a channel, one header line), .wav, .npy, .npz
    label = "outer race fault"  # one of RECORDED in signals.py
    load = "half"
    fs = 25600                  # Hz; a WAV file has its own
    rpm = 1480
    bearing = "6205"            # a name in bearing.py
    channel = "axial"           # variable or column; left out where there is one
    scale = 9.80665             # m/s² of one unit of the file; left out, amplitudes are in "units"

Samples of a WAV file that are whole numbers are taken as shares of full scale before that.
"""

import re
import tomllib
from dataclasses import dataclass

import numpy as np

from data_builders.vsllava.bearing import BEARINGS
from data_builders.vsllava.signals import METRIC, RECORDED, Signal
from recipes.base.errors import RecipeError
from recipes.base.toml import read_toml

MANIFEST = "recordings.toml"
CWRU = re.compile(r"(?:12k_Drive_End_)?(?P<fault>normal|IR|OR|B)(?P<size>\d{3})?(?:@\d+)?_(?P<load>\d)_(?P<number>\d+)")
FAULTS = {"normal": "healthy", "IR": "inner race fault", "OR": "outer race fault", "B": "ball fault"}
PARTS = {"inner race fault": "inner", "outer race fault": "outer", "ball fault": "ball"}
CWRU_FS, CWRU_BEARING, GRAVITY = 12000, "6205", 9.80665  # Hz; drive end; m/s² of one g, the files' unit
KEYS = {"file", "label", "load", "fs", "rpm", "bearing", "channel", "scale"}
UNKNOWN = "units"  # of samples whose scale nobody told
PIECE = 32  # samples of a window that are looked for in the other split: noise does not repeat for so long


@dataclass(frozen=True)
class Recording:
    """One channel of one measurement: `samples` (N,) float32 in `unit` at `fs` Hz, the shaft at `rpm`."""

    name: str
    label: str
    load: str
    fs: int
    rpm: float
    bearing: str
    samples: np.ndarray
    unit: str


def read_recordings(folder):
    """Every recording of a folder, by file name. Raises RecipeError that lists all that is wrong with it."""
    manifest, faults, found = folder / MANIFEST, [], []
    entries = _listed(manifest) if manifest.is_file() else _named(folder)
    for entry in entries:
        try:
            found.append(_read(folder, entry))
        except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
            faults.append(f"{entry.get('file')}: {type(error).__name__}: {error}")
    if faults or not found:
        raise RecipeError(
            "The recordings are not usable.",
            where=str(folder),
            got="\n".join(faults[:10]) or "no recording",
            allowed=f"files named as in the CWRU bearing data, or a {MANIFEST}",
            fix="mend what is named; the form of a manifest is in data_builders/vsllava/recordings.py",
        )
    return sorted(found, key=lambda recording: recording.name)


def _listed(manifest):
    try:
        return read_toml(manifest).get("recording", [])
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError("The manifest cannot be read.", where=str(manifest), got=str(error)) from None


def _named(folder):
    return [
        {
            "file": file.name,
            "label": FAULTS[match["fault"]],
            "load": match["load"],
            "fs": CWRU_FS,
            "rpm": f"X{int(match['number']):03d}RPM",
            "bearing": CWRU_BEARING,
            "channel": f"X{int(match['number']):03d}_DE_time",
            "scale": GRAVITY,
        }
        for file in sorted(folder.glob("*.mat"))
        if (match := CWRU.fullmatch(file.stem))
    ]


def _read(folder, entry):
    if unknown := entry.keys() - KEYS:
        raise ValueError(f"unknown keys {sorted(unknown)}; allowed: {sorted(KEYS)}")
    if entry["label"] not in RECORDED:
        raise ValueError(f"no class {entry['label']!r}; allowed: {', '.join(RECORDED)}")
    if entry["bearing"] not in BEARINGS:
        raise ValueError(f"no bearing {entry['bearing']!r}; allowed: {', '.join(BEARINGS)}")
    channels, fs = _channels(folder / entry["file"])
    name = entry.get("channel") or (next(iter(channels)) if len(channels) == 1 else None)
    if name is None or name not in channels:
        raise ValueError(f"no channel {name!r}; it has {', '.join(channels)}")
    samples, rpm = np.ravel(channels[name]), entry["rpm"]
    if isinstance(rpm, str):  # CWRU: a variable of the file
        if rpm not in channels:
            raise ValueError(f"no speed {rpm!r}; it has {', '.join(channels)}")
        rpm = float(np.ravel(channels[rpm])[0])
    if not np.issubdtype(samples.dtype, np.number) or not np.isfinite(samples).all():
        raise ValueError(f"channel {name!r} is not all finite numbers")
    scale = entry.get("scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < np.inf:
        raise ValueError(f"scale {scale!r} is no number above 0, in m/s² of one unit")
    return Recording(
        entry["file"], entry["label"], str(entry["load"]), int(fs or entry["fs"]), float(rpm), entry["bearing"],
        (samples * scale).astype(np.float32), METRIC if "scale" in entry else UNKNOWN,
    )  # fmt: skip


def _channels(file):
    """({name: samples}, sampling rate in Hz or None) of a file."""
    kind = file.suffix.lower()
    if kind == ".mat":
        from scipy.io import loadmat

        return {name: values for name, values in loadmat(file).items() if not name.startswith("__")}, None
    if kind == ".wav":
        from scipy.io import wavfile

        fs, samples = wavfile.read(file)
        columns = _shares(samples).reshape(len(samples), -1).T
        return {str(number): column for number, column in enumerate(columns)}, fs
    if kind == ".csv":
        names = [name.strip() for name in file.read_text(encoding="utf-8").partition("\n")[0].split(",")]
        columns = np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2).T
        return dict(zip(names, columns, strict=True)), None
    if kind == ".npy":
        return {"samples": np.load(file, allow_pickle=False)}, None
    if kind == ".npz":
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored), None
    raise ValueError(f"no reader for {kind!r}; allowed: .mat, .csv, .wav, .npy, .npz")


def _shares(samples):
    """Whole numbers of a WAV file as shares of full scale, -1 to 1; of 8 bits they have no sign (RIFF)."""
    if samples.dtype == np.uint8:
        return (samples - 128.0) / 128
    return samples / -float(np.iinfo(samples.dtype).min) if np.issubdtype(samples.dtype, np.integer) else samples


def windows(recording, seconds, overlap):
    """The recording cut into Signals, neighbours having the share `overlap` in common."""
    size = round(recording.fs * seconds)
    step = max(1, round(size * (1 - overlap)))
    shaft = recording.rpm / 60
    params = {"shaft": shaft}
    if part := PARTS.get(recording.label):
        params["rate"] = BEARINGS[recording.bearing].orders[part] * shaft
    return [
        Signal(
            f"{recording.name}@{start}",
            (recording.label,),
            params,
            recording.samples[start : start + size],
            recording.fs,
            shaft,
            recording.bearing,
            None,
            recording.name,
            recording.unit,
        )
        for start in range(0, len(recording.samples) - size + 1, step)
    ]


def split(recordings, spec, folder):
    """(training windows, test windows), by load. Raises RecipeError where a split is empty or they share a stretch."""
    by_split = {
        name: [recording for recording in recordings if recording.load in loads]
        for name, loads in (("train_loads", spec.train_loads), ("test_loads", spec.test_loads))
    }
    cut = {
        "train_loads": [w for r in by_split["train_loads"] for w in windows(r, spec.seconds, spec.overlap)],
        "test_loads": [w for r in by_split["test_loads"] for w in windows(r, spec.seconds, 0.0)],
    }
    for name, found in cut.items():
        if not found:
            raise RecipeError(
                f"No window of {spec.seconds} s is there for data.{name}.",
                where=str(folder),
                got=f"loads {sorted({recording.load for recording in recordings})}",
                allowed="loads that the recordings have, windows no longer than they are",
                fix=f"set data.{name} or data.seconds",
            )
    refuse_shared(by_split["train_loads"], cut["test_loads"], folder)
    return cut["train_loads"], cut["test_loads"]


def refuse_shared(training, tested, folder):
    """Raises RecipeError where a stretch from the middle of a test window stands in a training recording."""
    known = {recording.name: recording.samples.tobytes() for recording in training}
    shared = []
    for window in tested:
        middle = len(window.samples) // 2
        piece = window.samples[middle : middle + PIECE]
        if np.ptp(piece) > 0:  # silence is alike everywhere
            shared += [f"{window.id} in {name}" for name, samples in known.items() if piece.tobytes() in samples]
    if shared:
        raise RecipeError(
            "Training recordings hold test windows.",
            where=str(folder),
            got="\n".join(shared[:5]) + (f"\n… {len(shared)} in all" if len(shared) > 5 else ""),
            allowed="recordings of the test that share nothing with those of training",
            fix="take the copied recording out, or give both files the same load",
        )
