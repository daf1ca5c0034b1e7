"""Whatever stops a run, what it has done is kept, and the same command goes on."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from recipes import pipeline
from recipes.artifacts.store import disk_full
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from tests.helpers.fake_pipeline import HALFWAY, Place, Stages

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "place")


def start(folder, stage):
    """The run as a process of its own, which waits in the middle of `stage`."""
    words = [
        "run",
        "demo",
        "--file",
        str(folder / "recipes.toml"),
        "--runs",
        str(folder / "runs"),
        "--until",
        "evaluate",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.fake_pipeline", str(folder), stage, *words],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for line in process.stdout:
        if line.strip() == HALFWAY:
            return process
    raise AssertionError(process.communicate()[1])


def contents(home):
    return {str(file.relative_to(home)): file.read_bytes() for file in home.rglob("*.bin")} | {
        file.name: file.read_bytes() for file in home.rglob("*.jsonl") if file.name != "training.jsonl"
    }


def test_killed_in_a_stage_it_goes_on_and_ends_with_the_same_bytes(tmp_path):
    place = Place(tmp_path / "place")
    undisturbed = place.run() and contents(place.home)
    for folder in place.home.iterdir():
        folder.rename(tmp_path / folder.name)
    process = start(place.folder, "rl")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (partial,) = place.home.glob("rl-*.partial")
    assert len((partial / "checkpoints" / "steps.txt").read_text()) == 4
    place.run()
    assert place.stages.calls == ["rl", "evaluate"]
    assert "rl        new, going on from where it stopped" in place.said and "sft       cached" in place.said
    assert place.manifest("rl")["resumed"] is True and not list(place.home.glob("*.partial"))
    assert contents(place.home) == undisturbed


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(place):
    process = start(place.folder, "sft")
    process.send_signal(signal.SIGINT)
    said, error = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in error and f"go on with:  python -m recipes run demo --file {place.folder}" in error
    assert "stopped; what is done is kept in" in said
    place.run()
    assert place.stages.calls == ["sft", "rl", "evaluate"]


def test_killed_between_manifest_and_rename_nothing_is_made_again(place):
    done = place.run()
    done["evaluate"].rename(done["evaluate"].with_name(done["evaluate"].name + ".partial"))
    assert place.run() == done
    assert place.stages.calls == [] and "finished earlier" in place.said


def test_a_half_written_artefact_with_a_manifest_is_not_trusted(place):
    done = place.run()
    partial = done["evaluate"].rename(done["evaluate"].with_name(done["evaluate"].name + ".partial"))
    (partial / "adapter" / "weights.bin").write_bytes(b"half")
    place.run()
    assert place.stages.calls == ["evaluate"] and (done["evaluate"] / "adapter" / "weights.bin").read_bytes() != b"half"


@pytest.mark.parametrize(
    "damage, words",
    [
        (
            lambda folder: (folder / "manifest.json").write_text('{"schema": 1, "st'),
            ["manifest is damaged", "manifest.json"],
        ),
        (lambda folder: (folder / "manifest.json").write_text("{}"), ["of another kind", "manifest.json"]),
        (lambda folder: (folder / "manifest.json").unlink(), ["no manifest", "manifest.json"]),
        (
            lambda folder: (folder / "adapter" / "weights.bin").write_bytes(b"edited"),
            ["adapter/weights.bin has sha256", "edited by hand"],
        ),
        (lambda folder: (folder / "adapter" / "weights.bin").unlink(), ["adapter/weights.bin is missing"]),
    ],
)
def test_a_damaged_or_edited_artefact_is_refused_and_left_alone(damage, words, place):
    folder = place.run()["sft"]
    damage(folder)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(RecipeError) as error:
        place.run()
    assert all(word in str(error.value) for word in [*words, folder.name, "--fresh", "delete that folder"])
    assert (
        place.stages.calls == [] and {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    )
    place.run(fresh=True)
    assert place.stages.calls == ["data", "sft", "rl", "evaluate"]
    place.run()
    assert place.stages.calls == []


def test_a_second_writer_is_refused_with_the_first_ones_process(place):
    place.home.mkdir(parents=True)
    with open(place.home / ".lock", "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("process 4711 since noon")
        held.flush()
        with pytest.raises(RecipeError, match="process 4711 since noon"):
            place.run()
    assert list(place.run()) == ["data", "sft", "rl", "evaluate"]


def no_space():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights")


def no_space_from_a_library():
    try:
        no_space()
    except OSError as error:
        raise RuntimeError("could not serialize") from error


@pytest.mark.parametrize("trouble", [no_space, no_space_from_a_library])
def test_a_full_disk_is_said_and_the_work_kept(trouble, place):
    place.stages.trouble["sft"] = trouble
    with pytest.raises(RecipeError) as error:
        place.run()
    assert all(word in str(error.value) for word in ("disk is full", "sft-", "MB free", "same command"))
    (partial,) = place.home.glob("sft-*.partial")
    assert len((partial / "checkpoints" / "steps.txt").read_text()) == 4
    place.run()
    assert place.stages.calls == ["sft", "rl", "evaluate"]


def test_other_errors_are_not_taken_for_a_full_disk():
    assert not disk_full(OSError(errno.EACCES, "denied")) and not disk_full(ValueError("no room for doubt"))
    assert disk_full(RuntimeError("write failed: No space left on device (os error 28)"))


def test_a_failing_stage_keeps_the_stages_before_it(place):
    def fail():
        raise ValueError("loss is not a number")

    place.stages.trouble["rl"] = fail
    with pytest.raises(ValueError, match="not a number"):
        place.run()
    assert "rl        failed; what is done is kept in" in place.said
    place.run()
    assert place.stages.calls == ["rl", "evaluate"]


def test_an_interrupted_run_does_not_count_as_a_measured_rate(place):
    place.stages.trouble["sft"] = no_space
    with pytest.raises(RecipeError):
        place.run()
    place.run()
    assert place.manifest("sft")["resumed"] is True
    place.stages = Stages()
    sft = pipeline.survey(place.job("sft.learning_rate=2e-4"))[1]
    assert sft.source == "no earlier run"  # one that went on after a stop tells no rate
    place.run("sft.learning_rate=2e-4", until="sft")
    assert pipeline.survey(place.job("sft.learning_rate=3e-4"))[1].source == "1 earlier run"


def test_outputs_are_written_before_the_name_that_vouches_for_them(place, monkeypatch):
    """The artefact's own name appears only by the last rename, when the manifest is inside."""
    from recipes.artifacts import store

    seen = []
    real = store.write_json

    def spy(file, value):
        seen.append((file.name, file.parent.name.endswith(".partial") or file.name == "latest.json"))
        real(file, value)

    monkeypatch.setattr(store, "write_json", spy)
    folder = place.run(until="data")["data"]
    assert seen == [("manifest.json", True), ("latest.json", True)]
    assert json.loads((folder / "manifest.json").read_text())["outputs"].keys() == {
        "sft.jsonl",
        "rl.jsonl",
        "test.jsonl",
        "card.json",
    }
