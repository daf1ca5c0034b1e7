"""Run Python that a model wrote and give back what it prints; eval/sandbox/child.py says what holds it in.

One sandbox process is started when the first program comes (`python -I -S`, empty environment, an empty temporary
folder as working directory) and forks a child for each program, which costs a few milliseconds. It ends with this
process. Where the kernel takes no seccomp filter (not Linux, not x86-64 or arm64, or a container that forbids it)
nothing is run, unless the environment variable SANDBOX_WITHOUT_SECCOMP is 1.
"""

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from recipes.base.cpu import count_cores

VERSION = 2

CHILD = Path(__file__).with_name("child.py")
START_SECONDS = 30  # for the process to say how it is held in
WITHOUT_SECCOMP = "SANDBOX_WITHOUT_SECCOMP"  # environment variable
REMEMBERED = 10_000  # programs whose output is kept: a reply is read more than once, and samples repeat


@dataclass(frozen=True)
class Limits:
    """What one program may use. Memory is address space, the interpreter's own included (some 40 MB)."""

    cpu_seconds: int = 1
    wall_seconds: float = 4.0
    memory_bytes: int = 256 * 2**20
    output_chars: int = 1_000
    program_chars: int = 4_000  # a longer program is not run


@dataclass(frozen=True)
class Level:
    """What holds programs in, beside the limits and the interpreter's audit hook.

    `seccomp`: the kernel refuses every system call but a few; `network`: there is none to be reached in any case.
    """

    seccomp: bool
    network: bool


class _Sandbox:
    """The running process. `owner` is the process that started it: a fork of that one must not share its pipes."""

    def __init__(self):
        if not hasattr(os, "fork"):
            raise RuntimeError("programs can be graded only where processes can fork (Linux, macOS)")
        self.owner = os.getpid()
        self.folder = tempfile.TemporaryDirectory(prefix="sandbox-")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd=self.folder.name,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None, "both are pipes"
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        told = self._line(START_SECONDS)
        if told is None:
            self.close()
            raise RuntimeError(f"the sandbox for programs did not start within {START_SECONDS} seconds")
        self.level = Level(**told)

    def ask(self, job, seconds):
        """The results of a job; None when the process has died or takes longer than that."""
        try:
            self.stdin.write(json.dumps(job).encode() + b"\n")
            self.stdin.flush()
        except OSError:
            return None
        return self._line(seconds)

    def _line(self, seconds):
        """The next line that the process writes, read as JSON; None when it dies or takes longer."""
        answer, until, pipe = bytearray(), time.monotonic() + seconds, self.stdout.fileno()
        while not answer.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                return None
            chunk = os.read(pipe, 65536)
            if not chunk:
                return None
            answer += chunk
        return json.loads(answer)

    def close(self):
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
            self.stdin.close()
            self.stdout.close()
            self.folder.cleanup()


_lock = threading.Lock()
_running: list[_Sandbox] = []
_outputs: dict[tuple[str, Limits], str | None] = {}


def outputs(programs: list[str], limits: Limits | None = None, workers: int | None = None) -> list[str | None]:
    """What each program prints (or else its `solution()` returns); None for one that fails or breaks a limit.

    Programs run `workers` at a time (as many as there are processors), so a batch takes at most about
    len(programs) / workers * limits.wall_seconds, and a few milliseconds each where they are short.
    """
    limits = limits or Limits()
    with _lock:
        new = [p for p in dict.fromkeys(programs) if len(p) <= limits.program_chars and (p, limits) not in _outputs]
        if len(_outputs) + len(new) > REMEMBERED:
            _outputs.clear()
            new = [p for p in dict.fromkeys(programs) if len(p) <= limits.program_chars]
        found = dict(zip(new, _run(new, limits, workers or count_cores()), strict=True)) if new else {}
        # One that ran out of wall-clock time may have met a busy machine, and gets another chance.
        _outputs.update({(program, limits): text for program, (in_time, text) in found.items() if in_time})
        return [found[p][1] if p in found else _outputs.get((p, limits)) for p in programs]


def level() -> Level:
    """How programs are held in on this machine; starts the sandbox where it does not run."""
    with _lock:
        return _started().level


def _run(programs: list[str], limits: Limits, workers: int) -> list[list]:
    """Raises RuntimeError where the kernel would not hold programs in and nobody has said that they may run so."""
    unheld = os.environ.get(WITHOUT_SECCOMP) == "1"
    job = {"programs": programs, "workers": workers, "without_seccomp": unheld, **asdict(limits)}
    seconds = 30 + limits.wall_seconds * (1 + len(programs) / workers)
    for _ in range(2):
        sandbox = _started()
        if not sandbox.level.seccomp and not unheld:
            raise RuntimeError(
                "programs are not run here: the kernel takes no seccomp filter (Linux on x86-64 or arm64 does, unless "
                f"a container forbids it), so only Python's audit hook holds them in; {WITHOUT_SECCOMP}=1 runs them "
                "all the same, for a machine on which nothing can be harmed"
            )
        if (results := sandbox.ask(job, seconds)) is not None:
            return results
        _close()
    return [[False, None]] * len(programs)


def _started() -> _Sandbox:
    """The sandbox of this process, started anew where it has died or belongs to the process that forked this one."""
    if _running and (_running[0].owner != os.getpid() or _running[0].process.poll() is not None):
        _close()
    if not _running:
        _running.append(_Sandbox())
    return _running[0]


@atexit.register
def _close() -> None:
    while _running:
        _running.pop().close()
