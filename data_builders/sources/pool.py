"""Units of a corpus through reading processes with limits, in order.

The processes are new Python interpreters, each with a bound on its memory, and are given one unit at a time. A unit
that takes too long, or brings its process down, is reported as a document that cannot be read, and a new process takes
its place.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLong
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from data_builders.sources.document import Limits, Settings, Shared
from data_builders.sources.nodes import Reply, read_unit
from data_builders.sources.sources import TEXT, Unit
from recipes.base.cpu import count_cores
from recipes.base.errors import RecipeError

if TYPE_CHECKING:
    from pebble import ProcessPool

SMALL = 2**20  # bytes; a corpus of Markdown below it is read in this process

_given: tuple[Settings, Shared] | None = None  # in a reading process: what all units share


def read(
    units: Iterable[tuple[Unit, int]], settings: Settings, shared: Shared, workers: int | None = None
) -> Iterator[tuple[Unit, Reply]]:
    """Yields (unit, Reply) in the order of the units, (Unit, bytes) pairs; at most a few units are under way.

    Raises RecipeError where no reading process can be started.
    """
    units = iter(units)
    first, total, foreign = [], 0, False
    for unit, size in units:
        first.append(unit)
        total += size
        foreign = foreign or Path(unit.name).suffix.lower() not in (*TEXT, ".jsonl")
        if foreign or total > SMALL:
            break
    else:
        if workers is None:
            for unit in first:
                yield unit, read_unit(unit, settings, shared)
            return
    count = workers or count_cores()
    pool, waiting = start_pool(count, settings, shared), deque()
    try:
        for unit in chain(first, (unit for unit, _ in units)):
            waiting.append((unit, pool.schedule(_read, (unit,), timeout=settings.limits.seconds)))
            if len(waiting) > 2 * count:
                unit, future = waiting.popleft()
                yield unit, reply_of(future, unit, settings)
        while waiting:
            unit, future = waiting.popleft()
            yield unit, reply_of(future, unit, settings)
    finally:
        pool.stop()
        pool.join()


def start_pool(count: int, settings: Settings, shared: Shared) -> ProcessPool:
    """A pool of `count` reading processes; they start with the first unit. Its owner stops and joins it."""
    from multiprocessing import get_context

    from pebble import ProcessPool

    # spawned, not forked: a process of its own memory, without torch and without the threads of this one
    return ProcessPool(count, initializer=_begin, initargs=(settings, shared), context=get_context("spawn"))


def _begin(settings: Settings, shared: Shared) -> None:
    """The start of a reading process: its limits, and what all units share."""
    global _given
    _given = settings, shared
    _bound_memory(settings.limits.memory_bytes)
    signal.signal(
        signal.SIGTERM, signal.SIG_DFL
    )  # it leaves nothing to tidy up, so it ends in the middle of C code too
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # last words of a library in C; exceptions come back by themselves


def _bound_memory(size: int) -> None:
    """An upper bound in bytes on this process's address space, where the system has one; no core dumps."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # the time limit still holds


def _read(unit: Unit) -> Reply:
    """One unit, in a reading process."""
    assert _given is not None, "a reading process begins with _begin"
    return read_unit(unit, *_given)


def reply_of(future: Future[Reply], unit: Unit, settings: Settings) -> Reply:
    """The reply to one unit, whatever happened to the process that read it."""
    from concurrent.futures.process import BrokenProcessPool

    from pebble import ProcessExpired

    limits = settings.limits
    try:
        return future.result()
    except TooLong:
        got = f"more than {limits.seconds:g} s"
    except MemoryError:
        got = f"more than {_memory(limits)}"
    except ProcessExpired as error:
        got = f"the reading process ended: {_end(error.exitcode)}"
    except BrokenProcessPool as error:
        raise RecipeError(
            "The processes that read a corpus do not start.",
            where=settings.folder,
            got=str(error),
            fix='a script that starts this run begins with `if __name__ == "__main__":`; else raise the limit on '
            "processes or memory of this account",
        ) from error
    except Exception as error:  # a fault of a reader is a fault of one document
        got = f"the reading process ended: {type(error).__name__}: {error}"
    return Reply(
        error=RecipeError(
            "A document could not be read within the limits.",
            where=str(Path(settings.folder) / unit.name),
            got=got,
            allowed=f"{limits.seconds:g} s and {_memory(limits)}",
            fix="look whether the file is damaged; cut it, or move it out of the corpus",
        )
    )


def _memory(limits: Limits) -> str:
    return f"{limits.memory_bytes / 2**30:g} GiB of memory"


def _end(code: int) -> str:
    """What an exit code says, in words."""
    if code >= 0:
        return f"code {code}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-code).name}, as where memory runs out"
    return f"signal {-code}"
