"""Peak memory of a piece of work, sampled: the kernel's own peak counts the whole life of the process."""

import os
import threading
from pathlib import Path

EVERY = 0.2  # seconds between samples
STATM = Path("/proc/self/statm")


class PeakMemory:
    """A context manager; `bytes` is the highest resident size seen inside it, None where the system does not tell."""

    def __init__(self):
        self.bytes = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self):
        while not self._stop.wait(EVERY):
            self._sample()

    def _sample(self):
        try:
            pages = int(STATM.read_text().split()[1])
        except OSError:
            return
        self.bytes = max(self.bytes or 0, pages * os.sysconf("SC_PAGE_SIZE"))
