"""One command of `recipes` in a forked child that meets a fault: killed, or its disk full, at a stated moment.

The parent has loaded the heavy libraries, so that a child begins to work at once. What the child does is written, as it
happens, to a file that outlives it: stages, training steps and the files that it opens, renames or removes.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate")


@dataclass(frozen=True)
class Fault:
    """SIGKILL, or a full disk, in a stage: after so many seconds of it, or at its file operation of that number."""

    stage: str
    seconds: float | None = None
    operation: int | None = None
    full: bool = False


@dataclass
class Outcome:
    """What became of one command. Times in seconds of the monotonic clock; `ended_wall` since the epoch."""

    code: int
    text: str = ""
    hit: bool = False
    left: int = 0  # processes that outlived it
    ended: float = 0.0
    ended_wall: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage
    sites: dict[str, list[str]] = field(default_factory=dict)  # stage -> names of files, in order of the operations
    started: dict[str, int] = field(default_factory=dict)  # stage -> step from which its training went on
    steps: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # stage -> (step, when it was done)

    @classmethod
    def join(cls, outcomes: list["Outcome"]) -> "Outcome":
        """Several commands that followed one another as one."""
        whole = cls(outcomes[-1].code)
        for one in outcomes:
            for name in ("seconds", "sites", "started", "steps"):
                getattr(whole, name).update(getattr(one, name))
        return whole


def preload(base: Path) -> None:
    """Load what the commands use, and write a random base of two layers. One thread only, or a fork would hang."""
    import lm_eval.tasks  # noqa: F401
    import openai  # noqa: F401
    import torch
    import trl  # noqa: F401

    from recipes.models import lm_eval_run, rl_trainer, sft_trainer  # noqa: F401
    from recipes.report import build  # noqa: F401
    from tests.helpers.tiny_text import tiny_model

    torch.set_num_threads(1)
    tiny_model(base)


def give_command(words: list[str], fault: Fault | None) -> Outcome:
    """Carry out one command in a child and read what it left."""
    with tempfile.TemporaryDirectory() as folder:
        events, said = Path(folder, "events"), Path(folder, "said")
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            carry_out(words, fault, events, said)
        _, status = os.waitpid(child, 0)
        outcome = Outcome(os.waitstatus_to_exitcode(status), said.read_text(encoding="utf-8", errors="replace"))
        outcome.ended, outcome.ended_wall = time.monotonic(), time.time()
        outcome.left = end_group(child)
        read_events(outcome, events.read_text(encoding="utf-8"))
        return outcome


def end_group(group: int) -> int:
    """1 where a process of the child's group is still there ten seconds after it; it is ended then."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return 0
        with suppress(ChildProcessError):
            os.waitpid(-group, os.WNOHANG)
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return 1


def carry_out(words: list[str], fault: Fault | None, events: Path, said: Path) -> None:
    """The child's part; does not return."""
    os.setsid()
    output = os.open(said, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    code = 99
    try:
        watch = Watcher(os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND), fault, words)
        watch.look_on()
        from recipes import cli

        code = cli.main(words)
        watch.stage = None
    except BaseException as error:
        print(f"Traceback: {error!r}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Watcher:
    """Writes down what the child does and lets the fault happen."""

    def __init__(self, events: int, fault: Fault | None, words: list[str]):
        self.events, self.fault, self.stage, self.count = events, fault, None, 0
        self.folder = words[words.index("--runs") + 1].removesuffix("/runs")

    def write(self, *event: Any) -> None:
        os.write(self.events, (json.dumps([self.stage, time.monotonic(), *event]) + "\n").encode())

    def look_on(self) -> None:
        """Have the stages, the training steps and the file operations pass by here."""
        from recipes import pipeline
        from recipes.commands import export
        from recipes.models.training import Watch

        pipeline.make = self.wrap_stage(pipeline.make, lambda job, step, *rest: step.name)
        pipeline.report = self.wrap_stage(pipeline.report, lambda *rest: "report")
        export.run = self.wrap_stage(export.run, lambda *rest, **more: "export")
        begin, end = Watch.on_train_begin, Watch.on_step_end

        def on_train_begin(watch: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            self.write("begin", state.global_step)
            return begin(watch, args, state, control, **kwargs)

        def on_step_end(watch: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            self.write("step", state.global_step)
            return end(watch, args, state, control, **kwargs)

        Watch.on_train_begin, Watch.on_step_end = on_train_begin, on_step_end
        sys.addaudithook(self.hear)

    def wrap_stage(self, function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        """`function` as the stage that it is."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.stage, self.count = name(*args, **kwargs), 0
            self.write("enter")
            if self.fault and self.fault.stage == self.stage and self.fault.seconds is not None:
                timer = threading.Timer(self.fault.seconds, self.kill, [self.stage])
                timer.daemon = True
                timer.start()
            result = function(*args, **kwargs)
            self.write("leave")
            self.stage = None
            return result

        return run

    def kill(self, stage: str) -> None:
        """End this process where it is still in that stage."""
        if self.stage == stage:
            self.write("hit")
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit hook: counts what changes files in the place of the results."""
        if self.stage is None or not (event in CHANGES or (event == "open" and writes(*args[1:]))):
            return
        name = args[0]
        name = os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""
        if not name.startswith(self.folder):
            return
        self.write("site", name[len(self.folder) :])
        number, self.count = self.count, self.count + 1
        fault = self.fault
        if fault is None or fault.operation != number or fault.stage != self.stage:
            return
        if not fault.full:
            self.kill(self.stage)
        elif event in ("open", "os.mkdir"):
            self.write("hit")
            raise OSError(28, "No space left on device", name)


def writes(mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be written."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "r" not in (mode or "r")


def read_events(outcome: Outcome, text: str) -> None:
    """Fill an outcome from what the child wrote down."""
    entered = {}
    for line in text.splitlines():
        stage, moment, kind, *rest = json.loads(line)
        if kind == "enter":
            entered[stage] = moment
        elif kind == "leave":
            outcome.seconds[stage] = moment - entered[stage]
        elif kind == "hit":
            outcome.hit = True
        elif kind == "begin":
            outcome.started[stage] = rest[0]
        elif kind == "step":
            outcome.steps.setdefault(stage, []).append((rest[0], moment))
        elif kind == "site":
            outcome.sites.setdefault(stage, []).append(rest[0])
