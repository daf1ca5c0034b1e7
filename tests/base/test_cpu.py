"""Threads wait without spinning and leave other processes their cores, unless the user chose otherwise."""

import os
import subprocess
import sys

import pytest

from recipes.base import cpu
from recipes.base.places import ROOT


def test_the_command_line_lets_threads_wait_passively_before_torch_is_there():
    code = (
        "import os, sys; from recipes.cli import main; main(['list']); "
        "print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    clean = {key: value for key, value in os.environ.items() if key not in cpu.WAITING}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "PASSIVE 0 False"
    chosen = clean | {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "9"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=chosen, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "ACTIVE 9 False"


@pytest.mark.parametrize(
    "idle, cores, free",
    [(1.0, 2, 2), (0.8, 2, 2), (0.5, 2, 1), (0.3, 2, 1), (0.0, 2, 1), (0.5, 16, 8), (0.97, 16, 16)],
)
def test_free_cores_are_those_that_others_leave_idle_and_at_least_one(idle, cores, free, monkeypatch):
    readings = iter([(0.0, 0.0), (idle * 10.0, 10.0)])
    monkeypatch.setattr(cpu, "read_idle", lambda: next(readings))
    monkeypatch.setattr(cpu, "SAMPLE_SECONDS", 0)
    monkeypatch.setattr(cpu, "count_cores", lambda: cores)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert cpu.count_free_cores() == free


def test_a_process_bound_to_one_core_gets_no_more_than_it(monkeypatch):
    readings = iter([(0.0, 0.0), (10.0, 10.0)])
    monkeypatch.setattr(cpu, "read_idle", lambda: next(readings))
    monkeypatch.setattr(cpu, "SAMPLE_SECONDS", 0)
    monkeypatch.setattr(cpu, "count_cores", lambda: 1)
    assert cpu.count_free_cores() == 1


def test_a_machine_that_does_not_say_counts_as_free(monkeypatch):
    monkeypatch.setattr(cpu, "read_idle", lambda: None)
    assert cpu.count_free_cores() == cpu.count_cores()


def test_a_number_that_the_user_set_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cpu.choose_threads() is None


def test_what_niced_processes_use_counts_as_free(tmp_path, monkeypatch):
    file = tmp_path / "stat"
    file.write_text("cpu  100 40 60 200 0 0 0 0 0 0\n")
    monkeypatch.setattr("builtins.open", lambda *_, real=open, **more: real(file, **more))
    free, whole = cpu.read_idle()
    given_way = 40 if os.nice(0) <= 0 else 0
    assert free * os.sysconf("SC_CLK_TCK") == 200 + given_way and whole * os.sysconf("SC_CLK_TCK") == 400
