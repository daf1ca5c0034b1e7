"""A tenth of the general test, for tests of whole runs: three models answer all of it in most of a minute."""

import json
from contextlib import contextmanager

import pytest

from eval import hooks
from recipes.base import places
from recipes.config import request_counts
from recipes.stages import evaluate


@contextmanager
def few_general(folder):
    """Runs of this process read every tenth row of the general test."""
    rows = places.GENERAL_TEST.read_text(encoding="utf-8").splitlines(keepends=True)[::10]
    assert {json.loads(row)["kind"] for row in rows} == {"arithmetic", "facts", "instructions"}
    file = folder / places.GENERAL_TEST.name
    file.write_text("".join(rows), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for module in (hooks, places, evaluate, request_counts):
            patch.setattr(module, "GENERAL_TEST", file)
        yield
