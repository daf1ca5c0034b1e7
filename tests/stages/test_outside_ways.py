"""A way to answer and a probe of a stranger: each one file beside the recipe file and one line of a table."""

import json

from recipes import pipeline
from recipes.config.load import load
from recipes.pipeline import Job
from tests.helpers.tiny_text import tiny_model

RECIPE = """
[demo]
summary = "a stranger's methods"
builder = "analogseeker"
data = {{ sft_rows = 8, rl_rows = 4, tests = {{ knowledge = 4, calculation = 4, transfer = 2 }} }}
model.name = "{folder}/model"
sft = {{ epochs = 1.0, max_length = 1024 }}
eval.tasks = ["analogseeker_knowledge"]
eval.max_new_tokens = 4
eval.infer.hint.words = "Think first."
eval.probe.norms = {{}}
"""
HINT = '''
"""A hint before the question, and the longest of two replies."""

from pydantic import Field

from recipes.models.answering import Answering, AnsweringTable

VERSION = 1


class Config(AnsweringTable):
    words: str = Field("", description="put before the question")


def answer(own, context):
    return Answering(
        samples=2,
        temperature=0.7,
        rewrite=lambda doc, prompt: f"{own.words} {prompt}",
        choose=lambda doc, replies: max(replies, key=len),
    )
'''
NORMS = '''
"""Size of the output layer's weights."""

from recipes.config.slots import Method

VERSION = 1
LOGS = {"norm": ("Norm of the output layer", "1")}


class Config(Method):
    pass


def measure(own, context):
    return {"norm": float(context.model.get_output_embeddings().weight.norm())}
'''


def test_a_strangers_way_to_answer_and_probe_stand_in_the_report(tmp_path):
    tiny_model(tmp_path / "model")
    for slot, name, text in (("infer", "hint", HINT), ("probe", "norms", NORMS)):
        folder = tmp_path / "methods" / slot
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(text)
    (tmp_path / "recipes.toml").write_text(RECIPE.format(folder=tmp_path))
    job = Job(load(tmp_path / "recipes.toml", "demo"), tmp_path / "runs")
    done = pipeline.run(job)
    report = json.loads((job.home / "report" / "report.json").read_text())
    assert [row["model"] for row in report["methods"]] == ["sft · hint"]
    assert report["probes"]["norms"]["values"]["sft"]["norm"] > 0
    assert "Norm of the output layer" in (job.home / "report" / "index.html").read_text()
    (samples,) = done["evaluate"].glob("lm_eval/sft.hint/*/samples_*.jsonl")
    first = json.loads(samples.open().readline())
    assert "Think first. " in first["arguments"]["gen_args_0"]["arg_0"]
