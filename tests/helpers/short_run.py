"""A recipe of this repository, small but whole: from data to a report."""

import json

from recipes import pipeline
from recipes.base.places import ROOT
from recipes.config.load import load
from recipes.pipeline import Job
from tests.helpers.few_general import few_general

SHORT = [
    "sft.epochs=1",
    "sft.batch_tokens=2048",
    "sft.log_steps=1",
    "eval.infer={}",
    "eval.max_new_tokens=48",
    'eval.general=["general_facts"]',
]


def run(name, runs, *sets):
    """(the job, {stage: artefact folder}) of a run to its report."""
    job = Job(load(ROOT / "recipes.toml", name, "embedded", [*SHORT, *sets], True), runs)
    with few_general(runs):
        return job, pipeline.run(job)


def history(folder):
    """The lines of a stage's training.jsonl."""
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
