"""Peak memory of a piece of work, sampled: the kernel's own peak counts the whole life of the process. On a GPU torch
counts by itself."""

import os
import sys
import threading
from pathlib import Path
from typing import Any, Self

EVERY = 0.2  # seconds between samples
STATM = Path("/proc/self/statm")


class PeakMemory:
    """A context manager; `bytes` is the highest resident size seen inside it, None where the system does not tell.

    `gpu_bytes` is the most that tensors of this process took of its GPU inside it, None where it has used none.
    """

    def __init__(self) -> None:
        self.bytes: int | None = None
        self.gpu_bytes: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if gpu := used_gpu():
            gpu.reset_peak_memory_stats()
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        if gpu := used_gpu():
            self.gpu_bytes = gpu.max_memory_allocated()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            self._sample()

    def _sample(self) -> None:
        try:
            pages = int(STATM.read_text(encoding="ascii").split()[1])
        except OSError:
            return
        self.bytes = max(self.bytes or 0, pages * os.sysconf("SC_PAGE_SIZE"))


def used_gpu() -> Any:
    """torch.cuda where this process has used a GPU, else None. Work that needs no torch does not load it for this."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_initialized() else None
