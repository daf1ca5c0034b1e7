"""Models edited without training: scaled, merged, pruned; what is left is what the arithmetic says."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import merge_utils

from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.jsonl import write_jsonl
from recipes.base.runtime import Runtime
from recipes.config.schema import WORLD, Model
from recipes.methods.edit import merge, prune_experts, scale
from recipes.models import loader
from recipes.models.edit_context import EditContext
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.stages import edit as stage
from tests.helpers.tiny_text import tiny_model

IDS = torch.arange(12).view(2, 6) + 300


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory):
    """Makes a step's folder with a random adapter: make(name, seed, **lora) -> folder."""
    root = tmp_path_factory.mktemp("steps")

    def make(name, seed, config=LoraConfig, **settings):
        settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
        torch.manual_seed(seed)
        model = get_peft_model(loader.load_base(base), config(**settings))
        for weight in model.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.05)
        model.save_pretrained(str(root / name / "adapter"))
        return root / name

    return make


def context_of(base, out, data=None, **folders):
    models = {}
    for name, path in folders.items():
        whole = path / "model"
        models[name] = (Model(name=str(whole)), None) if whole.is_dir() else (base, path / "adapter")
    return EditContext(base, 0, models, data, out, Runtime())


def whole_model(base, folder, out):
    """The model of a step as a whole one, in a folder of its own."""
    merged = loader.load_reached(base, folder / "adapter").merge_and_unload()
    merged.save_pretrained(out / "model")
    return out


def deltas(base, folder):
    """{weight: what a step added to it}, float32."""
    start = loader.load_base(base).state_dict()
    if (folder / "model").is_dir():
        state = loader.load_base(Model(name=str(folder / "model"))).state_dict()
    else:
        state = loader.load_reached(base, folder / "adapter").merge_and_unload().state_dict()
    return {name: state[name] - weight for name, weight in start.items()}


def logits(base, folder):
    with torch.no_grad():
        return loader.load_reached(base, folder / "adapter").eval()(input_ids=IDS).logits


def close(one, other):
    return all(torch.allclose(one[name], other[name], atol=1e-6) for name in other)


# Scaling


@pytest.mark.parametrize("form", [{}, {"use_rslora": True}, {"alpha_pattern": {"q_proj": 2}}], ids=str)
def test_a_scaled_adapter_adds_that_share_of_what_it_added(base, folder, tmp_path, form):
    one = folder("plain" + "".join(form), 1, **form)
    assert scale.edit(scale.Config(factor=0.25), context_of(base, tmp_path, one=one)) == {"factor": 0.25}
    assert close(deltas(base, tmp_path), {name: delta / 4 for name, delta in deltas(base, one).items()})


def test_scaled_to_nothing_the_base_answers_and_by_one_the_adapter_as_it_was(base, folder, tmp_path):
    one = folder("loramoe", 2, LoraMoeConfig, dropout=0.0)
    for factor in (0.0, 1.0):
        scale.edit(scale.Config(factor=factor), context_of(base, tmp_path / str(factor), one=one))
    with torch.no_grad():
        untouched = loader.load_base(base).eval()(input_ids=IDS).logits
    assert torch.equal(logits(base, tmp_path / "0.0"), untouched)
    assert torch.equal(logits(base, tmp_path / "1.0"), logits(base, one)) and not torch.equal(
        logits(base, one), untouched
    )


def test_what_cannot_be_scaled_is_refused(base, folder, tmp_path):
    dora, one = folder("dora", 3, use_dora=True), folder("one", 1)
    whole = whole_model(base, one, tmp_path / "whole")
    for models, got in (({"dora": dora}, "DoRA"), ({"whole": whole}, "a whole model"), ({"a": one, "b": one}, "a, b")):
        with pytest.raises(RecipeError) as caught:
            scale.edit(scale.Config(), context_of(base, tmp_path / "out", **models))
        assert got in caught.value.got


# Merging


@pytest.mark.parametrize("ranks", [(4, 4), (2, 6)], ids=str)
def test_a_linear_merge_of_two_adapters_is_one_adapter_that_adds_the_mean(base, folder, tmp_path, ranks):
    one, two = (folder(f"rank{rank}-{seed}", seed, r=rank) for seed, rank in enumerate(ranks, 10))
    said = merge.edit(merge.Config(), context_of(base, tmp_path, one=one, two=two))
    assert said["left"] == f"an adapter of rank {sum(ranks)}" and said["weights"] == [0.5, 0.5]
    first, second = deltas(base, one), deltas(base, two)
    assert close(deltas(base, tmp_path), {name: (first[name] + second[name]) / 2 for name in first})
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_the_scale_of_rslora_and_layers_that_only_one_has_are_counted(base, folder, tmp_path):
    one = folder("rs", 20, use_rslora=True, target_modules=["q_proj", "up_proj"])
    two = folder("other layers", 21, target_modules=["v_proj", "up_proj"])
    merge.edit(merge.Config(weights=(0.2, -1.0)), context_of(base, tmp_path, one=one, two=two))
    first, second = deltas(base, one), deltas(base, two)
    assert close(deltas(base, tmp_path), {name: 0.2 * first[name] - second[name] for name in first})


@pytest.mark.parametrize("rule", ["ties", "magnitude_prune", "dare_linear", "dare_ties"])
def test_other_rules_work_on_whole_deltas_and_leave_a_whole_model(base, folder, tmp_path, rule):
    one, two = folder("a", 30), folder("b", 31, r=3)
    own = merge.Config(rule=rule, density=0.4, seed=5)
    said = merge.edit(own, context_of(base, tmp_path / "made", one=one, two=two))
    assert said["left"] == "a whole model" and said["weights"] == ([1.0, 1.0] if "ties" in rule else [0.5, 0.5])
    made, first, second = deltas(base, tmp_path / "made"), deltas(base, one), deltas(base, two)
    name = "model.layers.0.mlp.up_proj.weight"
    if rule in ("ties", "magnitude_prune"):
        weights = torch.tensor(said["weights"])
        wanted = getattr(merge_utils, rule)([first[name], second[name]], weights, 0.4)
        assert torch.allclose(made[name], wanted, atol=1e-6) and not torch.allclose(made[name], first[name], atol=1e-3)
    else:
        share = (made[name].abs() > 1e-7).float().mean()
        assert 0.55 < share < 0.73  # 1 - 0.6 ** 2 of the weights keep one of the two at least
    merge.edit(own, context_of(base, tmp_path / "again", one=one, two=two))
    again = (tmp_path / "again" / "model" / "model.safetensors").read_bytes()
    assert again == (tmp_path / "made" / "model" / "model.safetensors").read_bytes()
    assert loader.load_tokenizer(Model(name=str(tmp_path / "made" / "model"))).chat_template


def test_ties_may_leave_an_adapter_of_a_rank(base, folder, tmp_path):
    one, two = folder("a", 30), folder("b", 31, r=3)
    said = merge.edit(
        merge.Config(rule="ties", density=0.4, rank=32), context_of(base, tmp_path / "full", one=one, two=two)
    )
    assert said["left"] == "an adapter of rank 32"  # every layer of this model has rank 32 at most
    merge.edit(merge.Config(rule="ties", density=0.4), context_of(base, tmp_path / "whole", one=one, two=two))
    assert close(
        {n: d * (d.abs() > 1e-5) for n, d in deltas(base, tmp_path / "full").items()},
        {n: d * (d.abs() > 1e-5) for n, d in deltas(base, tmp_path / "whole").items()},
    )


def test_whole_models_merge_with_adapters_of_the_base(base, folder, tmp_path):
    one, two = folder("a", 30), folder("dora", 3, use_dora=True)
    whole = whole_model(base, one, tmp_path / "whole")
    merge.edit(merge.Config(), context_of(base, tmp_path / "out", whole=whole, two=two))
    first, second = deltas(base, one), deltas(base, two)
    assert close(deltas(base, tmp_path / "out"), {name: (first[name] + second[name]) / 2 for name in first})


def test_what_cannot_be_merged_is_refused(base, folder, tmp_path):
    one, experts = folder("a", 30), folder("loramoe", 2, LoraMoeConfig, dropout=0.0)
    other = tiny_model(tmp_path / "other")
    shutil.copytree(base.name, tmp_path / "wide" / "model")

    def refused(context, own=None):
        with pytest.raises(RecipeError) as caught:
            merge.edit(own or merge.Config(), context)
        return str(caught.value)

    assert "depends on the input" in refused(context_of(base, tmp_path / "out", one=one, experts=experts))
    assert "two models or more" in refused(context_of(base, tmp_path / "out", one=one))
    on_other = EditContext(base, 0, {"a": (base, one / "adapter"), "b": (other, one / "adapter")}, None, tmp_path, None)
    assert "different bases" in refused(on_other)
    whole = whole_model(base, one, tmp_path / "whole")
    context = context_of(base, tmp_path / "out", one=one, whole=whole)
    assert "cannot be merged into an adapter" in refused(context, merge.Config(rule="ties", rank=4))
    config = json.loads((tmp_path / "wide" / "model" / "config.json").read_text())
    from transformers import Qwen3Config, Qwen3ForCausalLM

    Qwen3ForCausalLM(Qwen3Config(**config | {"intermediate_size": 64})).save_pretrained(tmp_path / "wide" / "model")
    assert "different shapes" in refused(context_of(base, tmp_path / "out", one=whole, wide=tmp_path / "wide"))


# Pruning


@pytest.fixture
def rows(tmp_path):
    turn = {
        "prompt": [{"role": "user", "content": "Where?"}],
        "completion": [{"role": "assistant", "content": "Here."}],
    }
    kinds = ["open", "open", WORLD]
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "sft.jsonl", [turn | {"id": str(n), "kind": kind} for n, kind in enumerate(kinds)])
    return tmp_path / "data"


def test_experts_below_the_share_are_left_out_and_stay_away(base, folder, rows, tmp_path):
    experts = folder("loramoe", 2, LoraMoeConfig, dropout=0.0)
    context = context_of(base, tmp_path / "out", rows, experts=experts)
    nothing = prune_experts.edit(prune_experts.Config(least=0.0), context)
    assert nothing["experts_kept"] == nothing["experts_before"] == 14 * 6
    assert torch.allclose(logits(base, tmp_path / "out"), logits(base, experts))
    few = prune_experts.edit(prune_experts.Config(least=0.9), context)
    assert few["experts_kept"] == 14  # of each of 14 layers the most used one stays
    kept = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())["kept_experts"]
    assert len(kept) == 14 and all(len(places) == 1 for places in kept.values())
    assert not torch.allclose(logits(base, tmp_path / "out"), logits(base, experts))


def test_what_has_no_experts_or_no_rows_is_refused(base, folder, rows, tmp_path):
    experts, one = folder("loramoe", 2, LoraMoeConfig, dropout=0.0), folder("a", 30)
    prune_experts.edit(prune_experts.Config(least=0.9), context_of(base, tmp_path / "out", rows, experts=experts))
    for models, data, text in (
        ({"one": one}, rows, "one: LORA"),
        ({"again": tmp_path / "out"}, rows, "pruned before"),
        ({"experts": experts}, None, "no such file"),
    ):
        with pytest.raises(RecipeError, match=text):
            prune_experts.edit(prune_experts.Config(), context_of(base, tmp_path / "other", data, **models))


# The stage around them


def test_the_stage_hands_on_the_models_that_it_names(base, folder, tmp_path):
    from recipes.artifacts.lineage import Inputs, start

    one, two, three = folder("a", 30), folder("b", 31, r=3), folder("c", 32)
    lines = {"one": ("one",), "two": ("two",), "three": ("three",), "both": ("one", "both")}
    inputs = Inputs({"one": one, "two": two, "three": three}, lines, ("three", "one"))
    spec = spec_of("edit", model=base, seed=0, edit=stage.Config(method=merge.Config(use="merge")))
    (tmp_path / "both").mkdir()
    assert stage.run(spec, inputs, tmp_path / "both", Runtime())["models"] == ["three", "one"]
    whole, adapter = start(base, Inputs(dict(inputs) | {"both": tmp_path / "both"}, lines), "both")
    assert whole == base and adapter == tmp_path / "both" / "adapter"
    with pytest.raises(RecipeError, match="no model to edit"):
        stage.run(spec, Inputs({}), tmp_path / "both", Runtime())
