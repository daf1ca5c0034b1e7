"""Threads on a machine where other things run too: they wait without spinning, and take only cores that are free."""

import os
import sys
import time

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
SAMPLE_SECONDS = 0.25
BUSY = 0.5  # of a core's time that others use: more of it counts as a core in use


def wait_passively() -> None:
    """Let threads that wait give up their core, unless the user chose otherwise; must precede the import of torch.

    OpenMP's threads spin by default. On a core that is shared, one waits for another that cannot run, and all slow down
    ten-fold.
    """
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


def count_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_idle() -> tuple[float, float] | None:
    """(seconds that all cores were free, seconds that they had) since the start of the machine; None where unknown.

    What niced processes use counts as free for a process that is not niced: they give way.
    """
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    scale = os.sysconf("SC_CLK_TCK")
    yielding = ticks[1] if os.nice(0) <= 0 else 0
    return (yielding + ticks[3] + ticks[4]) / scale, sum(ticks) / scale


def count_free_cores() -> int:
    """Cores that other processes leave free now, at least one; all of them where the machine does not say."""
    cores, before = count_cores(), read_idle()
    if before is None:
        return cores
    time.sleep(SAMPLE_SECONDS)
    after = read_idle()
    if after is None or after[1] <= before[1]:
        return cores
    idle = (after[0] - before[0]) / (after[1] - before[1]) * (os.cpu_count() or 1)
    return max(1, min(cores, int(idle + BUSY)))


def choose_threads() -> int | None:
    """Threads that torch uses from now on: one for each free core; None where the user set them."""
    if "OMP_NUM_THREADS" in os.environ:
        return None
    threads = count_free_cores()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    return threads
