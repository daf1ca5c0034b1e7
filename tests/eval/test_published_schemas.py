"""A file of each public benchmark in its published schema: read, its gold replies worth one, silence nothing."""

from pathlib import Path

import pytest

from eval import hooks
from eval.benchmarks.public import HUB, load_public, score_boxed
from eval.benchmarks.public_code import score_code
from eval.benchmarks.public_stated import score_stated
from eval.benchmarks.sciriff import TASKS
from eval.benchmarks.sciriff_scores import score_sciriff
from eval.hooks import score

pytestmark = pytest.mark.slow

PUBLISHED = Path(__file__).parents[1] / "fixtures" / "published"
SIZES = {"arc_easy": 2, "arc_challenge": 1, "mmlu": 4, "math": 1, "gsm8k": 2, "bbh": 2, "humaneval": 1, "mbpp": 2}
SCORERS = {
    **dict.fromkeys(("arc_easy", "arc_challenge", "mmlu"), score),
    **dict.fromkeys(("gsm8k", "bbh"), score_stated),
    **dict.fromkeys(("humaneval", "mbpp"), score_code),
    "math": score_boxed,
}


def test_every_benchmark_has_a_file_of_its_schema():
    assert SIZES.keys() == HUB.keys() and all((PUBLISHED / f"{name}.jsonl").is_file() for name in HUB)


@pytest.mark.parametrize("benchmark", SIZES)
def test_a_published_file_is_read_and_its_gold_replies_are_worth_one(benchmark):
    found = load_public(benchmark=benchmark, benchmarks=str(PUBLISHED))["test"]
    assert len(found) == SIZES[benchmark]
    for row in found:
        assert SCORERS[benchmark](row, [row["reply"]])["acc"] == 1.0, row["reply"]
        assert SCORERS[benchmark](row, [""])["acc"] == 0.0


@pytest.mark.parametrize("group", ["stem", "humanities", "social_sciences", "other"])
def test_mmlu_is_read_by_group(group):
    assert len(load_public(benchmark="mmlu", group=group, benchmarks=str(PUBLISHED))["test"]) == 1


@pytest.mark.parametrize(("part", "size"), [("tqa", 3), ("ldo", 1)])
def test_a_part_of_amsbench_is_found_in_the_folder_and_read(part, size):
    found = hooks.load(source="amsbench", part=part, amsbench=str(PUBLISHED))["test"]
    assert len(found) == size
    assert all(score(row, [row["reply"]])["acc"] == 1.0 and score(row, [""])["acc"] == 0.0 for row in found)


def test_sciriff_gives_the_rows_of_its_nine_tasks():
    for task in TASKS:
        (row,) = hooks.load(source="sciriff", kind=task, sciriff=str(PUBLISHED / "sciriff.jsonl"))["test"]
        assert score_sciriff(row, [row["reply"]])["acc"] == 1.0
        assert score_sciriff(row, [""])["acc"] == 0.0
