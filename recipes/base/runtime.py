"""What a stage may ask of the place it runs in: progress for people, and what was predicted. Never identity."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from recipes.base.durations import format_duration
from recipes.base.redact import mask

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN_SECONDS = 10.0  # a log line at most this often where the output is not a terminal


class Bar:
    """Progress of one piece of work: `advance(n, note)` counts up, `total` may be corrected while it runs."""

    def __init__(self, title: str, total: int | None, unit: str, show: Callable[[Bar], None]) -> None:
        self.title, self.total, self.unit, self.note = title, total, unit, ""
        self.done, self.started, self._show = 0, time.monotonic(), show

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Count `n` more units done; `note` (the last loss or reward, say) stays until the next one."""
        self.done += n
        if note is not None:
            self.note = note
        self._show(self)

    def line(self) -> str:
        """One plain line: done of total, rate, time left, last note."""
        rate = self.done / max(time.monotonic() - self.started, 1e-9)
        parts = [f"{self.title}: {self.done:,}{f'/{self.total:,}' if self.total else ''} {self.unit}"]
        parts.append(f"{rate:,.0f} {self.unit}/s" if rate >= 100 else f"{rate:.2g} {self.unit}/s")
        if self.total and 0 < self.done < self.total:
            parts.append(f"{format_duration((self.total - self.done) / rate)} left")
        return " · ".join(parts + ([self.note] if self.note else []))


class Runtime:
    """Where a stage runs. `predicted` is the `Forecast.predicted` of the stage.

    `runs` is the folder of all results, where recipes share what a teacher was paid for, or None.

    On a terminal `bar` draws a live line; elsewhere it writes a plain line at most every ten seconds, so that logs stay
    readable. `stream` is the text stream both write to.
    """

    def __init__(self, stream: TextIO | None = None, predicted: Any = None) -> None:
        self.stream = stream or sys.stdout
        self.predicted = predicted
        self.runs: Path | None = None
        self._live: Progress | None = None

    def say(self, text: str) -> None:
        """Write one line, without secrets; a live bar stays below it."""
        text = mask(text)
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    @contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        """A `Bar` for `total` units of work (0 or None where it is not known yet); nested bars share the display."""
        if self.stream.isatty():
            yield from self._live_bar(title, total, unit)
        else:
            yield from self._plain_bar(title, total, unit)

    def _plain_bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        last = time.monotonic()

        def show(bar: Bar) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_SECONDS:
                last = time.monotonic()
                self.say(bar.line())

        bar = Bar(title, total, unit, show)
        yield bar
        if bar.done:
            self.say(f"{bar.line()} · took {format_duration(time.monotonic() - bar.started)}")

    def _live_bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        outermost = self._live is None
        live = self._live
        if live is None:
            columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
            live = self._live = Progress(*columns, console=Console(file=self.stream), transient=True)
            live.start()
        task = live.add_task(title, total=total or None)
        bar = Bar(
            title,
            total,
            unit,
            lambda b: live.update(task, completed=b.done, total=b.total or None, description=b.line()),
        )
        try:
            yield bar
        finally:
            live.remove_task(task)
            if outermost:
                live.stop()
                self._live = None
        if bar.done:
            self.say(f"{bar.line()} · took {format_duration(time.monotonic() - bar.started)}")
