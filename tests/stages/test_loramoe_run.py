"""The recipe loramoe, small but whole: from data to a report, and what it leaves."""

import json
import re

import pytest

from tests.helpers.short_run import history, run

LORAMOE = [
    "data.sft_rows=80",
    "data.rl_rows=4",
    "data.tests.knowledge=12",
    "data.tests.calculation=8",
    "data.tests.transfer=4",
]


@pytest.fixture(scope="module")
def loramoe(tmp_path_factory):
    return run("loramoe", tmp_path_factory.mktemp("loramoe"), *LORAMOE, "sft.losses.expert_balance.weight=1.0")


def test_loramoe_trains_with_its_balance_and_reports_where_routers_send_tokens(loramoe):
    job, made = loramoe
    log = history(made["sft"])
    assert all({"cross_entropy", "balance", "own_share", "router_entropy"} <= set(line) for line in log)
    assert any("general_share" in line for line in log)
    assert json.loads((made["sft"] / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORAMOE"
    report = json.loads((job.home / "report" / "report.json").read_text())
    routing = report["probes"]["routing"]["values"]["sft"]
    assert len(routing["layers"]) == 18 and all(
        list(layer) == ["field", "general"] for layer in routing["layers"].values()
    )
    shares = [weights for layer in routing["layers"].values() for weights in layer.values()]
    assert all(sum(weights) == pytest.approx(1, abs=1e-3) for weights in shares)
    assert all(kl > 0 for kl in report["probes"]["drift"]["values"]["sft"]["kl"].values())


def test_a_loramoe_export_is_an_adapter_beside_its_base_that_answers_alike(loramoe, tmp_path, capsys):
    from recipes.commands import export
    from recipes.models import loader

    job, _ = loramoe
    export.run(job, to=tmp_path / "out")
    printed = capsys.readouterr().out
    assert re.search(r"to (\d+) of \1 test prompts", printed)
    assert (
        f"python -m recipes.models.loramoe run --model hf --model_args pretrained={tmp_path}/out/base,peft=" in printed
    )
    assert f"peft={tmp_path}/out,tokenizer={tmp_path}/out,dtype=float32 --include_path" in printed  # of the evaluation
    card = (tmp_path / "out" / "README.md").read_text()
    assert "import recipes.models.loramoe" in card and "cannot be merged" in card
    base = loader.load_base(job.recipe.model.model_copy(update={"name": str(tmp_path / "out" / "base")}))
    assert loader.load_adapters(base, {"default": tmp_path / "out"}).peft_config["default"].num_experts == 6
