"""PPO with a value head on TRL's GRPOTrainer: its formulas, what it trains, what it leaves on disk."""

import math
import os
import socket
import subprocess
import sys

import pytest
import torch
from peft import IA3Config, LoHaConfig, get_peft_model
from safetensors.torch import load_file
from transformers import Qwen3ForCausalLM

from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.methods.rl.ppo.gae import gae, moments, terminal_rewards, whiten
from recipes.methods.rl.ppo.trainer import PPOTrainer
from recipes.models import loader, training
from recipes.models.loader import causal_lm
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.value_head import HEAD, forget_reference, policy_with_value_head
from tests.helpers.tiny_letters import config, logits, lora, saved, tiny, trainer_of

MASK = torch.tensor([[1] * n + [0] * (7 - n) for n in (7, 4, 1)])


@pytest.fixture(scope="module")
def sft_adapter(tmp_path_factory):
    """(folder of the base, folder of an adapter that moves it)."""
    home = tmp_path_factory.mktemp("sft")
    base = saved(tiny(), home / "base")
    torch.manual_seed(1)
    model = get_peft_model(base, lora(lora_dropout=0.3))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    model.save_pretrained(home / "adapter")
    return home / "base", home / "adapter"


def policy(sft_adapter):
    base, adapter = sft_adapter
    return policy_with_value_head(Qwen3ForCausalLM.from_pretrained(base), adapter)


# --- the formulas -----------------------------------------------------------------------------------------------------


def test_gae_is_the_recursion_of_reft_on_each_ragged_reply():
    generator = torch.Generator().manual_seed(3)
    rewards, values = torch.randn(2, 3, 7, generator=generator)
    advantages, returns = gae(rewards, values, MASK, gamma=0.9, lam=0.8)
    for row, length in enumerate((7, 4, 1)):
        last, found = 0.0, []
        for t in reversed(range(length)):  # the loop of ReFT's published code, on one reply without padding
            following = float(values[row, t + 1]) if t < length - 1 else 0.0
            delta = float(rewards[row, t]) + 0.9 * following - float(values[row, t])
            last = delta + 0.9 * 0.8 * last
            found.insert(0, last)
        assert advantages[row, :length].tolist() == pytest.approx(found, abs=1e-5)
        assert not advantages[row, length:].any() and not returns[row, length:].any()
    assert torch.allclose(returns, advantages + values * MASK)


def test_with_lambda_one_the_returns_are_the_discounted_sums_of_rewards():
    rewards, values = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(4))
    _, returns = gae(rewards, values, MASK, gamma=0.9, lam=1.0)
    for row, length in enumerate((7, 4, 1)):
        sums = [sum(0.9 ** (k - t) * float(rewards[row, k]) for k in range(t, length)) for t in range(length)]
        assert returns[row, :length].tolist() == pytest.approx(sums, abs=1e-5)


def test_the_score_stands_at_the_last_token_and_an_empty_reply_has_none():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    assert terminal_rewards(torch.tensor([1.0, 0.5, 9.0]), mask).tolist() == [[0, 0, 1], [0.5, 0, 0], [0, 0, 0]]


def test_whitening_over_two_ranks_is_that_of_one_rank_with_both_batches():
    both = torch.randn(6, 7, generator=torch.Generator().manual_seed(5)) + 100.0
    mask = torch.cat([MASK, MASK.flip(0)])
    whole = whiten(both, mask)
    ((mean, variance),) = moments([whole], mask)
    assert float(mean) == pytest.approx(0, abs=1e-5) and float(variance) == pytest.approx(1, abs=1e-4)
    assert not whole[mask == 0].any()
    sums = []
    for part in (slice(0, 3), slice(3, 6)):
        whiten(both[part], mask[part], lambda own: sums.append(own) or own)
    parts = [whiten(both[part], mask[part], lambda own: sums[0] + sums[1]) for part in (slice(0, 3), slice(3, 6))]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)


def test_a_reply_that_is_cut_off_earns_nothing_whatever_stands_in_it(tmp_path):
    given = [1.0, 1.0, 1.0, None]
    trainer = trainer_of(tiny(), tmp_path, reward=lambda completions, **_: given, peft_config=lora())
    replies = [[2, 3, 4], [2, 3, trainer.eos_token_ids[0]], [2, trainer.eos_token_ids[-1]], [2, 1]]
    found = trainer._calculate_rewards([{}] * 4, ["a"] * 4, ["abc"] * 4, replies)
    assert found[:3, 0].tolist() == [0.0, 1.0, 1.0] and found[3].isnan()
    assert found is trainer._rewards


# --- the configuration ------------------------------------------------------------------------------------------------


def test_one_reply_a_prompt_is_accepted_and_dropout_is_off(tmp_path):
    one = config(tmp_path)
    assert (one.num_generations, one.generation_batch_size, one.disable_dropout) == (1, 8, True)
    assert one.ddp_find_unused_parameters is False
    assert config(tmp_path, num_generations=4).num_generations == 4


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(per_device_train_batch_size=7), "must be even"),
        (dict(beta=0.0), "without a KL penalty"),
        (dict(loss_type="dapo"), "PPO has one loss"),
        (dict(use_vllm=True), "vLLM"),
        (dict(use_transformers_continuous_batching=True, bf16=True), "continuous batching"),
    ],
)
def test_what_does_not_fit_ppo_is_refused_with_the_reason(tmp_path, settings, message):
    with pytest.raises(RecipeError, match=message):
        config(tmp_path, **settings)


def test_no_kl_needs_the_flag(tmp_path):
    assert config(tmp_path, beta=0.0, allow_no_kl=True).beta == 0.0


def test_an_adapter_without_a_head_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(RecipeError, match="policy_with_value_head"):
        trainer_of(get_peft_model(tiny(), lora()), tmp_path)


# --- one update -------------------------------------------------------------------------------------------------------


def first_ratios(model, folder, **more):
    """Every |log pi - log pi_old| and the clip share of the first step, by the trainer's own loss."""
    seen = []

    class Spy(PPOTrainer):
        def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
            found = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
            if kwargs.get("compute_entropy") and self.state.global_step == 0:
                seen.append((found[0].detach(), self._inputs["old_per_token_logps"], self._inputs["completion_mask"]))
            return found

        def _compute_loss(self, model, inputs):
            self._inputs = inputs
            return super()._compute_loss(model, inputs)

    trainer = trainer_of(model, folder, cls=Spy, **more)
    trainer.train()
    return max(float(((new - old) * mask).abs().max()) for new, old, mask in seen), trainer


@pytest.mark.parametrize("minibatches", [1, 2])
def test_the_first_ratio_is_one_and_with_dropout_it_is_not(sft_adapter, tmp_path, minibatches):
    size = dict(per_device_train_batch_size=16 // minibatches, gradient_accumulation_steps=minibatches)
    off, trainer = first_ratios(policy(sft_adapter), tmp_path, **size)
    assert off == 0.0
    assert trainer.state.log_history[0]["clip_ratio/region_mean"] == 0.0
    on, _ = first_ratios(policy(sft_adapter), tmp_path, disable_dropout=False, **size)
    assert on > 1e-3


def test_the_first_kl_is_zero_and_later_it_is_not(sft_adapter, tmp_path):
    trainer = trainer_of(policy(sft_adapter), tmp_path, max_steps=4)
    trainer.train()
    kl = [entry["sequence_kl"] for entry in trainer.state.log_history if "sequence_kl" in entry]
    assert kl[0] == pytest.approx(0, abs=1e-6) and abs(kl[-1]) > 1e-3


def rollout(trainer):
    return trainer._generate_and_score_completions(list(trainer.train_dataset.select(range(8))))


@pytest.fixture(scope="module")
def fixed(sft_adapter, tmp_path_factory):
    """A trainer, and one rollout of it whose reference differs from the policy."""
    trainer = trainer_of(policy(sft_adapter), tmp_path_factory.mktemp("fixed"), whiten=False, beta=0.5)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    output = rollout(trainer)
    logps = output["old_per_token_logps"]
    output["ref_per_token_logps"] = logps - 0.3 * torch.rand(logps.shape, generator=torch.Generator().manual_seed(6))
    return trainer, output


def test_beta_changes_the_returns_by_the_k1_penalty_and_not_the_loss(fixed):
    trainer, output = fixed
    score, mask = torch.linspace(0, 1, 8), output["completion_mask"]
    k1 = (output["old_per_token_logps"] - output["ref_per_token_logps"]) * mask
    found = {}
    for beta in (0.5, 0.1):
        trainer.beta = beta
        found[beta] = trainer._estimate(dict(output), score)
    expected, _ = gae(-0.4 * k1, torch.zeros_like(k1), mask, 1.0, 0.95)
    assert torch.allclose(found[0.5]["returns"] - found[0.1]["returns"], expected, atol=1e-5)
    assert k1.abs().max() > 0.1
    losses = []
    for beta in (0.5, 0.1):
        trainer.beta = beta
        losses.append(trainer._compute_loss(trainer.model, found[0.5]).item())
        assert trainer.beta == beta
    assert losses[0] == losses[1]


def test_values_are_those_of_the_state_before_each_token(fixed):
    trainer, output = fixed
    causal = causal_lm(trainer.model)
    head = getattr(causal, HEAD)
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    with torch.no_grad():
        weight = head.modules_to_save["default"].weight
        weight.normal_(generator=torch.Generator().manual_seed(7))
        hidden = causal.model(input_ids=ids, attention_mask=mask).last_hidden_state
        _, values = trainer._logps_and_values(output)
        weight_copy = weight.clone()
        weight.zero_()
    length, prompt = output["completion_ids"].size(1), output["prompt_ids"].size(1)
    expected = torch.stack([hidden[:, prompt - 1 + t] @ weight_copy[0] for t in range(length)], dim=1)
    valid = output["completion_mask"].bool()
    assert torch.allclose(values[valid], expected[valid], atol=1e-5)


def test_values_and_log_probs_stay_when_only_learnt_positions_are_scored(fixed, monkeypatch):
    import trl.trainer.utils as fused

    trainer, output = fixed
    mask = output["completion_mask"].bool()
    found = []
    for choice in (False, True):
        monkeypatch.setattr(fused, "_use_triton", lambda device, choice=choice: choice)
        found.append([tensor[mask] for tensor in trainer._logps_and_values(output)])
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5) and torch.allclose(found[0][1], found[1][1], atol=1e-6)


def test_the_value_loss_is_the_larger_of_the_plain_and_the_clipped_error(fixed):
    trainer, _ = fixed
    inputs = {
        "completion_mask": torch.tensor([[1, 1], [1, 0]]),
        "old_values": torch.tensor([[0.0, 0.0], [0.0, 9.0]]),
        "returns": torch.tensor([[1.0, 0.1], [0.0, 5.0]]),
    }
    loss, clipped = trainer._value_loss(torch.tensor([[0.5, 0.1], [1.0, 7.0]]), inputs)
    # tokens: max(.5², .8²) = .64; 0; max(1, .2²) = 1. Means of the replies: .32 and 1.
    assert float(loss) == pytest.approx(0.5 * (0.32 + 1.0) / 2) and float(clipped) == pytest.approx(1 / 3)


def test_a_reply_that_no_reward_function_scores_teaches_nothing(sft_adapter, tmp_path):
    def some(completions, **_):
        return [None if number % 2 else 1.0 for number in range(len(completions))]

    trainer = trainer_of(policy(sft_adapter), tmp_path, reward=some)
    trainer.model.train()
    output = rollout(trainer)
    assert output["completion_mask"].any(dim=1).tolist() == [True, False] * 4
    assert output["advantages"].any(dim=1).tolist() == [True, False] * 4
    trainer.train()
    assert all(math.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)


def test_truncated_replies_can_be_left_out_without_harm(sft_adapter, tmp_path):
    """Every reply is cut: it has to have two tokens and may not have more."""
    model = policy(sft_adapter)
    before = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    more = dict(mask_truncated_completions=True, max_completion_length=2, generation_kwargs={"min_new_tokens": 2})
    trainer_of(model, tmp_path, **more).train()
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_it_can_be_evaluated_with_one_reply_a_prompt(sft_adapter, tmp_path):
    trainer = trainer_of(policy(sft_adapter), tmp_path, max_steps=2, per_device_eval_batch_size=3)
    trainer.train()
    scores = trainer.evaluate(trainer.train_dataset.select(range(6)))
    assert 0 <= scores["eval_reward"] <= 1 and math.isfinite(scores["eval_loss"])


# --- whole runs -------------------------------------------------------------------------------------------------------


def moved(model, before):
    """Names of trainable tensors that are as they were."""
    return [name for name, p in model.named_parameters() if p.requires_grad and torch.equal(p, before[name])]


@pytest.mark.parametrize("kind", ["full", "new lora", "lora from disk", "checkpointing"])
def test_every_trainable_tensor_moves_the_head_included(kind, sft_adapter, tmp_path):
    more = {}
    if kind in ("full", "checkpointing"):
        model = saved(tiny(), tmp_path / "base")
    elif kind == "new lora":
        model, more = tiny(), {"peft_config": lora()}
    else:
        model = policy(sft_adapter)
    # a fully trained model's own embedding is moved only where its tokens occur; that is enough
    trainer = trainer_of(model, tmp_path / "run", max_steps=4, gradient_checkpointing=kind == "checkpointing", **more)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    names = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    assert sum(HEAD in name for name in names) == 2 and not any(".ref." in name for name in names)
    assert moved(trainer.model, before) == []
    if kind == "lora from disk":
        frozen = [name for name in before if ".ref." in name]
        parameters = dict(trainer.model.named_parameters())
        assert frozen and all(torch.equal(parameters[name], before[name]) for name in frozen)


def test_value_warm_up_leaves_the_policy_term_out(sft_adapter, tmp_path):
    """With a head of zeros the value loss cannot reach the backbone; only the policy term could move it."""
    model = policy(sft_adapter)
    trainer = trainer_of(model, tmp_path, max_steps=1, value_warmup_steps=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer.train()
    unmoved = moved(model, before)
    assert unmoved and all("lora_" in name for name in unmoved) and not any(HEAD in name for name in unmoved)


def test_the_head_may_learn_at_a_rate_of_its_own(sft_adapter, tmp_path):
    trainer = trainer_of(policy(sft_adapter), tmp_path, value_rate=30.0)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    groups = trainer.create_optimizer().param_groups
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    heads = {name for name in rates if "v_head" in name}
    assert len(heads) == 2 and {rates[name] for name in heads} == {30 * trainer.args.learning_rate}
    assert {rates[name] for name in rates.keys() - heads} == {trainer.args.learning_rate}
    assert set(rates) == {name for name, p in trainer.model.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def finished(sft_adapter, tmp_path_factory):
    """(trained policy, folder it was saved to)."""
    home = tmp_path_factory.mktemp("ppo")
    trainer = trainer_of(policy(sft_adapter), home / "run", max_steps=4)
    trainer.train()
    forget_reference(trainer.model)
    training.save_result(trainer.model, home / "adapter")
    return trainer.model, home / "adapter"


def test_the_sft_adapter_becomes_a_policy_with_equal_logits_and_a_trainable_head(sft_adapter):
    base, adapter = sft_adapter
    plain = loader.load_adapters(Qwen3ForCausalLM.from_pretrained(base), {"default": adapter})
    model = policy(sft_adapter)
    assert torch.equal(logits(model), logits(plain))
    assert sum(HEAD in name and p.requires_grad for name, p in model.named_parameters()) == 2


def test_the_result_loads_on_a_base_without_a_head_with_the_same_logits(finished, sft_adapter):
    model, folder = finished
    assert not (folder / "ref").exists()
    plain = loader.load_adapters(Qwen3ForCausalLM.from_pretrained(sft_adapter[0]), {"default": folder})
    assert torch.equal(logits(plain), logits(model))
    both = loader.load_adapters(Qwen3ForCausalLM.from_pretrained(sft_adapter[0]), {"sft": sft_adapter[1], "rl": folder})
    both.set_adapter("rl")
    assert torch.equal(logits(both), logits(model))


def test_the_head_is_in_the_file_and_comes_back_equal(finished, sft_adapter):
    model, folder = finished
    head = getattr(causal_lm(model), HEAD).modules_to_save["default"]
    stored = load_file(folder / "adapter_model.safetensors")
    assert torch.equal(stored[f"base_model.model.{HEAD}.weight"], head.weight) and head.weight.any()
    again = policy_with_value_head(Qwen3ForCausalLM.from_pretrained(sft_adapter[0]), folder)
    reloaded = getattr(causal_lm(again), HEAD).modules_to_save["default"]
    assert torch.equal(reloaded.weight, head.weight) and torch.equal(reloaded.bias, head.bias)


def test_a_fully_trained_policy_loads_as_a_plain_model(tmp_path):
    model = saved(tiny(), tmp_path / "base")
    trainer_of(model, tmp_path / "run", max_steps=2).train()
    model.save_pretrained(tmp_path / "model")
    assert torch.equal(logits(Qwen3ForCausalLM.from_pretrained(tmp_path / "model")), logits(model))


def test_it_learns(tmp_path):
    trainer = trainer_of(
        saved(tiny(), tmp_path / "base"),
        tmp_path / "run",
        max_steps=60,
        per_device_train_batch_size=16,
        learning_rate=5e-3,
        beta=0.02,
        max_completion_length=16,
        generation_kwargs={"min_new_tokens": 4},
    )
    trainer.train()
    reward = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert sum(reward[-5:]) / 5 > sum(reward[:5]) / 5 + 0.15
    explained = [entry["explained_variance"] for entry in trainer.state.log_history if "explained_variance" in entry]
    assert explained[0] == pytest.approx(0, abs=1e-6) or explained[0] <= 0


def test_two_ranks_end_with_the_same_weights(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in ("0", "1"):
        where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        where |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "tests.helpers.tiny_letters", str(tmp_path)]
        ranks.append(
            subprocess.Popen(command, cwd=ROOT, env={**os.environ, **where}, stderr=subprocess.PIPE, text=True)
        )
    errors = [process.communicate()[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], "".join(errors)[-3000:]
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert sum(HEAD in name and bool(tensor.any()) for name, tensor in first.items()) == 2


@pytest.mark.parametrize("make", [LoHaConfig, IA3Config, LoraMoeConfig])
def test_any_adapter_with_modules_to_save_can_carry_the_head(make, tmp_path):
    base = saved(tiny(), tmp_path / "base")
    parts = {"feedforward_modules": ["down_proj"]} if make is IA3Config else {}
    adapted = get_peft_model(base, make(target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", **parts))
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            parameter.data.normal_(1.0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    adapted.save_pretrained(tmp_path / "adapter")
    model = policy_with_value_head(Qwen3ForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    assert torch.equal(logits(model), logits(adapted))
    trainer = trainer_of(model, tmp_path / "run")
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert moved(model, before) == []


@pytest.mark.parametrize("batching", [False, True])
def test_a_rollout_leaves_the_dtypes_as_they_were(batching, sft_adapter, tmp_path):
    more = {"use_transformers_continuous_batching": True} if batching else {"bf16": True}
    small = {"transformers_continuous_batching_config": {"num_blocks": 64}} if batching else {}
    trainer = trainer_of(policy(sft_adapter), tmp_path, max_steps=2, **more, **small)
    before = {name: p.dtype for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert {name: p.dtype for name, p in trainer.model.named_parameters()} == before
    assert set(before.values()) == {torch.float32}
