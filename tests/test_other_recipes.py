"""The recipes beside analogseeker, small but whole: from data to a report, and what each leaves."""

import json
import re

import pytest
from safetensors import safe_open

from recipes import pipeline
from recipes.config import ROOT
from recipes.loader import load
from recipes.pipeline import Job

SHORT = ["sft.epochs=1", "sft.batch_tokens=2048", "sft.log_steps=1", "eval.fewshot=0", "eval.max_new_tokens=48"]
LORAMOE = [
    "data.sft_rows=80",
    "data.rl_rows=4",
    "data.tests.knowledge=12",
    "data.tests.calculation=8",
    "data.tests.transfer=4",
]
REFT = ["data.sft_rows=80", "data.rl_rows=40", "data.tests.problems=12", "data.tests.transfer=8"]
REINFORCED = ["rl.steps=4", "rl.prompts_per_step=8", "rl.micro_batch=8", "rl.max_completion_length=40"]


def run(name, runs, *sets):
    """(the job, {stage: artefact folder}) of a run to its report."""
    job = Job(
        load(ROOT / "recipes.toml", name, "embedded", [*SHORT, 'eval.general=["general_facts"]', *sets], True), runs
    )
    return job, pipeline.run(job)


def history(folder):
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def loramoe(tmp_path_factory):
    return run("loramoe", tmp_path_factory.mktemp("loramoe"), *LORAMOE, "sft.balance.weight=1.0")


@pytest.fixture(scope="module")
def reft(tmp_path_factory):
    return run("reft", tmp_path_factory.mktemp("reft"), *REFT, *REINFORCED)


def test_loramoe_trains_with_its_balance_and_reports_where_routers_send_tokens(loramoe):
    job, made = loramoe
    log = history(made["sft"])
    assert all({"cross_entropy", "balance", "own_share", "router_entropy"} <= set(line) for line in log)
    assert any("general_share" in line for line in log)
    assert json.loads((made["sft"] / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORAMOE"
    report = json.loads((job.home / "report" / "report.json").read_text())
    routing = report["observed"][0]["routing"]
    assert routing["kinds"] == ["domain", "general"] and len(routing["layers"]) == 18
    assert all(sum(weights) == pytest.approx(1, abs=1e-3) for layer in routing["layers"].values() for weights in layer)
    assert all(kl > 0 for kl in report["observed"][0]["drift"].values())


def test_a_loramoe_export_is_an_adapter_beside_its_base_that_answers_alike(loramoe, tmp_path, capsys):
    from recipes import models
    from recipes.commands import export

    job, _ = loramoe
    export.run(recipe=job.recipe, runs=job.runs, to=tmp_path / "out")
    printed = capsys.readouterr().out
    assert re.search(r"to (\d+) of \1 test prompts", printed)
    assert (
        f"python -m recipes.adapters.loramoe run --model hf --model_args pretrained={tmp_path}/out/base,peft="
        in printed
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "import recipes.adapters.loramoe" in card and "cannot be merged" in card
    base = models.load_base(job.recipe.model.model_copy(update={"name": str(tmp_path / "out" / "base")}))
    assert models.load_adapters(base, {"default": tmp_path / "out"}).peft_config["default"].num_experts == 6


def test_reft_reinforces_with_ppo_and_its_value_head_stays_out_of_the_answers(reft):
    job, made = reft
    log = history(made["rl"])
    assert {"value_loss", "explained_variance", "sequence_kl"} <= set(log[0]) and log[0]["sequence_kl"] == 0.0
    assert not (made["rl"] / "adapter" / "ref").exists()
    assert json.loads((made["rl"] / "adapter" / "adapter_config.json").read_text())["modules_to_save"] == ["v_head"]
    report = json.loads((job.home / "report" / "report.json").read_text())
    assert {row["model"] for row in report["observed"]} == {"sft", "rl"}


def test_reft_exports_a_plain_model(reft, tmp_path, capsys):
    from recipes.commands import export

    job, _ = reft
    export.run(recipe=job.recipe, runs=job.runs, model="rl", to=tmp_path / "out")
    assert re.search(r"to (\d+) of \1 test prompts", capsys.readouterr().out)
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as weights:
        assert not [name for name in weights.keys() if "v_head" in name]  # noqa: SIM118
