"""Preference optimisation: pairs from graded replies, the model before as reference, chosen replies grow likelier."""

import json
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model

from data_builders.core.decontamination import remove_test_items
from data_builders.core.leaks import compare_question
from data_builders.core.ledger import Ledger
from recipes.artifacts.lineage import Inputs
from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl, write_jsonl
from recipes.base.runtime import Runtime
from recipes.models import loader, sampling, training
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.stages import dpo
from tests.helpers.tiny_text import tiny_model


def turn(text, role="assistant"):
    return [{"role": role, "content": text}]


def pair(number):
    asked = turn(f"How far is {number}?", "user")
    return {"id": str(number), "prompt": asked, "chosen": turn("It is near."), "rejected": turn("No, it is far.")}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "dpo.jsonl", [pair(number) for number in range(8)])
    return tmp_path / "data"


def adapter_of(base, folder, config=LoraConfig, **settings):
    torch.manual_seed(1)
    settings = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    model = get_peft_model(loader.load_base(base), config(**settings))
    for weight in model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.05)
    model.save_pretrained(str(folder / "adapter"))
    return folder


def spec(base, **own):
    settings = {"pairs_from": "file", "learning_rate": 5e-3, "log_steps": 1, "epochs": 3, "batch_tokens": 512} | own
    return spec_of("dpo", model=base, seed=0, dpo=dpo.Config(**settings))


def run(base, data, out, *, models=None, **own):
    out.mkdir()
    return dpo.run(spec(base, **own), Inputs({"data": data} | (models or {})), out, Runtime())


def likelihood(model, tokenizer, row, side):
    """Mean log-likelihood of a pair's side, its prompt included."""
    ids = tokenizer(tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False), return_tensors="pt")
    with torch.no_grad():
        return -model.eval()(**ids, labels=ids["input_ids"]).loss.item()


# Pairs


def test_of_each_prompt_right_replies_are_paired_with_wrong_ones_each_text_once():
    rows = [{"id": name, "prompt": turn(name, "user"), "kind": "open"} for name in "abc"]
    said = {"a": [("yes", 1), ("yes ", 1), ("no", 0), ("never", 0), ("sure", 1)], "b": [("yes", 1)], "c": [("no", 0)]}
    replies = [{"id": i, "number": n, "reply": text} for i, some in said.items() for n, (text, _) in enumerate(some)]
    grades = [grade for some in said.values() for _, grade in some]
    found = dpo.make_pairs(rows, replies, grades, 2)
    assert [(p["id"], p["chosen"][0]["content"], p["rejected"][0]["content"]) for p in found] == [
        ("a-0", "yes", "no"),
        ("a-1", "sure", "never"),
    ]
    assert found[1]["lineage"] == {"pair_of": "a", "chosen": 4, "rejected": 3}
    assert len(dpo.make_pairs(rows, replies, grades, 1)) == 1


def test_pairs_of_sampled_replies_are_graded_by_the_rows_own_grader(base, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    row = {"prompt": turn("2 + 2?", "user"), "grader": "numeric", "answer": "4", "options": None, "unit": None}
    row |= {"tolerance": 0.01, "kind": "calc", "node_id": "n", "fact_id": "f", "family": "g"}
    write_jsonl(tmp_path / "data" / "rl.jsonl", [row | {"id": str(n)} for n in range(6)])

    def sample(model, tokenizer, rows, file, samples, **_):
        texts = ["<think></think>\n<answer>4</answer>", "<think></think>\n<answer>5</answer>"]
        return [{"id": r["id"], "number": n, "reply": texts[n % 2]} for r in rows for n in range(samples)]

    monkeypatch.setattr(sampling, "sample_replies", sample)
    models = {"sft": adapter_of(base, tmp_path / "sft")}
    done = run(base, tmp_path / "data", tmp_path / "out", models=models, pairs_from="rl", prompts=4, samples=2)
    assert done["rows"] == 4 and done["replies"] == 8 and done["first_accuracy"] == 0.5
    made = read_jsonl(tmp_path / "out" / "dpo.jsonl")
    assert all("4</answer>" in p["chosen"][0]["content"] and "5</" in p["rejected"][0]["content"] for p in made)
    write_jsonl(tmp_path / "data" / "rl.jsonl", [row | {"id": "x", "answer": "7"}])
    with pytest.raises(RecipeError, match="no pairs to learn from"):
        run(base, tmp_path / "data", tmp_path / "none", models=models, pairs_from="rl")


# Training


@pytest.mark.parametrize("config", [None, LoraConfig, LoraMoeConfig], ids=["every weight", "lora", "loramoe"])
def test_chosen_replies_grow_likelier_than_rejected_ones_against_the_model_before(base, data, tmp_path, config):
    before = {"sft": adapter_of(base, tmp_path / "sft", config)} if config else {}
    done = run(base, data, tmp_path / "out", models=before)
    log = read_jsonl(tmp_path / "out" / "training.jsonl")
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and log[0]["margin"] == pytest.approx(0, abs=1e-3)
    assert done["last_accuracy"] == 1.0 and done["last_margin"] > 0.05 and log[-1]["loss"] < 0.68
    tokenizer = loader.load_tokenizer(base)
    whole, adapter = base, None
    if config:
        adapter = tmp_path / "out" / "adapter"
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["adapter", "dpo.jsonl", "training.jsonl"]
        assert not (adapter / "ref").exists()
    else:
        whole = base.model_copy(update={"name": str(tmp_path / "out" / "model")})
    first = loader.load_reached(base, before["sft"] / "adapter" if config else None)
    last = loader.load_reached(whole, adapter)

    def gap(model):
        return likelihood(model, tokenizer, pair(0), "chosen") - likelihood(model, tokenizer, pair(0), "rejected")

    assert gap(last) > gap(first)


def test_a_run_that_was_stopped_goes_on_to_the_same_end(base, data, tmp_path, monkeypatch):
    models = {"sft": adapter_of(base, tmp_path / "sft")}
    settings = {"save_steps": 1, "batch_tokens": 64, "max_length": 64, "epochs": 1}
    whole = run(base, data, tmp_path / "whole", models=models, **settings)
    assert whole["steps"] >= 4

    def stop(self, args, state, control, **_):
        if state.global_step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Watch, "on_step_begin", stop, raising=False)
        run(base, data, tmp_path / "cut", models=models, **settings)
    dpo.run(spec(base, **settings), Inputs({"data": data} | models), tmp_path / "cut", Runtime())
    ends = [loader.load_reached(base, tmp_path / name / "adapter").state_dict() for name in ("whole", "cut")]
    assert all(torch.allclose(weight, ends[1][name], atol=1e-6) for name, weight in ends[0].items())
    logs = [[line["step"] for line in read_jsonl(tmp_path / name / "training.jsonl")] for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_what_cannot_be_learnt_is_refused(base, data, tmp_path):
    with pytest.raises(RecipeError, match="longer than the model is given"):
        run(base, data, tmp_path / "long", max_length=8, batch_tokens=8)
    with pytest.raises(RecipeError, match="no rows to make pairs of"):
        run(base, data, tmp_path / "none", pairs_from="rl")


# Around it


def test_pairs_that_hold_a_test_item_on_either_side_are_taken_out():
    item = "Which of the two ladders in the old yard behind the mill stands on the stone that is wet?"
    rows = [pair(0), pair(1) | {"rejected": turn(item)}, pair(2) | {"chosen": turn(item)}]
    kept, _ = remove_test_items(rows, [], {"outside": [compare_question("one", item)]}, Ledger(), "step")
    assert [row["id"] for row in kept] == ["0"]


def test_the_forecast_counts_the_replies_that_are_sampled(base):
    own = spec(base, pairs_from="rl", prompts=10, samples=4, pairs=2)
    work = dpo.forecast(own, {"rl": 100}, None)
    assert work.rows == 20 and "40 sampled replies" in work.notes and work.tokens > 40 * dpo.REPLY_TOKENS
    assert dpo.forecast(spec(base), {"dpo": 7}, None).rows == 7
    assert dpo.list_reads(own)["rows"] == ["rl.jsonl"] and dpo.list_reads(spec(base))["rows"] == ["dpo.jsonl"]


def test_the_pilot_measures_a_speed(base, tmp_path):
    assert dpo.pilot(spec(base), {"sft": adapter_of(base, tmp_path / "sft")}, SimpleNamespace()) > 0
    assert json.dumps(dpo.LOGS)
