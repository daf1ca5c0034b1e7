"""Numbers and texts as readers want them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from recipes.base.durations import format_duration, format_size

LONGEST_TEXT = 1_500  # characters of a reply or training row that the page shows; the samples files hold the rest


def percent(value: float) -> str:
    """0.683 -> '68.3'."""
    return f"{100 * value:.1f}"


def plain_percent(value: float) -> str:
    """For running text: 0.683 -> '68.3', 0.7 -> '70'."""
    return percent(value).removesuffix(".0")


def points(value: float) -> str:
    text = plain_percent(value)
    return f"{text} point" if text == "1" else f"{text} points"


def signed(value: float) -> str:
    """0.19 -> '+19.0', in points."""
    return f"{100 * value:+.1f}".replace("-", "−")


def span(bounds: Any) -> str:
    """Anything with low and high, as per cent: '62.9–73.3'."""
    return f"{percent(bounds.low)}–{percent(bounds.high)}"


def signed_span(bounds: Any) -> str:
    """Anything with low and high, as points: '+14.0 to +24.1'."""
    return f"{signed(bounds.low)} to {signed(bounds.high)}"


def p_value(value: float | None) -> str:
    """Three decimals, '<0.001' below them, a dash for None."""
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """`4.2 s`, `3 min 05 s`, `2 h 10 min`; a dash for None."""
    return "–" if seconds is None else format_duration(seconds)


def size(count: float | None) -> str:
    """Bytes as `31 MB` or `1.43 GB`; a dash for None."""
    return "–" if count is None else format_size(count)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if math.isfinite(value) else str(value)


def date(seconds: float | None) -> str:
    """Seconds since 1970 as a day and minute in UTC."""
    return "–" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def cut(text: str) -> str:
    left = len(text) - LONGEST_TEXT
    return text if left <= 0 else f"{text[:LONGEST_TEXT]} … ({left:,} more characters)"


def one_line(text: str) -> str:
    """The first line, at most 160 characters."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= 160 else f"{line[:159]}…"


def cell(text: str) -> str:
    """Text for a Markdown table: one line, no markup of its own."""
    text = " ".join(str(text).split())
    for sign in "\\`*[]<>|":
        text = text.replace(sign, f"&#{ord(sign)};")
    return text
