"""The sandbox's own process, which eval.sandbox starts as a script: it forks one child for each program.

Standard input carries jobs and standard output results, both as lines of JSON; the first line out says what the kernel
let us do: {"seccomp": bool, "network": bool}. A program runs in a fork that has closed
every file but the pipe for its output, leads a process group of its own, has given up root, set limits on processor
time, memory, files and processes, and then closed two doors behind it:

- on Linux (x86-64, arm64) a seccomp filter, with which the kernel itself refuses every system call but those for
  memory, time, exit and writing;
- an audit hook that refuses every event of the interpreter but compiling and executing: no open, import or socket.

Without the filter no program runs, unless the job says that it may. Modules are loaded before that, so what a program
may import is in memory already. Where the kernel lets us, the whole process has a network namespace of its own with
nothing in it; where it does not, the filter refuses sockets all the same.
"""

import array
import bisect
import builtins
import cmath
import collections
import contextlib
import copy
import ctypes
import datetime
import decimal
import fractions
import functools
import hashlib
import heapq
import itertools
import json
import math
import operator
import os
import random
import re
import resource
import select
import signal
import statistics
import string
import sys
import time
import types
import typing

IMPORTS = {
    module.__name__: module
    for module in (
        *(array, bisect, cmath, collections, copy, datetime, decimal, fractions, functools, hashlib),
        *(heapq, itertools, math, operator, random, re, statistics, string, typing),
    )
}
# What a solution asks of `sys`: numbers of the interpreter, and how deep it may call. The module itself stays out.
IMPORTS["sys"] = types.SimpleNamespace(
    **{name: getattr(sys, name) for name in ("byteorder", "float_info", "int_info", "maxsize", "maxunicode")},
    **{name: getattr(sys, name) for name in ("platform", "version", "version_info")},
    argv=[""],
    getrecursionlimit=lambda: sys.getrecursionlimit(),
    setrecursionlimit=lambda most: sys.setrecursionlimit(min(most, DEEPEST)),
)
DEEPEST = 50_000  # calls; the stack of a process holds so many
for _name in hashlib.algorithms_guaranteed:  # OpenSSL reads its settings at the first use, which a program may not
    hashlib.new(_name)
EVENTS = frozenset(["compile", "exec", "builtins.id", "array.__new__"])
WITHHELD = ("open", "input", "breakpoint", "exit", "quit", "help")
EMPTIED = ("os", "posix", "ctypes", "_ctypes", "resource", "signal", "_signal", "select", "_imp")
NOBODY = 65534
NEW_NET, NEW_USER = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER in <linux/sched.h>
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER
# Audit architecture, and the numbers of write, mmap, mprotect, munmap, brk, rt_sigaction, rt_sigprocmask, rt_sigreturn,
# mremap, madvise, exit, gettimeofday, futex, clock_gettime, exit_group, getrandom: the kernel's own tables.
CALLS = {
    "x86_64": (0xC000003E, (1, 9, 10, 11, 12, 13, 14, 15, 25, 28, 60, 96, 202, 228, 231, 318)),
    "aarch64": (0xC00000B7, (64, 222, 226, 215, 214, 134, 135, 139, 216, 233, 93, 169, 98, 113, 94, 278)),
}


class Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(Instruction)))


class Printed:
    """Standard output of a program: text up to a limit, an error beyond it."""

    def __init__(self, limit):
        self.parts, self.left = [], limit

    def write(self, text):
        if len(text) > self.left:
            raise ValueError("too much output")
        self.left -= len(text)
        self.parts.append(text)
        return len(text)

    def flush(self):
        pass


def leave_the_network():
    """Move into an empty network namespace; False where the kernel does not let us."""
    if not sys.platform.startswith("linux"):
        return False
    unshare = ctypes.CDLL(None).unshare
    return unshare(NEW_NET) == 0 or unshare(NEW_USER | NEW_NET) == 0


def give_up_root():
    # In a user namespace without other users there is nobody to become, and root there is not root outside.
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)


def limit(job):
    """Hard limits of this process: seconds of processor time, bytes of memory, no file, process or core."""
    for what, most in (
        (resource.RLIMIT_CPU, job["cpu_seconds"]),
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def filter_calls():
    """Let the kernel refuse (EPERM) every system call but those in CALLS; False on a machine without a table."""
    machine = os.uname().machine
    if not sys.platform.startswith("linux") or machine not in CALLS:
        return False
    architecture, calls = CALLS[machine]
    load, equal, leave = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    count = len(calls)
    code = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 0, count + 1, architecture),
        (load, 0, 0, 0),  # seccomp_data.nr
        *((equal, count - place, 0, number) for place, number in enumerate(calls)),
        (leave, 0, 0, 0x00050001),  # SECCOMP_RET_ERRNO | EPERM
        (leave, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    ]
    instructions = (Instruction * len(code))(*code)
    prctl = ctypes.CDLL(None).prctl
    if prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return False
    return prctl(SECCOMP, FILTER, ctypes.byref(Filter(len(code), instructions)), 0, 0) == 0


def close_doors():
    """The audit hook, and no way back to the functions of the system through modules that are loaded."""
    allowed = EVENTS

    def refuse(event, arguments):
        if event not in allowed:
            raise PermissionError(event)

    sys.addaudithook(refuse)
    for name in EMPTIED:
        if name in sys.modules:
            vars(sys.modules[name]).clear()


def importer(name, globals=None, locals=None, fromlist=(), level=0):
    if level or name not in IMPORTS:
        raise ImportError(f"{name} may not be imported here")
    return IMPORTS[name]


def execute(program, output_chars):
    """What a program prints, or else what its function `solution()` returns; None where it fails."""
    allowed = {name: value for name, value in vars(builtins).items() if name not in WITHHELD}
    names = {"__builtins__": allowed | {"__import__": importer}, "__name__": "__main__"}
    sys.stdout = IMPORTS["sys"].stdout = printed = Printed(output_chars)
    random.seed(0)  # the same program gives the same output
    try:
        exec(compile(program, "<program>", "exec"), names)
        if not "".join(printed.parts).strip() and callable(names.get("solution")):
            printed.write(str(names["solution"]()))
        return "".join(printed.parts)
    except BaseException:  # whatever a program raises, SystemExit and MemoryError too, is its failure
        return None


def child(program, job):
    """Never returns. Standard output is the pipe to the parent."""
    write, leave = os.write, os._exit
    try:
        give_up_root()
        limit(job)
        if not filter_calls() and not job["without_seccomp"]:
            leave(1)
        close_doors()
        text = execute(program, job["output_chars"])
        if text is not None:
            write(1, json.dumps(text).encode())
            leave(0)
    finally:
        leave(1)


def start(program, job):
    """Fork for a program: (process id, file descriptor that its output comes from)."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid:
        os.close(send)
        return pid, receive
    try:
        os.setpgid(0, 0)
        os.dup2(send, 1)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 2)
        os.closerange(3, 1024)
        child(program, job)
    finally:
        os._exit(1)


def stop(pid):
    """Kill a program with all that it may have started; its exit status."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def run_all(job):
    """One [finished in time, output or None] for each program, so many at once as the job says."""
    programs, results, running = job["programs"], {}, {}
    waiting = list(enumerate(programs))[::-1]
    most = 6 * job["output_chars"] + 100  # as JSON
    while waiting or running:
        while waiting and len(running) < job["workers"]:
            place, program = waiting.pop()
            pid, pipe = start(program, job)
            running[pipe] = (place, pid, time.monotonic() + job["wall_seconds"], bytearray())
        soonest = min(until for _, _, until, _ in running.values())
        ready = select.select(list(running), [], [], max(0.0, soonest - time.monotonic()))[0]
        for pipe, (place, pid, until, output) in list(running.items()):
            late = time.monotonic() >= until
            chunk = os.read(pipe, 65536) if pipe in ready else None
            output += chunk or b""
            if chunk == b"" or late or len(output) > most:
                os.close(pipe)
                stop(pid)
                del running[pipe]
                results[place] = [chunk == b"", text_of(output) if chunk == b"" else None]
    return [results[place] for place in range(len(programs))]


def text_of(output):
    try:
        text = json.loads(bytes(output))
    except ValueError:
        return None
    return text if isinstance(text, str) else None


def can_filter():
    """Whether the kernel takes the filter, tried in a fork."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if filter_calls() else 1)
    return os.waitpid(pid, 0)[1] == 0


def main():
    level = {"seccomp": can_filter(), "network": leave_the_network()}
    os.write(1, json.dumps(level).encode() + b"\n")
    for line in sys.stdin.buffer:
        os.write(1, json.dumps(run_all(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main()
