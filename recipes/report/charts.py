"""Inline SVG charts. Shapes stretch to the box they stand in; text is HTML, so that it stays readable on a phone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

SMOOTH = 9  # points of the moving mean drawn over a noisy curve


@dataclass(frozen=True)
class Curve:
    """One quantity of a training log: title, unit, points (step, value) in order."""

    title: str
    note: str
    points: tuple[tuple[float, float], ...]
    percent: bool = False


def interval_bar(value: float, low: float, high: float, text: str) -> Markup:
    """A score (0..1) as a dot on its interval, on a track from 0 to 100 %."""
    grid = "".join(f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="22"/>' for x in (0, 25, 50, 75, 100))
    return Markup(
        f'<svg class="interval" height="22" role="img" aria-label="{{}}">{grid}'
        f'<rect class="span" x="{100 * low:.2f}%" width="{max(0.3, 100 * (high - low)):.2f}%" y="7" height="8" rx="4"/>'
        f'<circle class="dot" cx="{100 * value:.2f}%" cy="11" r="5.5"/></svg>'
    ).format(text)


def bar(share: float, text: str) -> Markup:
    """A plain horizontal bar, `share` of the full width."""
    return Markup(
        '<svg class="bar" height="14" role="img" aria-label="{}"><rect width="100%" height="14" rx="3" class="track"/>'
        '<rect width="{}%" height="14" rx="3" class="fill"/></svg>'
    ).format(text, f"{100 * share:.2f}")


def heat_map(groups: list[str], rows: dict[str, list[list[float]]], top: float, text: str) -> Markup:
    """Shares as shades from 0 to `top`: a line for each row, label -> for each group the values of its cells."""
    head = Markup("").join(
        Markup('<th colspan="{}">{}</th>').format(len(cells), name)
        for name, cells in zip(groups, next(iter(rows.values())), strict=True)
    )
    lines = Markup("")
    for label, line in rows.items():
        lines += Markup("<tr><th>{}</th>").format(label)
        for name, cells in zip(groups, line, strict=True):
            for number, value in enumerate(cells, 1):
                lines += Markup('<td class="{}" style="--heat:{}%" title="{}">{}</td>').format(
                    "first" if number == 1 else "",
                    f"{100 * min(1.0, value / top):.0f}",
                    f"{label}, {name}, expert {number}: {100 * value:.1f} %",
                    f"{100 * value:.0f}",
                )
        lines += Markup("</tr>")
    return Markup(
        '<table class="heat" aria-label="{}"><thead><tr><th></th>{}</tr></thead><tbody>{}</tbody></table>'
    ).format(text, head, lines)


def funnel_bar(kept: int, dropped: int, scale: int, text: str) -> Markup:
    """What a step kept and, paler, what it dropped, on a track of `scale`."""
    left, right = (100 * value / scale if scale else 0.0 for value in (kept, dropped))
    return Markup(
        '<svg class="bar" height="14" role="img" aria-label="{}"><rect width="100%" height="14" rx="3" class="track"/>'
        '<rect width="{}%" height="14" rx="3" class="fill"/><rect x="{}%" width="{}%" height="14" class="gone"/></svg>'
    ).format(text, f"{left:.2f}", f"{left:.2f}", f"{right:.2f}")


def histogram(counts: list[int], mark: float) -> Markup:
    """Counts in equal bins from 0 to 1 as columns, their heights by the logarithm, with a line at `mark`."""
    top = math.log1p(max(counts, default=0)) or 1.0
    wide = 1000 / max(1, len(counts))
    columns = ""
    for place, n in enumerate(counts):
        high, low, up = 200 * math.log1p(n) / top, place / len(counts), (place + 1) / len(counts)
        columns += (
            f'<rect class="fill" x="{place * wide + 4:.1f}" width="{wide - 8:.1f}" y="{200 - high:.1f}" '
            f'height="{high:.1f}"><title>{low:.2f} to {up:.2f}: {n:,}</title></rect>'
        )
    ticks = "".join(f'<span style="left:{100 * x:g}%">{x:g}</span>' for x in (0, 0.25, 0.5, 0.75, 1))
    return Markup(
        '<figure class="chart histogram"><svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" '
        f'aria-label="{{}}"><line class="grid" x1="0" x2="1000" y1="200" y2="200"/>{columns}'
        f'<line class="mark" x1="{1000 * mark:.1f}" x2="{1000 * mark:.1f}" y1="0" y2="200"/></svg>'
        f'<div class="ticks">{ticks}</div></figure>'
    ).format("counts by similarity: " + ", ".join(map(str, counts)))


def scatter(points: list[tuple[str, tuple[float, ...], tuple[float, ...]]], across: str, up: str) -> Markup:
    """Named points (shares) with the range of their seeds: the mean of the first values across, of the second up."""
    every_x, every_y = [x for _, xs, _ in points for x in xs], [y for _, _, ys in points for y in ys]
    x_ticks, y_ticks = _ticks(min(0.0, *every_x), max(every_x)), _ticks(min(every_y), max(1.0, *every_y))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            100 * (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]),
            100 - 100 * (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]),
        )

    lines, names = Markup(""), Markup("")
    for tick in x_ticks:
        x, _ = place(tick, y_ticks[0])
        lines += Markup('<line class="grid" x1="{}%" x2="{}%" y1="0" y2="100%"/>').format(f"{x:.1f}", f"{x:.1f}")
        names += Markup('<span class="x" style="left:{}%">{}</span>').format(f"{x:.1f}", _short(100 * tick))
    for tick in y_ticks:
        _, y = place(x_ticks[0], tick)
        lines += Markup('<line class="grid" x1="0" x2="100%" y1="{}%" y2="{}%"/>').format(f"{y:.1f}", f"{y:.1f}")
        names += Markup('<span class="y" style="top:{}%">{}</span>').format(f"{y:.1f}", _short(100 * tick))
    for name, xs, ys in points:
        x, y = place(sum(xs) / len(xs), sum(ys) / len(ys))
        (left, low), (right, high) = place(min(xs), min(ys)), place(max(xs), max(ys))
        for x1, x2, y1, y2 in ((left, right, y, y), (x, x, low, high)):
            lines += Markup('<line class="range" x1="{}%" x2="{}%" y1="{}%" y2="{}%"/>').format(
                f"{x1:.2f}", f"{x2:.2f}", f"{y1:.2f}", f"{y2:.2f}"
            )
        lines += Markup('<circle class="dot" cx="{}%" cy="{}%" r="5"/>').format(f"{x:.2f}", f"{y:.2f}")
        side = "right" if x < 70 else "left"
        names += Markup('<b class="{}" style="left:{}%;top:{}%">{}</b>').format(side, f"{x:.2f}", f"{y:.2f}", name)
    return Markup(
        '<figure class="scatter"><div class="field"><svg role="img" aria-label="{} against {}">{}</svg>{}</div>'
        "<figcaption>across: {} · up: {}</figcaption></figure>"
    ).format(up, across, lines, names, across, up)


def line_chart(curve: Curve) -> Markup:
    """A curve over steps: faint raw values, and their moving mean where there are enough of them."""
    xs, ys = [x for x, _ in curve.points], [y for _, y in curve.points]
    ticks = _ticks(min(ys), max(ys))
    bottom, top = min(ticks[0], *ys), max(ticks[-1], *ys)
    left, right = xs[0], xs[-1]

    def place(x: float, y: float) -> str:
        across = (x - left) / (right - left) if right > left else 0.5
        return f"{1000 * across:.1f},{200 - 200 * (y - bottom) / (top - bottom):.1f}"

    def path(values: list[float]) -> str:
        return " ".join(place(x, y) for x, y in zip(xs, values, strict=True))

    smooth = len(ys) >= 3 * SMOOTH
    lines = f'<polyline class="{"raw" if smooth else "curve"}" points="{path(ys)}"/>'
    if smooth:
        lines += f'<polyline class="curve" points="{path(_moving_mean(ys))}"/>'
    rows = "".join(
        f'<line class="grid" x1="0" x2="1000" y1="{place(left, t).split(",")[1]}" y2="{place(left, t).split(",")[1]}"/>'
        for t in ticks
    )
    scale = 100 if curve.percent else 1
    labels = "".join(
        f'<span style="bottom:{100 * (t - bottom) / (top - bottom):.1f}%">{_short(t * scale)}</span>' for t in ticks
    )
    last = _moving_mean(ys)[-1] if smooth else ys[-1]
    unit = " %" if curve.percent else ""
    return Markup(
        '<figure class="chart"><figcaption><b>{}</b> <span>{}</span></figcaption>'
        f'<div class="plot"><div class="ylabels">{labels}</div>'
        '<svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" aria-label="{}">'
        f"{rows}{lines}</svg></div>"
        f'<div class="xlabels"><span>{_short(left)}</span><span>step</span><span>{_short(right)}</span></div></figure>'
    ).format(curve.title, curve.note, f"{curve.title}: {_short(ys[0] * scale)} to {_short(last * scale)}{unit}")


def _moving_mean(values: list[float]) -> list[float]:
    """Windows shrink towards both ends, so that a steep start is not flattened, but to no fewer than three values."""
    last = len(values) - 1
    halves = [min(SMOOTH // 2, max(2, min(i, last - i))) for i in range(len(values))]
    windows = [values[max(0, i - half) : i + half + 1] for i, half in enumerate(halves)]
    return [sum(w) / len(w) for w in windows]


def _ticks(low: float, high: float) -> list[float]:
    """Three to five round numbers that cover the range."""
    if high - low < 1e-12:
        low, high = low - max(abs(low), 1) * 0.5, high + max(abs(high), 1) * 0.5
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 4)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
