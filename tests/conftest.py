"""The suite runs on the CPU, where there is a GPU too: its figures and tolerances are those of float32.

What needs a GPU is in on_cuda.py, which test_cuda.py runs in a process of its own. The hub is out of reach: without
that, libraries that look there by themselves (lm-eval's dummy model for a tokenizer) wait most of a minute each time.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # processes with as many threads each as there are cores wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")


TESTS = Path(__file__).parent
TORCH = [TESTS / name for name in ("gpu", "lab", "methods", "models", "stages")]  # their subject is a model


def pytest_ignore_collect(collection_path: Path, config) -> bool | None:
    """Where slow tests are left out, the folders that import torch are not even read."""
    return True if config.option.markexpr == "not slow" and collection_path in TORCH else None


def pytest_collection_modifyitems(items) -> None:
    """Every test of those folders counts as slow."""
    for item in items:
        if any(folder in item.path.parents for folder in TORCH):
            item.add_marker("slow")


@pytest.fixture
def place(tmp_path):
    """A folder with a recipe whose stages only write small files."""
    from tests.helpers.fake_pipeline import Place

    return Place(tmp_path / "place")


@pytest.fixture
def typed(place, monkeypatch, capsys):
    """Type a command in a place with fake stages: (exit code, what was printed, what was complained)."""
    from recipes import cli

    real = cli.job_of

    def job_of(options):
        job = real(options)
        return replace(job, recipe=place.stages.take_over(job.recipe))

    monkeypatch.setattr(cli, "job_of", job_of)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*words, there=True):
        options = ["--file", str(place.folder / "recipes.toml"), "--runs", str(place.folder / "runs")] if there else []
        code = cli.main([*map(str, words), *options])
        return code, *capsys.readouterr()

    return run
