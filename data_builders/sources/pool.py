"""Units of a corpus through reading processes with limits, in order.

Every process is a Python of its own (`python -m data_builders.sources.worker`) with a bound on its memory; it takes one
unit a line and gives one reply a line, JSON both. A unit that takes too long, or brings its process down, is reported
as a document that cannot be read, and a new process takes its place.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from data_builders.core.schema import Node
from data_builders.sources.facts import SidecarNode
from data_builders.sources.nodes import Reply, read_unit
from data_builders.sources.sources import TEXT
from recipes.base.errors import RecipeError

SMALL = 2**20  # bytes; a corpus of Markdown below it is read in this process
ROOT = Path(__file__).resolve().parents[2]


def read(units, settings, shared, workers=None):
    """Yields (unit, Reply) in the order of the units, (Unit, bytes) pairs; at most a few units are under way."""
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
    count = workers or cores()
    with Crew(count, settings, shared) as crew:
        waiting = deque((unit, crew.submit(unit)) for unit in first)
        for unit, _ in units:
            waiting.append((unit, crew.submit(unit)))
            while len(waiting) > 2 * count:
                unit, future = waiting.popleft()
                yield unit, future.result()
        while waiting:
            unit, future = waiting.popleft()
            yield unit, future.result()


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew:
    """`count` reading processes, each served by a thread of its own."""

    def __init__(self, count, settings, shared):
        self.settings = settings
        self.opening = encode({"settings": asdict(settings), "shared": asdict(shared)})
        self.own, self.all, self.lock = threading.local(), [], threading.Lock()
        self.threads = ThreadPoolExecutor(count, thread_name_prefix="reader")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.threads.shutdown(wait=False, cancel_futures=True)
        with self.lock:
            for process, _ in self.all:
                process.kill()
        self.threads.shutdown(wait=True)
        for process, errors in self.all:
            process.wait()
            process.stdout.close()
            errors.close()
            with suppress(OSError):  # what was not sent yet is of no use any more
                process.stdin.close()

    def submit(self, unit):
        return self.threads.submit(self.ask, unit)

    def process(self):
        """This thread's process; a new one where there is none that lives."""
        process = getattr(self.own, "process", None)
        if process is None or process.poll() is not None:
            self.own.errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
            environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
            process = self.own.process = subprocess.Popen(
                [sys.executable, "-m", "data_builders.sources.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.own.errors,
                env=environment,
            )
            with self.lock:
                self.all.append((process, self.own.errors))
            process.stdin.write(self.opening)
        return process

    def ask(self, unit):
        """The reply to one unit, whatever happens to the process that reads it."""
        limit, late = self.settings.limits.seconds, threading.Event()
        process = self.process()

        def stop():
            late.set()
            process.kill()

        timer = threading.Timer(limit, stop)
        timer.start()
        try:
            process.stdin.write(encode(asdict(unit)))
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            return decode(line)
        process.kill()
        process.wait()
        self.own.errors.seek(0)
        last = self.own.errors.read()[-2000:].decode("utf-8", "replace").strip().split("\n")[-1]
        code = process.returncode
        last = last or (
            f"signal {signal.Signals(-code).name}, as where memory runs out" if code < 0 else f"code {code}"
        )
        memory = f"{self.settings.limits.memory_bytes / 2**30:g} GiB of memory"
        got = f"more than {limit:g} s" if late.is_set() else f"the reading process ended: {last}"
        return Reply(
            error=RecipeError(
                "A document could not be read within the limits.",
                where=str(Path(self.settings.folder) / unit.name),
                got=got,
                allowed=f"{limit:g} s and {memory}",
                fix="look whether the file is damaged; cut it, or move it out of the corpus",
            )
        )


def encode(value):
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def decode(line):
    """A Reply from the line that worker.main wrote."""
    raw = json.loads(line)
    if raw["error"] is not None:
        what, *rest = raw["error"]
        return Reply(error=RecipeError(what, **dict(zip(("where", "got", "allowed", "fix"), rest, strict=True))))
    tuples = ("path", "flags", "pages", "span")
    nodes = tuple(
        Node(**{key: tuple(value) if key in tuples and value is not None else value for key, value in node.items()})
        for node in raw["nodes"]
    )
    facts = {node_id: SidecarNode.model_validate(entry) for node_id, entry in raw["facts"].items()}
    terms = {node_id: tuple(found) for node_id, found in raw["terms"].items()}
    return Reply(nodes, facts, terms, [tuple(row) for row in raw["drops"]], raw["kept"], raw["unknown"])
