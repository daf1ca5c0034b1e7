"""A first guess of a step's time from arithmetic: its products over how fast this processor multiplies matrices."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from recipes.artifacts.provenance import device
from recipes.base.cpu import count_cores

SIZE, SECONDS = 768, 0.3  # of the matrices, and of the measurement
FORWARD, TRAIN = 2, 6  # products and sums for each weight and token: read or written; learnt from
# Share of that speed which a stage reaches: matrices are narrow, and not all is products. Set after one default run.
SHARE = 0.3


@dataclass(frozen=True)
class Pace:
    """`weights` of the base, `speed` in products and sums a second."""

    weights: int
    speed: float

    def guess_seconds(self, tokens: int, learns: bool) -> float:
        """Seconds for so many tokens; a guess that may be off several times."""
        work = tokens * self.weights * (TRAIN if learns else FORWARD)
        return work / (self.speed * SHARE)


def read_speed(file: Path) -> float:
    """Float32 products and sums a second of this processor; measured once for each hardware and kept in `file`, where
    its folder is there already."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    name = device()
    if not known.get(name):
        known[name] = measure_speed()
        if file.parent.is_dir():
            part = file.with_name(f"{file.name}.part")
            part.write_text(json.dumps(known, indent=1), encoding="utf-8")
            part.replace(file)
    return known[name]


def measure_speed() -> float:
    """The speed of one matrix product after another in numpy: by processor time, so that others' work does not count,
    times the cores. It ends after a second at most."""
    import numpy

    left = numpy.ones((SIZE, SIZE), dtype=numpy.float32)
    left @ left  # the first one starts threads
    clock, began, times = time.monotonic(), time.process_time(), 0
    while not times or (time.process_time() - began < SECONDS and time.monotonic() - clock < 1):
        left @ left
        times += 1
    return count_cores() * 2 * SIZE**3 * times / (time.process_time() - began)
