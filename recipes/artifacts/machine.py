"""The device that a step runs on, found without torch: how much memory it has, and whether it computes in bf16."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from recipes.artifacts.provenance import gpus
from recipes.base.errors import RecipeError

FORM = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True)
class Machine:
    """`gpu_bytes` is the memory of each of `gpus` GPUs, `ram` that of the machine.

    A step runs on one device: the first GPU, or the CPU where there is none.
    """

    gpus: int = 0
    gpu_bytes: float = 0.0
    ram: float = 0.0
    bf16: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether steps run on a GPU."""
        return self.gpus > 0

    @property
    def room(self) -> float:
        """Bytes of the device that a step runs on."""
        return self.gpu_bytes if self.on_gpu else self.ram


def parse_machine(text: str) -> Machine:
    """`8x80`: eight GPUs of 80 GB, with bf16.

    Raises:
        RecipeError: it is of another form.
    """
    found = FORM.fullmatch(text)
    if not found or not int(found[1]):
        raise RecipeError(
            "no such machine", where="--on", got=text, allowed="COUNTxGB of its GPUs, such as 1x24 or 8x80"
        )
    return Machine(int(found[1]), int(found[2]) * 1e9, 0.0, True)


def find_machine() -> Machine:
    """The hardware at hand; a GPU whose memory `nvidia-smi` does not tell counts as unlimited."""
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    names = gpus()
    if names:
        return Machine(len(names), ask_gpu_memory() or float("inf"), ram, True)
    return Machine(0, 0.0, ram, has_bf16())


def ask_gpu_memory() -> float | None:
    """Bytes of the smallest GPU; None where nvidia-smi is not there or says nothing."""
    words = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout
        return min(float(line) for line in said.split("\n") if line.strip()) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def has_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware (AMX or AVX512-BF16)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_tile" in flags
