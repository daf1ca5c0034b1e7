"""Runs on_cuda.py where there is a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEEING = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
ASK = "import sys, torch; sys.exit(not torch.cuda.is_available())"


def test_training_reinforcement_and_evaluation_on_a_gpu(tmp_path):
    if subprocess.run([sys.executable, "-c", ASK], env=SEEING).returncode:
        pytest.skip("no CUDA device here")
    command = [sys.executable, "-m", "pytest", "--noconftest", "--basetemp", tmp_path / "cuda", HERE / "on_cuda.py"]
    done = subprocess.run(command, env=SEEING, cwd=HERE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
