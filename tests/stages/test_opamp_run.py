"""The recipe opamp on a model of two layers: from designs to a report, with the simulator as reward."""

import json

import pytest

from tests.helpers.short_run import history, run
from tests.helpers.tiny_text import tiny_model

SMALL = ["data.sft_rows=16", "data.rl_rows=4", "data.tests.design=4", "data.tests.transfer=4"]
SHORT = [
    "rl.steps=2",
    "rl.prompts_per_step=2",
    "rl.group_size=2",
    "rl.max_completion_length=16",
    "eval.max_new_tokens=8",
]


@pytest.mark.slow
def test_the_recipe_goes_from_designs_to_a_report(tmp_path):
    base = tiny_model(tmp_path / "base")
    job, made = run("opamp", tmp_path, *SMALL, *SHORT, f"model.name={json.dumps(base.name)}")
    assert len(history(made["rl"])) == 2 and "accuracy" in history(made["rl"])[0]
    report = json.loads((job.home / "report" / "report.json").read_text())
    assert {"opamp_design", "opamp_transfer"} <= set(json.dumps(report).split('"')) and "rules" in json.dumps(report)
