"""The `image` view: a signal as a picture of its waveform, spectrum and envelope spectrum, axes labelled with units.

The record of a signal is all a picture needs, so a signal that no row shows is never drawn. Scale policy, the same for
every picture: time and frequency axes are those of the record (envelope lines up to ENVELOPE_SHARE of the sampling rate
and ENVELOPE_TOP), amplitude axes end at the largest value of the record.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import hilbert

from data_builders.core.schema import store_image
from data_builders.vsllava.features import amplitudes
from data_builders.vsllava.signals import METRIC
from recipes.base.errors import RecipeError
from recipes.base.rows import GradedRow, SftRow

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

SIDE, DPI = 672, 96  # pixels of a picture, a multiple of 28, the patch of Qwen2.5-VL: 576 tokens; pixels of an inch
PANELS = ("waveform", "spectrum", "envelope")
ENVELOPE_SHARE, ENVELOPE_TOP = 1 / 8, 500.0  # of fs; Hz


def illustrated(
    rows: Iterable[SftRow | GradedRow], signals: Mapping[str, np.ndarray], out, panels=PANELS, advance=lambda n: None
) -> list[SftRow | GradedRow]:
    """`rows` that show their signals, drawn into the artefact folder `out`; ids and texts are as they were.

    A row whose lineage has no "signal" stays without a picture. `signals` is signals.npz, or a dict like it;
    `lineage.fs` is in Hz, `lineage.unit` the samples'. `advance(1)` is called for each row. Raises RecipeError where
    the extra [vlm] is not installed or a signal is missing.
    """
    drawn, shown = {}, []
    for row in rows:
        key = row.lineage.get("signal")
        if key is not None and key not in drawn:
            if key not in signals:
                raise RecipeError("A row names a signal that is not there.", where=f"row {row.id}", got=key)
            drawn[key] = store_image(out, draw(signals[key], row.lineage["fs"], row.lineage["unit"], panels))
        shown.append(row if key is None else replace(row, images=(drawn[key],)))
        advance(1)
    return shown


def draw(samples, fs: float, unit: str = METRIC, panels=PANELS) -> bytes:
    """A PNG of SIDE × SIDE pixels with one panel below the other: the same bytes for the same samples.

    Args:
        samples: (N,) real, in `unit`.
        fs: sampling rate in Hz.
        unit: METRIC, or another word for what the samples are in.
        panels: some of PANELS, from top to bottom.
    """
    figure = _figure(tuple(panels), unit)
    x = np.asarray(samples, dtype=float)
    for axes, panel in zip(figure.axes, panels, strict=True):
        across, up, end, bottom, top = _curve(panel, x, fs)
        axes.lines[0].set_data(across, up)
        axes.set_xlim(0, end)
        axes.set_ylim(bottom, top)
    figure.canvas.draw()
    return _png(figure.canvas)


def _png(canvas):
    """The canvas in shades of grey: a third of the bytes of a coloured picture."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L").save(file, format="png")
    return file.getvalue()


def _curve(panel, x, fs):
    """(abscissae, ordinates, end of the abscissa, bottom and top of the ordinate) of one panel."""
    if panel == "waveform":
        top = 1.05 * np.abs(x).max() or 1.0
        return np.arange(len(x)) / fs, x, len(x) / fs, -top, top
    end = fs / 2
    if panel == "envelope":
        x, end = np.abs(hilbert(x - x.mean())), min(fs * ENVELOPE_SHARE, ENVELOPE_TOP)
    frequency, height = np.fft.rfftfreq(len(x), 1 / fs), amplitudes(x)
    return frequency, height, end, 0.0, 1.05 * height[frequency <= end].max() or 1.0


@cache
def _figure(panels, unit):
    """The empty figure of these panels, made once: only its curves and limits change from signal to signal."""
    if any(find_spec(package) is None for package in ("matplotlib", "PIL")):
        raise RecipeError(
            "Pictures need packages that are not installed.",
            where='data.view = "image"',
            got="no matplotlib or no Pillow",
            fix="pip install -c constraints.txt -e '.[vlm]', or choose another view",
        )
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measure = "acceleration (m/s²)" if unit == METRIC else f"amplitude ({unit})"
    amplitude = measure.replace("acceleration", "amplitude")
    names = {
        "waveform": ("Waveform", "time (s)", measure),
        "spectrum": ("Spectrum", "frequency (Hz)", amplitude),
        "envelope": ("Envelope spectrum", "frequency (Hz)", amplitude),
    }
    size: dict[RcKeyType, Any] = {"font.size": 10}
    with matplotlib.rc_context(matplotlib.rcParamsDefault | size):
        figure = Figure(figsize=(SIDE / DPI, SIDE / DPI), dpi=DPI)
        FigureCanvasAgg(figure)
        for place, panel in enumerate(panels, 1):
            axes = figure.add_subplot(len(panels), 1, place)
            title, across, up = names[panel]
            axes.set(title=title, xlabel=across, ylabel=up)
            axes.plot([], [], linewidth=0.8, color="black")
            axes.grid(color="0.85", linewidth=0.5)
        figure.subplots_adjust(left=0.13, right=0.97, top=0.95, bottom=0.08, hspace=0.55)
    return figure
