"""LoRAMoE is one of peft's methods: made, run, switched, saved, loaded, evaluated and refused as the others are."""

import copy
import json
import math
import pickle
import runpy

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftConfig, PeftModel, PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.loramoe.layer import LoraMoeLinear
from recipes.models.loramoe.model import FEED_FORWARD
from recipes.models.loramoe.prune import prune, used_experts
from recipes.models.loramoe.register import register
from recipes.models.routing import routing_statistics

IDS = torch.randint(0, 500, (2, 12), generator=torch.Generator().manual_seed(3))


def tiny(vocabulary=500):
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )


def adapted(base=None, seed=1, **values):
    """A model with an adapter that changes its output."""
    torch.manual_seed(seed)
    values = {"init_weights": False, "dropout": 0.0, "task_type": "CAUSAL_LM"} | values
    return get_peft_model(base or tiny(), LoraMoeConfig(**values)).eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(base, adapter, logits of both together), the folders as save_pretrained writes them, with a tokenizer."""
    root = tmp_path_factory.mktemp("loramoe")
    tokenizer = loader.load_tokenizer(Model())
    tiny(len(tokenizer)).save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    model = adapted(AutoModelForCausalLM.from_pretrained(root / "base"))
    model.save_pretrained(root / "adapter")
    return root / "base", root / "adapter", logits(model)


# What peft knows


def test_the_method_is_a_member_like_the_others_and_registers_only_once():
    member = PeftType("LORAMOE")
    assert member is PeftType.LORAMOE is PeftType["LORAMOE"] is copy.deepcopy(member)
    assert pickle.loads(pickle.dumps(member)) is member and list(PeftType).count(member) == 1
    before = dict(PEFT_TYPE_TO_CONFIG_MAPPING)
    register()
    assert before == PEFT_TYPE_TO_CONFIG_MAPPING and before["LORAMOE"] is LoraMoeConfig


def test_wrong_values_of_the_configuration_are_named_together():
    with pytest.raises(ValueError) as caught:
        LoraMoeConfig(r=0, bias="all", expert_types=[1, 0], top_k=7, router_init="ones")
    assert all(name in str(caught.value) for name in ("r = 0", "bias", "expert_types", "top_k", "router_init"))
    assert LoraMoeConfig(num_experts=5).expert_types == [1, 1, 0, 0, 0]
    assert LoraMoeConfig(target_modules=["a", "b"]) == LoraMoeConfig(target_modules=["b", "a"])


# What is adapted


def test_without_names_the_feed_forward_layers_are_adapted_with_the_number_of_weights_of_the_formula():
    model = adapted()
    names = {name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, LoraMoeLinear)}
    experts, rank, hidden, inner = 6, 4, 64, 128
    per_layer = 3 * experts * rank * (hidden + inner) + experts * (hidden + hidden + inner)
    trainable = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert names == {"gate_proj", "up_proj", "down_proj"}
    assert sum(model.get_parameter(name).numel() for name in trainable) == 2 * per_layer == 30720
    assert all(".default." in name and "loramoe_" in name for name in trainable)  # TRL copies by ".default."


@pytest.mark.parametrize("kind", FEED_FORWARD)
def test_every_architecture_with_a_default_has_layers_of_these_names(kind):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, num_hidden_layers=1))
        model = get_peft_model(model, LoraMoeConfig())
    found = [name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, LoraMoeLinear)]
    assert sorted(found) == sorted(FEED_FORWARD[kind])


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"target_modules": "all-linear"}, 14),
        ({"target_modules": "all-linear", "exclude_modules": ["q_proj"]}, 12),
        ({"target_modules": r".*\.mlp\.up_proj"}, 2),
        ({"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]}, 2),
    ],
    ids=["all-linear", "excluded", "expression", "one layer"],
)
def test_layers_are_chosen_as_for_other_methods(values, count):
    model = adapted(**values)
    assert sum(isinstance(module, LoraMoeLinear) for module in model.modules()) == count
    assert not isinstance(model.get_base_model().lm_head, LoraMoeLinear)


def test_a_layer_without_sizes_is_refused():
    with pytest.raises(TypeError, match="in_features"):
        adapted(target_modules=["act_fn"])


# What it computes


def test_at_first_and_switched_off_and_unloaded_it_is_the_base_bit_for_bit():
    base = logits(tiny().eval())
    assert torch.equal(logits(adapted(init_weights=True)), base)
    model = adapted()
    changed = logits(model)
    assert not torch.allclose(changed, base)
    with model.disable_adapter():
        assert torch.equal(logits(model), base)
    assert torch.equal(logits(model), changed)
    assert torch.equal(logits(model.unload()), base)


def one_by_one(layer, x, top_k):
    """The layer's output as the formula has it, expert after expert."""
    down, up, router = (getattr(layer, f"loramoe_{part}")["default"].weight for part in ("A", "B", "router"))
    rank, weights = layer.r["default"], torch.softmax(x @ router.T, -1)
    if top_k:
        smallest = weights.topk(top_k, -1).values[..., -1:]
        weights = weights * (weights >= smallest)
        weights = weights / weights.sum(-1, keepdim=True)
    total = layer.base_layer(x)
    for expert in range(layer.num_experts["default"]):
        rows = slice(expert * rank, (expert + 1) * rank)
        total = total + layer.scaling["default"] * weights[..., expert, None] * (x @ down[rows].T @ up[:, rows].T)
    return total


@pytest.mark.parametrize("top_k", [0, 2])
def test_stacked_experts_give_the_output_and_gradient_of_one_after_another(top_k):
    torch.manual_seed(0)
    config = LoraMoeConfig(r=3, num_experts=5, dropout=0.0, init_weights=False, top_k=top_k)
    layer = LoraMoeLinear(nn.Linear(16, 24), "default", config)
    x, gradients, outputs = torch.randn(2, 7, 16), [], []
    for forward in (layer, lambda x: one_by_one(layer, x, top_k)):
        layer.zero_grad()
        outputs.append(forward(x))
        outputs[-1].square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for n, p in layer.named_parameters() if "loramoe" in n]))
    assert torch.allclose(*outputs, rtol=1e-5, atol=1e-5)
    assert (gradients[0] - gradients[1]).norm() < 1e-6 * gradients[0].norm()


def test_each_token_is_routed_for_itself():
    model, later = adapted(), IDS.clone()
    later[:, 8:] = 7
    with torch.no_grad():
        assert torch.allclose(model(input_ids=later).logits[:, :8], logits(model)[:, :8], atol=1e-6)
        assert torch.allclose(model(input_ids=IDS[:1]).logits, logits(model)[:1], atol=1e-6)


def test_the_router_is_in_fp32_under_bf16_and_sees_no_dropout():
    torch.manual_seed(0)
    seen = []
    layer = LoraMoeLinear(nn.Linear(16, 16), "default", LoraMoeConfig(dropout=0.5)).to(torch.bfloat16).train()
    layer.recorder = lambda name, probabilities, weights: seen.append(probabilities)
    x = torch.randn(3, 16, dtype=torch.bfloat16)
    assert layer(x).dtype == torch.bfloat16
    layer(x)
    assert seen[0].dtype == torch.float32 and torch.equal(*seen)
    assert (seen[0].sum(-1) - 1).abs().max() < 1e-6


def test_weights_pass_the_point_where_routing_can_be_changed():
    layer = LoraMoeLinear(nn.Linear(8, 8), "default", LoraMoeConfig(dropout=0.0, init_weights=False))
    x = torch.randn(4, 8)
    plain = layer(x)
    layer.reroute = lambda name, logits, weights: weights
    assert torch.equal(layer(x), plain)
    layer.reroute = lambda name, logits, weights: torch.zeros_like(weights)
    assert torch.equal(layer(x), layer.base_layer(x))


# Several adapters, and what is refused


def learning(model):
    """Names of the adapters of which a weight learns."""
    return {name.split(".")[-2] for name, weight in model.named_parameters() if weight.requires_grad}


def test_a_second_adapter_of_another_size_on_more_layers_leaves_the_first_as_it_was():
    model = adapted()
    first = logits(model)
    torch.manual_seed(2)
    model.add_adapter("other", LoraMoeConfig(r=2, num_experts=3, init_weights=False, target_modules="all-linear"))
    assert torch.equal(logits(model), first) and learning(model) == {"default"}
    model.set_adapter("other")
    assert not torch.allclose(logits(model), first) and learning(model) == {"other"}
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    model.delete_adapter("other")
    assert torch.equal(logits(model), first) and not any(".other" in name for name in model.state_dict())


def test_merging_is_refused_with_the_reason_before_anything_is_changed():
    model = adapted(modules_to_save=["embed_tokens"])
    before, layers = logits(model), str(model)
    for merge in (
        model.merge_and_unload,
        model.merge_adapter,
        model.base_model.model.model.layers[0].mlp.up_proj.merge,
    ):
        with pytest.raises(ValueError, match="depends on the input"):
            merge()
    assert torch.equal(logits(model), before) and str(model) == layers
    assert not model.base_model.supports_lora_conversion()


def test_pruned_experts_are_as_if_the_router_gave_them_nothing_and_stay_away_when_saved_and_loaded(tmp_path):
    model = adapted(seed=3)
    statistics = routing_statistics(model, [{"input_ids": IDS, "sample_type": torch.tensor([0, 1])}])
    shares = sorted(weight for kinds in statistics["layers"].values() for some in kinds.values() for weight in some)
    kept = used_experts(statistics["layers"], shares[len(shares) // 2])
    assert {1, 2, 3, 4, 5} & {len(places) for places in kept.values()}

    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, LoraMoeLinear)]
    for name, layer in layers:
        mask = torch.zeros(6)
        mask[kept[name.split("base_model.model.")[-1]]] = 1.0
        layer.reroute = lambda _, given, weights, mask=mask: (weights * mask) / (weights * mask).sum(-1, keepdim=True)
    wanted = logits(model)
    for _, layer in layers:
        del layer.reroute
    prune(model, kept)
    assert torch.allclose(logits(model), wanted, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(PeftModel.from_pretrained(tiny(), tmp_path)), logits(model))
    with pytest.raises(ValueError, match="pruned before"):
        prune(model, kept)


def test_of_every_module_the_most_used_expert_stays():
    weights = {"a": {"own": [0.9, 0.08, 0.02], "general": [0.5, 0.01, 0.49]}, "b": {"own": [0.3, 0.4, 0.3]}}
    assert used_experts(weights, 0.05) == {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert used_experts(weights, 0.1) == {"a": [0, 2], "b": [0, 1, 2]}
    assert used_experts(weights, 0.95) == {"a": [0], "b": [1]}


# Saved, loaded, evaluated


def test_a_saved_adapter_loads_to_the_same_bits_on_every_way(folders):
    base, adapter, wanted = folders
    stored = json.loads((adapter / "adapter_config.json").read_text())
    assert stored["peft_type"] == "LORAMOE" and stored["expert_types"] == [1, 1, 1, 0, 0, 0]
    assert type(PeftConfig.from_pretrained(adapter)) is LoraMoeConfig
    fresh = lambda: AutoModelForCausalLM.from_pretrained(base)  # noqa: E731
    for model in (
        PeftModel.from_pretrained(fresh(), adapter),
        PeftModel.from_pretrained(fresh(), adapter, low_cpu_mem_usage=True),
        AutoPeftModelForCausalLM.from_pretrained(adapter),
        AutoModelForCausalLM.from_pretrained(adapter),
        loader.load_adapters(fresh(), {"sft": adapter}),
    ):
        assert torch.equal(logits(model.eval()), wanted)


def test_lm_eval_scores_and_generates_with_the_adapter_and_names_the_method_where_it_is_unknown(folders, monkeypatch):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    base, adapter, _ = folders
    args = {"pretrained": str(base), "device": "cpu", "dtype": "float32", "batch_size": 2}
    with_adapter, without = HFLM(peft=str(adapter), **args), HFLM(**args)
    ask = [Instance("loglikelihood", {}, ("How far", " is it?"), 0)]
    told = [model.loglikelihood(ask, disable_tqdm=True)[0][0] for model in (with_adapter, without)]
    assert all(math.isfinite(value) for value in told) and abs(told[0] - told[1]) > 1e-3
    go = [Instance("generate_until", {}, ("How far", {"until": ["\n"], "max_gen_toks": 3}), 0)]
    assert isinstance(with_adapter.generate_until(go, disable_tqdm=True)[0], str)
    monkeypatch.delitem(PEFT_TYPE_TO_CONFIG_MAPPING, PeftType.LORAMOE)
    with pytest.raises(KeyError, match="LORAMOE"):
        HFLM(peft=str(adapter), **args)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantised_bases_learn_through_checkpointing(folders, kind):
    pytest.importorskip("bitsandbytes")
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    settings = {"load_in_8bit": True}
    if kind == "nf4":
        settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    base = AutoModelForCausalLM.from_pretrained(
        folders[0], quantization_config=BitsAndBytesConfig(**settings), device_map={"": "cpu"}, dtype=torch.float32
    )
    assert type(base.model.layers[0].mlp.up_proj).__name__ == {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[kind]
    base = prepare_model_for_kbit_training(base, gradient_checkpointing_kwargs={"use_reentrant": False})
    model = adapted(base).train()
    assert sum(isinstance(module, LoraMoeLinear) for module in model.modules()) == 6
    model(input_ids=IDS, labels=IDS).loss.backward()
    gradients = [weight.grad for name, weight in model.named_parameters() if "loramoe_" in name]
    assert all(gradient is not None and gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_lm_evals_command_line_runs_where_the_method_is_known(monkeypatch):
    import lm_eval.__main__

    known = []
    monkeypatch.setattr(
        lm_eval.__main__, "cli_evaluate", lambda: known.append("LORAMOE" in PEFT_TYPE_TO_CONFIG_MAPPING)
    )
    runpy.run_module("recipes.models.loramoe", run_name="__main__")
    assert known == [True]


def test_reinforcement_keeps_a_copy_of_a_trained_adapter_as_its_reference(tmp_path):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = loader.load_tokenizer(Model())
    arguments = GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=4,
        beta=0.1,
        learning_rate=1e-2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
    )
    trainer = GRPOTrainer(
        model=adapted(tiny(len(tokenizer))).train(),
        args=arguments,
        reward_funcs=lambda completions, **_: [float(number) for number in range(len(completions))],
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "How far?"}]}] * 2),
        processing_class=tokenizer,
    )
    weights = dict(trainer.model.named_parameters())
    copies = {name: name.replace(".ref.", ".default.") for name in weights if ".ref." in name}
    assert len(copies) == 18 and all(torch.equal(weights[copy], weights[of]) for copy, of in copies.items())
    before = {name: weights[name].detach().clone() for pair in copies.items() for name in pair}
    trainer.train()
    assert all(torch.equal(weights[copy], before[copy]) and not weights[copy].requires_grad for copy in copies)
    assert not any(torch.equal(weights[of], before[of]) for of in copies.values())
