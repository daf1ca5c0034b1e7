"""Every method at work on a model of two layers or on forty rows: what ought to change changes, and nothing is lost."""

import json
from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3ForCausalLM

from data_builders.core.ledger import Ledger
from recipes.artifacts.lineage import Inputs, list_models, start
from recipes.artifacts.rows_context import RowsContext
from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl, write_jsonl
from recipes.base.runtime import Runtime
from recipes.config.schema import WORLD, Model
from recipes.config.slots import list_own, load
from recipes.models import loader, rl_trainer
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.rewards import text_of
from recipes.stages import edit, rl, rows, sft
from tests.helpers.tiny_text import tiny_model

IDS = torch.arange(12).view(2, 6) + 300
GIVEN = {"mix/replay": {"share": 0.2}}  # keys that a table has to be given


def files(slot):
    return pytest.mark.parametrize("name", list_own(slot))


def table(slot, name, **keys):
    return load(slot, name).Config(use=name, **GIVEN.get(f"{slot}/{name}", {}), **keys)


def turn(text, role="assistant"):
    return [{"role": role, "content": text}]


def row(number, kind="open"):
    words = ("find", "explain", "calculate", "describe")[number % 4]
    return {
        "id": f"row{number}",
        "kind": kind,
        "node_id": f"n{number}",
        "fact_id": f"f{number}",
        "family": "fields",
        "lineage": {},
        "prompt": turn(f"Please {words} the reason why item {number} usually helps.", "user"),
        "completion": turn(f"<think>It is {number}.</think>\n<answer>{number}</answer>"),
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    learnt = [row(number, WORLD if number % 4 == 3 else "open") for number in range(16)]
    write_jsonl(folder / "sft.jsonl", learnt)
    asked = {"grader": "numeric", "options": None, "unit": None, "tolerance": 0.01, "difficulty": 1}
    rewarded = [row(n) | asked | {"answer": str(n), "reply": row(n)["completion"][0]["content"]} for n in range(16)]
    write_jsonl(folder / "rl.jsonl", rewarded)
    return folder


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def train(base, data, out, adapter="lora", **more):
    out.mkdir()
    method = table("adapters", adapter, **({} if adapter == "full" else {"rank": 2}))
    own = sft.Config(adapter=method, epochs=2, batch_tokens=512, log_steps=1, learning_rate=1e-2, **more)
    sft.run(spec_of("sft", model=base, seed=0, sft=own), Inputs({"data": data}), out, Runtime())
    return read_jsonl(out / "training.jsonl")


@files("adapters")
def test_what_ought_to_learn_learns_and_the_rest_stays_and_it_loads_as_it_was_saved(base, data, tmp_path, name):
    before = loader.load_base(base).state_dict()
    log = train(base, data, tmp_path / "out", name)
    assert len(log) >= 2 and log[-1]["loss"] != log[0]["loss"]
    whole, adapter = start(base, Inputs({"sft": tmp_path / "out"}), "sft")
    assert (adapter is None) == (load("adapters", name).make_config(table("adapters", name), "all-linear") is None)
    model = loader.load_reached(whole, adapter)
    again = loader.load_reached(whole, adapter)
    assert torch.equal(logits(model), logits(again)) and not torch.allclose(
        logits(model), logits(loader.load_base(base))
    )
    if adapter is not None:
        assert loader.mergeable(model) == getattr(load("adapters", name), "MERGEABLE", True)
        below = {key.replace(".base_layer", ""): weight for key, weight in model.get_base_model().state_dict().items()}
        assert all(torch.equal(below[key], weight) for key, weight in before.items())
    else:
        assert not any(torch.equal(w, before[k]) for k, w in model.state_dict().items() if w.dim() == 2)


@files("losses")
def test_a_loss_changes_what_is_learnt_and_logs_what_it_says(base, data, tmp_path, name):
    plain = train(base, data, tmp_path / "plain", "loramoe")
    log = train(base, data, tmp_path / "with", "loramoe", losses={name: table("losses", name, weight=5.0)})
    module = load("losses", name)
    keys = set(getattr(module, "HISTORY", {}).values())
    assert keys and set(getattr(module, "LOGS", {})) <= keys
    assert all(any(key in line for line in log) for key in keys) and not any(key in plain[0] for key in keys)
    states = [loader.load_reached(base, tmp_path / run / "adapter").state_dict() for run in ("plain", "with")]
    assert any(not torch.equal(weight, states[1][key]) for key, weight in states[0].items())


@pytest.mark.parametrize(
    ("slot", "name"), [(slot, name) for slot in ("select", "augment", "mix") for name in list_own(slot)]
)
def test_forty_rows_go_through_and_the_ledger_adds_up(tmp_path, slot, name):
    keys = {}
    if name == "reviewed":
        answers = {"row3": {"verdict": "wrong"}, "row4": {"verdict": "right"}}
        (tmp_path / "answers.json").write_text(json.dumps({"answers": answers}))
        keys["answers"] = (str(tmp_path / "answers.json"),)
    some = [row(number) for number in range(40)]
    if name == "length":
        keys["most"] = 80
        some[3] = row(3) | {"completion": [{"role": "assistant", "content": "word " * 90}]}
    own = table(slot, name, **keys)
    write_jsonl(tmp_path / "sft.jsonl", some)
    ledger = Ledger()
    tokenizer = loader.load_tokenizer(Model())
    context = RowsContext(0, {"the test": []}, ledger, tmp_path, Runtime(), load_reader=lambda rows: tokenizer)
    rows.change_rows(rows.Config(**{slot: {name: own}}), context)
    left = read_jsonl(tmp_path / "sft.jsonl")
    counts = Counter("old" if one in some else "new" for one in left)
    assert len({one["id"] for one in left}) == len(left)
    total = ledger.totals()[name]
    guess = getattr(load(slot, name), "count_rows", None)  # a review's answers say what goes only when they are read
    count = guess(own, 40) if guess else 39
    if slot == "select":
        assert counts["new"] == 0 and total["dropped"] + len(left) == 40 and len(left) == count < 40
    else:
        assert counts["old"] == 40 and 0 < counts["new"] <= count - 40
    assert context.note.keys() <= {name}


@files("edit")
def test_an_edit_leaves_a_model_that_answers_otherwise(base, data, tmp_path, name):
    for number, config in enumerate((LoraConfig, LoraConfig, LoraMoeConfig)):
        torch.manual_seed(number)
        model = get_peft_model(loader.load_base(base), config(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        for weight in model.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.2)
        model.save_pretrained(str(tmp_path / f"step{number}" / "adapter"))
    lines = {f"step{number}": (f"step{number}",) for number in range(3)}
    spec = spec_of("edit", model=base, seed=0, edit=edit.Config(method=table("edit", name)))
    for direct in (("step0",), ("step0", "step1"), ("step2",)):  # one of these suits every method
        inputs = Inputs({"data": data} | {n: tmp_path / n for n in direct}, lines, direct)
        out = tmp_path / ("out-" + "-".join(direct))
        out.mkdir()
        try:
            assert edit.run(spec, inputs, out, Runtime())["models"] == list(direct)
            break
        except RecipeError as error:
            assert error.where and error.got and error.allowed
    whole, adapter = start(base, Inputs({"out": out}), "out")
    assert list_models({"out": out}) and logits(loader.load_reached(whole, adapter)).isfinite().all()


@files("rl")
def test_two_steps_of_reinforcement_change_the_policy(base, data, tmp_path, monkeypatch, name):
    def accuracy_reward(completions, **_):
        return [float(len(text_of(text)) % 2) for text in completions]

    def generate(self, *given, **named):
        replies = generated(self, *given, **named)
        replies[:, -1] = self.config.eos_token_id  # a reply that is cut off is not learnt from
        return replies

    generated = Qwen3ForCausalLM.generate
    monkeypatch.setattr(Qwen3ForCausalLM, "generate", generate)
    monkeypatch.setattr(rl_trainer, "accuracy_reward", accuracy_reward)
    train(base, data, tmp_path / "sft")
    own = {"steps": 2, "prompts_per_step": 4, "group_size": 4, "max_completion_length": 8, "learning_rate": 1e-2}
    table_of = rl.Config(method=table("rl", name), **own)
    out = tmp_path / "rl"
    out.mkdir()
    inputs = Inputs({"data": data, "sft": tmp_path / "sft"})
    done = rl.run(spec_of("rl", model=base, seed=0, rl=table_of), inputs, out, Runtime())
    assert done["steps"] == 2 and read_jsonl(out / "training.jsonl")
    states = [loader.load_reached(base, path / "adapter").state_dict() for path in (tmp_path / "sft", out)]
    assert any(not torch.equal(weight, states[1][key]) for key, weight in states[0].items())
