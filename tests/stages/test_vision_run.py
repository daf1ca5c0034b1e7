"""A recipe whose signals are pictures, small but whole: from data to the report, with a base that sees."""

import io
import json
import re

import pytest
from safetensors import safe_open

from recipes import pipeline
from recipes.base.places import ROOT
from recipes.base.runtime import Runtime
from recipes.commands import export
from recipes.config.load import load
from recipes.pipeline import Job
from tests.helpers import tiny_vision

SMALL = [
    'data.view="image"',
    "data.sft_rows=16",
    "data.rl_rows=8",
    "data.tests.type=12",
    "data.tests.parameter=0",
    "data.tests.explain=0",
    "data.tests.pairs=0",
    "data.tests.composition=0",
    "data.tests.controls=3",
    "sft.epochs=1",
    "rl.steps=1",
    "rl.prompts_per_step=4",
    "rl.group_size=2",
    "rl.max_completion_length=6",
    "eval.max_new_tokens=6",
    'eval.tasks=["vsllava_type", "vsllava_none_control", "vsllava_shuffled_control"]',
    "eval.general=[]",
    "eval.infer.few_shot.shots=1",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(the job, {stage: artefact folder}, what was said)"""
    folder, said = tmp_path_factory.mktemp("vision"), io.StringIO()
    base = tiny_vision.seeing(folder / "base")
    recipe = load(ROOT / "recipes.toml", "vsllava", "embedded", [*SMALL, f'model.name="{base}"'], True)
    job = Job(recipe, folder / "runs", Runtime(said))
    return job, pipeline.run(job), said.getvalue()


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_row_shows_its_signal_and_the_control_without_one_shows_none(finished):
    _, made, _ = finished
    data = made["data"]
    assert all(len(row["images"]) == 1 for name in ("sft", "rl") for row in rows(data / f"{name}.jsonl"))
    test = {kind: [row for row in rows(data / "test.jsonl") if row["kind"] == kind] for kind in ("type", "type_none")}
    assert all(row["images"] for row in test["type"]) and test["type_none"]
    assert not any("images" in row for row in test["type_none"])
    shown = {
        image
        for name in ("sft", "rl", "test")
        for row in rows(data / f"{name}.jsonl")
        for image in row.get("images", ())
    }
    assert {f"images/{file.name}" for file in (data / "images").iterdir()} >= shown


def test_both_trainings_adapt_the_language_model_alone(finished):
    _, made, _ = finished
    for stage in ("sft", "rl"):
        with safe_open(made[stage] / "adapter" / "adapter_model.safetensors", "pt") as file:
            names = list(file.keys())
        assert names and all(".language_model." in name for name in names)


def test_every_model_answers_the_same_items_and_few_shot_is_left_out_aloud(finished):
    job, made, said = finished
    index = json.loads((made["evaluate"] / "models.json").read_text())
    assert [model["name"] for model in index["models"]] == ["base", "sft", "rl", "rules"]
    assert "few-shot left out" in said
    for model in index["models"]:
        (file,) = (made["evaluate"] / model["dir"]).glob("samples_vsllava_type_2*.jsonl")
        asked = rows(file)
        assert len(asked) == 12 and all("<image>" in line["arguments"]["gen_args_0"]["arg_0"] for line in asked)
    assert index["probes"]["drift"]["values"]["rl"]["tokens"]["field"] > 0
    assert (job.home / "report" / "index.html").is_file()


def test_an_export_has_the_processor_and_answers_alike(finished, tmp_path, capsys):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    job, _, _ = finished
    export.run(job, to=tmp_path / "out")
    assert re.search(r"to (\d+) of \1 test prompts", capsys.readouterr().out)
    assert AutoProcessor.from_pretrained(tmp_path / "out").image_token == "<image>"
    AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
