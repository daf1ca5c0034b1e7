"""The sandbox: what a program may do, what nothing lets it do, and that every limit ends it."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from eval import sandbox
from eval.sandbox import CHILD, Limits, outputs
from recipes.base.places import ROOT
from recipes.commands import doctor
from recipes.config.load import load

pytestmark = pytest.mark.slow

LINUX = sys.platform.startswith("linux")


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("print(3 * 4 + 5)", "17\n"),
        ("apples = 3\nprice = 4\nprint(apples * price)", "12\n"),
        ("def solution():\n    total = 3 + 4\n    return total", "7"),
        ("def solution():\n    return 1\nprint(2)", "2\n"),
        ("if __name__ == '__main__':\n    print(4)", "4\n"),
        ("import math\nfrom fractions import Fraction\nprint(math.gcd(12, 18) + Fraction(1, 2))", "13/2\n"),
        ("import datetime\nprint((datetime.date(2024, 3, 1) - datetime.date(2024, 2, 1)).days)", "29\n"),
        ("import random\nrandom.seed(3)\nvalues = random.sample(range(9), 9)\nprint(sorted(values)[4])", "4\n"),
        ("import hashlib\nprint(hashlib.md5(b'x').hexdigest()[:6])", "9dd4e4\n"),
        ("import sys\nsys.setrecursionlimit(9000)\nf = lambda n: n and 1 + f(n - 1)\nprint(f(5000))", "5000\n"),
        ("import sys\nsys.stdout.write(str(sys.maxsize > 2**31))", "True"),
        ("from array import array\nprint(sum(array('i', [1, 2])))", "3\n"),
        ("from decimal import Decimal\nprint(Decimal('1.1') * 2)", "2.2\n"),
        ("import itertools, statistics\nprint(statistics.mean(itertools.islice(itertools.count(), 5)))", "2\n"),
    ],
)
def test_an_honest_program_gives_what_it_prints_or_returns(program, printed):
    assert outputs([program]) == [printed]


def test_the_same_random_program_gives_the_same_output():
    programs = ["import random\nprint(random.random())", "import random\nprint(random.random())  # again"]
    first, second = outputs(programs)
    assert first == second and 0 < float(first) < 1


REFUSED = [
    "print(open('/etc/hostname').read())",
    "open('x', 'w').write('x')\nprint(1)",
    "import os\nprint(os.getcwd())",
    "import sys\nprint(sys.modules)",
    "import sys\nsys.settrace(print)\nprint(1)",
    "import sys\nprint(sys._getframe())",
    "import sys\nprint(sys.setrecursionlimit.__globals__['os'].getpid())",
    "import sys\nprint(sys.setrecursionlimit.__globals__['sys'].modules['os'].getpid())",
    "import sys\nprint(sys.stdout.write.__globals__['select'].select([0], [], []))",
    "import socket\nprint(1)",
    "import subprocess\nprint(1)",
    "import time\ntime.sleep(60)\nprint(1)",
    "import importlib\nprint(1)",
    "print(__import__('os').getpid())",
    "print(input())",
    # through modules that are loaded already
    "import statistics as s\nprint(s.sys.modules['os'].getpid())",
    "import statistics as s\nprint(s.sys.modules['posix'].fork())",
    "import statistics as s\nprint(s.sys.modules['_io'].open('/etc/hostname').read())",
    "import statistics as s\nprint(s.sys.modules['_io'].FileIO('/etc/hostname').read())",
    "import statistics as s\nprint(s.sys.modules['_thread'].start_new_thread(print, ()))",
    "import statistics as s\ns.sys.modules['time'].sleep(60)\nprint(1)",
    "import statistics as s\ns.sys.settrace(print)\nprint(1)",
    "import statistics as s\nprint(s.sys._getframe().f_back)",
    "import random\nprint(random._os.getpid())",
    "import random\nprint(random._os.open('/etc/hostname', 0))",
    "import random\nprint(random.SystemRandom.__init__.__globals__['_os'].listdir('/'))",
    "import hashlib\nprint(hashlib.file_digest(open('/etc/hostname', 'rb'), 'md5'))",
    "import hashlib\nprint(hashlib.__builtins__['open']('/etc/hostname').read())",
    "import hashlib\nprint(hashlib.__builtins__['__import__']('socket').socket())",
    "import array\nprint(array.array('b').fromfile(array.__loader__.get_data('/etc/hostname'), 1))",
    "import statistics as s\nprint(s.sys.modules['_frozen_importlib'].BuiltinImporter.load_module('gc'))",
    "print(__import__.__globals__['ctypes'].CDLL(None).getpid())",
    "print(__import__.__globals__['os'].system('id'))",
    "print([c for c in object.__subclasses__() if c.__name__ == 'Popen'][0])",
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    print(e.__traceback__.tb_frame.f_back.f_locals)",
    "def f(): pass\nf.__code__ = (lambda: 1).__code__\nprint(1)",
    # failures
    "",
    "print(1",
    "1 / 0",
    "print(1)\nraise SystemExit",
    "(" * 3000 + ")" * 3000,
    "def f():\n    return f()\nprint(f())",
    "x" * 5000,
    "print('\\x00\\ud800')\nraise KeyboardInterrupt",
]


def test_nothing_is_opened_imported_started_or_looked_into():
    results = dict(zip(REFUSED, outputs(REFUSED), strict=True))
    assert {program for program, printed in results.items() if printed} == set()


def test_processor_time_memory_and_output_are_limited():
    bombs = [
        "while True: pass",
        "print(10 ** 10 ** 10)",
        "a = []\nwhile True: a.append(' ' * 10**6)",
        "print(len([0] * 10**9))",
        "print('1' * 10**5)",
        "while True: print(1)",
        "a = 'print(1)'\nwhile True: a += a",
    ]
    assert outputs(bombs, Limits(wall_seconds=1.5)) == [None] * len(bombs)
    if LINUX:
        pid = sandbox._running[0].process.pid
        assert Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii") == ""


def test_output_may_have_so_many_characters_and_no_more():
    programs = [f"print('1' * {size})" for size in (Limits.output_chars - 1, Limits.output_chars)]
    assert outputs(programs) == ["1" * (Limits.output_chars - 1) + "\n", None]


def test_processor_time_is_limited_apart_from_the_wall_clock():
    limits, loop = Limits(cpu_seconds=1, wall_seconds=600), "while True: pass  # on the clock of the processor"
    assert outputs([loop], limits) == [None]
    assert (loop, limits) in sandbox._outputs  # ended by itself, so the result stands


def test_memory_is_limited_to_what_is_said():
    program = "print(len(bytearray(300 * 2**20)))"
    assert outputs([program]) == [None]
    enough = Limits(memory_bytes=2**29, cpu_seconds=60, wall_seconds=60)  # so that memory alone decides
    assert outputs([program], enough) == [f"{300 * 2**20}\n"]


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_programs_run_at_once_and_the_wall_clock_ends_them():
    limits = Limits(cpu_seconds=20, wall_seconds=3)
    loops, most = [f"while True: {number}" for number in range(6)], [0]
    sandbox.level()  # which starts the process
    children = Path(f"/proc/{sandbox._running[0].process.pid}/task/{sandbox._running[0].process.pid}/children")

    def count_children():
        while not over.wait(0.01):
            most[0] = max(most[0], len(children.read_text(encoding="utf-8").split()))

    over, watcher = threading.Event(), threading.Thread(target=count_children)
    watcher.start()
    assert outputs(loops, limits, workers=6) == [None] * 6
    over.set()
    watcher.join()
    assert most == [6]
    assert not any((loop, limits) in sandbox._outputs for loop in loops)  # none came to its twenty seconds


def test_a_batch_of_programs_gives_its_outputs_in_order():
    programs = [f"n = {number}\nprint(n * 2)" for number in range(128)]
    assert outputs(programs) == [f"{2 * number}\n" for number in range(128)]


def test_the_same_program_is_run_once_and_answers_keep_their_order(monkeypatch):
    asked = []
    monkeypatch.setattr(sandbox, "_run", lambda programs, *_: asked.append(programs) or [[True, p] for p in programs])
    monkeypatch.setattr(sandbox, "_outputs", {})
    assert outputs(["b", "a", "b"]) == ["b", "a", "b"]
    assert outputs(["a", "c"]) == ["a", "c"]
    assert asked == [["b", "a"], ["c"]]


def test_a_sandbox_that_was_killed_is_started_again():
    outputs(["print('before')"])
    os.kill(sandbox._running[0].process.pid, signal.SIGKILL)
    assert outputs(["print('after')"]) == ["after\n"]


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_the_process_has_no_environment_and_an_empty_folder():
    outputs(["print('started')"])
    pid = sandbox._running[0].process.pid
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    assert list(Path(f"/proc/{pid}/cwd").resolve().iterdir()) == []


@pytest.fixture
def no_seccomp(tmp_path, monkeypatch):
    """A kernel that takes no filter: the number of prctl's option is one that it does not know."""
    child = tmp_path / "child.py"
    child.write_text(CHILD.read_text().replace("NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2", UNKNOWN))
    assert UNKNOWN in child.read_text()
    monkeypatch.setattr(sandbox, "CHILD", child)
    monkeypatch.setattr(sandbox, "_outputs", {})
    sandbox._close()
    yield
    sandbox._close()


UNKNOWN = "NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 999999, 2"


@pytest.mark.skipif(not LINUX or os.uname().machine not in ("x86_64", "aarch64"), reason="needs seccomp")
def test_the_sandbox_says_what_holds_programs_in():
    assert sandbox.level().seccomp and isinstance(sandbox.level().network, bool)


def test_without_a_filter_of_system_calls_nothing_is_run_unless_that_is_allowed(no_seccomp, monkeypatch):
    assert not sandbox.level().seccomp
    with pytest.raises(RuntimeError, match=r"no seccomp filter.*SANDBOX_WITHOUT_SECCOMP=1"):
        outputs(["print(3)"])
    monkeypatch.setenv("SANDBOX_WITHOUT_SECCOMP", "0")
    with pytest.raises(RuntimeError, match="programs are not run here"):
        outputs(["print(3)"])
    # the process itself refuses too, should someone ask it past that
    asked = {"programs": ["print(3)"], "workers": 1, "without_seccomp": False, **asdict(Limits())}
    assert sandbox._started().ask(asked, 20) == [[True, None]]
    monkeypatch.setenv("SANDBOX_WITHOUT_SECCOMP", "1")
    assert outputs(["print(3)", "import os"]) == ["3\n", None]


def test_what_holds_programs_in_is_told_and_stops_a_recipe_that_runs_them(no_seccomp, monkeypatch):
    recipe = load(ROOT / "recipes.toml", "reft", None, ["data.chain=program"])
    assert "programs are not run" in doctor.sandboxed()
    assert [blocks for blocks, said in doctor.lacks(recipe) if "runs programs that a model writes" in said] == [True]
    assert not any("programs" in said for _, said in doctor.lacks(load(ROOT / "recipes.toml", "reft")))
    monkeypatch.setenv("SANDBOX_WITHOUT_SECCOMP", "1")
    assert "without a filter" in doctor.sandboxed() and not any("programs" in said for _, said in doctor.lacks(recipe))


ALONE = """
import json, os, runpy, sys
names = runpy.run_path({child!r}, run_name="child")
sys.modules["child"] = names
keep = dict(os=os, pid=os.getpid())
import _socket, _posixsubprocess
found = {{}}
{close}
for name, attempt in {{
    "open": lambda: keep["os"].open("/etc/hostname", 0),
    "fork": lambda: keep["os"].fork() or keep["os"]._exit(0),
    "kill": lambda: keep["os"].kill(keep["pid"], 0),
    "socket": lambda: _socket.socket(),
    "exec": lambda: keep["os"].execv("/bin/true", ["true"]),
    "unlink": lambda: keep["os"].unlink("/nonexistent"),
}}.items():
    try:
        attempt()
        found[name] = "done"
    except Exception as error:
        found[name] = type(error).__name__
write(1, json.dumps(found).encode())
"""


def alone(close):
    code = ALONE.format(child=str(CHILD), close=f"write = os.write\n{close}")
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    return json.loads(done.stdout or f'"{done.stderr[-300:]!r}"')


@pytest.mark.skipif(not LINUX or os.uname().machine not in ("x86_64", "aarch64"), reason="needs seccomp")
def test_the_kernel_refuses_every_door_without_the_audit_hook():
    assert set(alone("assert names['filter_calls']()").values()) == {"PermissionError"}


def test_the_audit_hook_refuses_every_door_without_the_kernel():
    found = alone("names['EMPTIED'] = ()\nnames['close_doors'].__globals__['EMPTIED'] = ()\nnames['close_doors']()")
    assert {found[name] for name in ("open", "fork", "socket", "exec")} == {"PermissionError"}
