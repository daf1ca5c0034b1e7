"""The recipe reft, small but whole: from data to a report, and what it leaves."""

import json
import re

import pytest
from safetensors import safe_open

from tests.helpers.short_run import history, run

REFT = ["data.sft_rows=80", "data.rl_rows=40", "data.tests.problems=12", "data.tests.transfer=8"]
REINFORCED = ["rl.steps=4", "rl.prompts_per_step=8", "rl.micro_batch=8", "rl.max_completion_length=40"]


@pytest.fixture(scope="module")
def reft(tmp_path_factory):
    return run("reft", tmp_path_factory.mktemp("reft"), *REFT, *REINFORCED)


def test_reft_reinforces_with_ppo_and_its_value_head_stays_out_of_the_answers(reft):
    job, made = reft
    log = history(made["rl"])
    assert {"value_loss", "explained_variance", "sequence_kl"} <= set(log[0]) and log[0]["sequence_kl"] == 0.0
    assert not (made["rl"] / "adapter" / "ref").exists()
    assert json.loads((made["rl"] / "adapter" / "adapter_config.json").read_text())["modules_to_save"] == ["v_head"]
    report = json.loads((job.home / "report" / "report.json").read_text())
    assert report["probes"]["drift"]["values"].keys() == {"sft", "rl"}


def test_reft_exports_a_plain_model(reft, tmp_path, capsys):
    from recipes.commands import export

    job, _ = reft
    export.run(job, model="rl", to=tmp_path / "out")
    assert re.search(r"to (\d+) of \1 test prompts", capsys.readouterr().out)
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as weights:
        assert not [name for name in weights.keys() if "v_head" in name]  # noqa: SIM118
