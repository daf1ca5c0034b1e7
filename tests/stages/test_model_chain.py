"""The stages that leave a model, one on the other: continued pre-training, a general supervised stage, the field's own.

A random model of two layers goes the whole way once; what each stage starts from and leaves is looked at in the files.
"""

import json
import random
from itertools import chain as flat

import pytest
import torch

from recipes.artifacts.lineage import Inputs, start
from recipes.artifacts.steps import spec_of
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.runtime import Runtime
from recipes.config.load import load
from recipes.config.slots import module_of
from recipes.models import loader, training
from recipes.models.rl_trainer import load_policy
from recipes.stages import cpt, evaluate, sft
from tests.helpers.tables import cpt_table, rl_table, sft_table
from tests.helpers.tiny_text import tiny_model

LORA = {"rank": 4, "alpha": 8.0, "epochs": 1, "batch_tokens": 128, "max_length": 128, "learning_rate": 1e-2}
TEXT = {"epochs": 2, "batch_tokens": 256, "max_length": 64, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A `[model]` table that names the folder of a random model."""
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def turns(prompt, completion):
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data artefact with text, both supervised files, four test items, and a rule's replies to them."""
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(0)
    texts = [{"text": " ".join(rng.choices(["volt", "amp", "ohm", "and", "the"], k=60))} for _ in range(12)]
    rows = [turns(f"Compute {n} + 1.", f"<answer>{n + 1}</answer>") | {"id": f"r{n}", "kind": "sum"} for n in range(24)]
    tests = [
        {
            "id": f"t{n}",
            "prompt": turns(f"Compute {n} + 2.", "")["prompt"],
            "answer": str(n + 2),
            "reply": f"<answer>{n + 2}</answer>",
            "grader": "numeric",
            "kind": "problems",
            "unit": None,
            "tolerance": None,
        }
        for n in range(4)
    ]
    ruled = [{"id": row["id"], "reply": row["reply"] if row["id"] != "t0" else "I do not know"} for row in tests]
    for stem, found in {"cpt": texts, "sft": rows, "sft_general": rows[::-1], "test": tests, "rules": ruled}.items():
        (folder / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder


@pytest.fixture(scope="module")
def chain(model, data, tmp_path_factory):
    """{stage: its folder} of cpt, sft_general and sft, run one on the other."""
    done = {"data": data}
    specs = {
        "cpt": (cpt, spec_of("cpt", model=model, cpt=cpt_table(**TEXT), seed=1)),
        "sft_general": (sft, spec_of("sft", model=model, sft=sft_table(**LORA, rows="sft_general"), seed=1)),
        "sft": (sft, spec_of("sft", model=model, sft=sft_table(**LORA), seed=1)),
    }
    for stage, (module, spec) in specs.items():
        out = tmp_path_factory.mktemp(stage)
        module.run(spec, done, out, Runtime())
        done = done | {stage: out}
    return done


def tensors(folder):
    from safetensors.torch import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def test_every_stage_starts_from_what_the_one_before_it_left(model, chain):
    base, pretrained = tensors(loader.Path(model.name)), tensors(chain["cpt"] / "model")
    assert any((base[key] - pretrained[key]).abs().max() > 0 for key in base)
    first, second = (tensors(chain[stage] / "adapter") for stage in ("sft_general", "sft"))
    assert first.keys() == second.keys()
    adapter = sft_table(**LORA).adapter
    fresh = module_of(adapter).make_config(adapter, "all-linear")
    assert json.loads((chain["sft"] / "adapter" / "adapter_config.json").read_text())["r"] == fresh.r
    # A learns slowly from its random start: an adapter that started anew would share nothing with the first one
    for key in first:
        if "lora_A" in key:
            assert torch.nn.functional.cosine_similarity(first[key].flatten(), second[key].flatten(), 0) > 0.9
        else:
            assert first[key].abs().max() > 0 and not torch.equal(first[key], second[key])


def test_a_result_is_the_newest_adapter_on_the_newest_whole_model(model, chain):
    whole, adapter = start(model, chain)
    assert whole.name == str(chain["cpt"] / "model") and adapter == chain["sft"] / "adapter"
    assert start(model, chain, "cpt") == (whole, None)
    assert start(model, chain, "sft_general")[1] == chain["sft_general"] / "adapter"
    assert start(model, {}) == (model, None)
    policy = load_policy(spec_of("rl", model=model, rl=rl_table(), seed=1), chain)
    assert torch.equal(
        policy.get_base_model().model.embed_tokens.weight.cpu(),
        tensors(chain["cpt"] / "model")["model.embed_tokens.weight"],
    )


@pytest.mark.parametrize("trainable", [False, True])
def test_what_a_run_has_come_to_is_loaded_whole_with_its_adapter_on_it(model, chain, trainable):
    assert not hasattr(loader.load_reached(*start(model, {})), "peft_config")
    loaded = loader.load_reached(*start(model, chain), trainable=trainable)
    whole, adapter = tensors(chain["cpt"] / "model"), tensors(chain["sft"] / "adapter")
    embedding = loaded.get_base_model().model.embed_tokens.weight
    assert torch.equal(embedding.cpu(), whole["model.embed_tokens.weight"])
    own = {name.replace(".default", ""): weight for name, weight in loaded.named_parameters() if "lora_" in name}
    assert own.keys() == adapter.keys() and all(torch.equal(own[name].cpu(), adapter[name]) for name in own)
    assert loaded.peft_config["default"].inference_mode is not trainable


def test_evaluation_scores_each_stage_on_its_own_weights_and_the_rules_beside_them(model, chain, tmp_path):
    table = evaluate.Config(tasks=("reft_problems",), batch_size=4, max_new_tokens=4)
    inputs = Inputs(chain, asked=("cpt", "sft"))
    evaluate.run(spec_of("evaluate", model=model, eval=table, seed=1), inputs, tmp_path, Runtime())
    index = json.loads((tmp_path / "models.json").read_text())
    assert [m["name"] for m in index["models"]] == ["base", "cpt", "sft", "rules"]
    measured = index["probes"]["drift"]["values"]
    assert set(measured) == {"cpt", "sft"}
    drift = {name: found["kl"]["field"] for name, found in measured.items()}
    assert 0 < drift["cpt"] < drift["sft"]  # both from the base, not from the stage before
    rows = [
        json.loads(line)
        for file in (tmp_path / "lm_eval" / "rules").rglob("samples_*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert sorted(row["acc"] for row in rows) == [0.0, 1.0, 1.0, 1.0]


def test_low_rank_pretraining_leaves_the_merged_model(model, data, tmp_path):
    spec = spec_of("cpt", model=model, cpt=cpt_table(**TEXT, method="lora", rank=4, alpha=8.0), seed=1)
    cpt.run(spec, {"data": data}, tmp_path, Runtime())
    base, merged = tensors(loader.Path(model.name)), tensors(tmp_path / "model")
    assert base.keys() == merged.keys() and not (tmp_path / "adapter").exists()
    moved = {key for key in base if (base[key] - merged[key]).abs().max() > 0}
    assert moved and all("proj" in key for key in moved)


def test_joining_leaves_no_token_out_and_the_seed_draws_the_order():
    texts = [[10 * n + k for k in range(n % 7 + 1)] for n in range(30)]
    blocks = cpt.joined(texts, 16, seed=3)
    assert {len(block) for block in blocks[:-1]} == {16} and 0 < len(blocks[-1]) <= 16
    assert sorted(flat.from_iterable(blocks)) == sorted(flat.from_iterable(texts))
    assert cpt.joined(texts, 16, seed=3) == blocks != cpt.joined(texts, 16, seed=4)


def test_general_text_makes_up_its_share_of_the_tokens_to_one_per_cent(model, data):
    spec = spec_of("cpt", model=model, cpt=cpt_table(**TEXT, general_share=0.465), seed=1)
    blocks, told = cpt.read_blocks(spec, loader.load_tokenizer(model), data)
    whole = told["field_tokens"] + told["general_tokens"]
    assert whole == sum(map(len, blocks)) and abs(told["general_tokens"] / whole - 0.465) < 0.01


def test_what_pretraining_cannot_read_is_said(model, data, tmp_path):
    tokenizer = loader.load_tokenizer(model)
    with pytest.raises(RecipeError, match="no text to learn"):
        cpt.read_blocks(spec_of("cpt", model=model, cpt=cpt_table(**TEXT), seed=1), tokenizer, tmp_path)
    (tmp_path / "few.jsonl").write_text('{"text": "a few words"}\n')
    table = cpt_table(**TEXT, general=str(tmp_path / "few.jsonl"), general_share=0.5)
    with pytest.raises(RecipeError, match="too little general text"):
        cpt.read_blocks(spec_of("cpt", model=model, cpt=table, seed=1), tokenizer, data)


TWICE = """
[demo]
summary = "a demonstration"
builder = "analogseeker"
[demo.sft.adapter]
rank = 32
[demo.eval]
tasks = ["analogseeker_knowledge"]
[demo.steps]
data = {}
first.use = "sft"
sft = {}
evaluate = {}
"""


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["steps.first.adapter.rank=8"], "the adapter of the step first is trained on, so it has"),
        (["steps.sft.losses.kl_to_reference.weight=0.1"], "with it off the model is the one before first"),
        (["steps.first.adapter.init=pissa"], "PiSSA starts an adapter of its own, which this step and first"),
        (["cpt.epochs=1", "model.quantization=nf4", "steps=false"], "4-bit weights cannot be trained"),
        (["cpt.general=./nowhere.jsonl", "steps=false"], "cpt.general: no such file"),
        (["cpt.batch_tokens=64", "steps=false"], "cpt.batch_tokens: a step must hold"),
    ],
    ids=str,
)
def test_stages_that_do_not_go_together_are_refused(tmp_path, sets, message):
    (tmp_path / "recipes.toml").write_text(TWICE)
    assert load(tmp_path / "recipes.toml", "demo").steps[2].inputs == ("first",)
    with pytest.raises(ConfigErrors) as error:
        load(tmp_path / "recipes.toml", "demo", sets=sets)
    assert message in str(error.value)


def test_a_whole_model_before_leaves_the_form_of_the_adapter_free(tmp_path):
    (tmp_path / "recipes.toml").write_text(TWICE)
    sets = ["steps.first.adapter.use=full", "steps.sft.losses.kl_to_reference.weight=0.1"]
    assert load(tmp_path / "recipes.toml", "demo", sets=sets).steps[2].settings.adapter.rank == 32


def test_a_step_starts_from_the_first_model_that_it_names_and_from_the_base_where_it_names_none(model, chain):
    lines = {"cpt": ("cpt",), "sft_general": ("cpt", "sft_general"), "sft": ("sft",)}

    def start_of(*named):
        return start(model, Inputs(chain, lines, named))

    assert start_of("data", "sft_general", "sft") == start(model, chain, "sft_general")
    assert start_of("sft", "sft_general") == (model, chain["sft"] / "adapter"), "a branch from the base"
    assert start_of("data") == (model, None)


def test_pretraining_goes_on_after_an_interruption_and_ends_with_the_same_weights(model, data, tmp_path, monkeypatch):
    spec = spec_of("cpt", model=model, cpt=cpt_table(**TEXT, save_steps=2), seed=1)

    class Stopped(Exception):
        pass

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(training.Watch, "on_step_begin", stop, raising=False)
        with pytest.raises(Stopped):
            cpt.run(spec, {"data": data}, tmp_path / "stopped", Runtime())
    assert list((tmp_path / "stopped").glob("checkpoints/checkpoint-4"))
    for folder in ("stopped", "whole"):
        cpt.run(spec, {"data": data}, tmp_path / folder, Runtime())
    ended, alone = (tensors(tmp_path / folder / "model") for folder in ("stopped", "whole"))
    assert all(torch.equal(ended[key], alone[key]) for key in alone)
