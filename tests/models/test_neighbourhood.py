"""The self-constraint of supervised training: what it measures, what it leaves alone, how it adds up."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import GemmaConfig, GemmaForCausalLM, Qwen3Config, Qwen3ForCausalLM
from trl import SFTConfig

from recipes.base.errors import RecipeError
from recipes.config.schema import Model
from recipes.methods.losses.kl_to_reference.loss import KLToReference, check_head
from recipes.models import divergence, loader, training
from recipes.models.divergence import KEPT, head_of, kl_per_token, mean_divergence, starting_point, sum_of_divergence
from recipes.models.sft_trainer import LossTrainer

WORDS = 3072  # the embedded tokenizer's


def tiny():
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=WORDS,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
        )
    )


def row(length, learnt, seed):
    ids = torch.randint(5, WORDS, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return {"input_ids": ids, "labels": [-100] * (length - learnt) + ids[length - learnt :]}


ROWS = [row(length, learnt, n) for n, (length, learnt) in enumerate([(9, 3), (14, 8), (7, 2), (20, 5)] * 2)]


def make_trainer(
    folder, weight, *, lora=True, per_device=8, accumulation=1, direction="policy", dropout=0.0, bf16=False, **more
):
    model = tiny()
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=dropout)
    frozen = None if lora else deepcopy(model)
    training.score_learnt_positions()
    arguments = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        report_to="none",
        use_cpu=True,
        bf16=bf16,
        seed=3,
        save_strategy="no",
        logging_steps=1,
        lr_scheduler_type="constant",
        gradient_checkpointing=False,
        disable_tqdm=True,
        **more,
    )
    return training.build(
        LossTrainer,
        model,
        args=arguments,
        train_dataset=Dataset.from_list(ROWS),
        processing_class=loader.load_tokenizer(Model()),
        peft_config=adapter if lora else None,
        losses=[KLToReference(weight, direction, frozen)] if weight else [],
    )


def batch_of(trainer, rows=ROWS):
    return trainer.data_collator([dict(row) for row in rows])


def gradient(trainer, micro_batches):
    """(summed loss, flat gradient) of one optimizer step over the micro-batches."""
    model = trainer.model.train()
    model.zero_grad()
    items = sum(int((b["labels"][:, 1:] != -100).sum()) for b in micro_batches)
    trainer.current_gradient_accumulation_steps = len(micro_batches)
    total = 0.0
    for batch in micro_batches:
        loss = trainer.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(items))
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def shake(trainer, scale=0.05):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_at_the_start_it_changes_nothing(tmp_path, lora):
    plain, constrained = (make_trainer(tmp_path, weight, lora=lora, dropout=0.2) for weight in (0.0, 1.0))
    torch.manual_seed(1)
    loss, slope = gradient(plain, [batch_of(plain)])
    torch.manual_seed(1)
    same_loss, same_slope = gradient(constrained, [batch_of(constrained)])
    assert same_loss == pytest.approx(loss, abs=1e-6) and torch.allclose(same_slope, slope, atol=1e-6)
    assert constrained._metrics["train"]["kl/mean"][-1] == pytest.approx(0.0, abs=1e-7)


def test_the_start_is_read_in_the_precision_of_the_model_that_learns(tmp_path):
    trainer = make_trainer(tmp_path, 1.0, max_steps=1, bf16=True)
    trainer.train()
    (first,) = [entry for entry in trainer.state.log_history if "kl/mean" in entry]
    assert first["kl/mean"] == 0.0


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    trainer = make_trainer(tmp_path_factory.mktemp("moved"), 1.0)
    shake(trainer)
    return trainer


def hidden_states(trainer):
    """(hidden states of the model, of the start, their heads) at the learnt positions of all rows."""
    batch = batch_of(trainer)
    labels = batch.pop("labels")
    causal, learnt = trainer.model.get_base_model(), labels[:, 1:] != -100
    trainer.model.eval()
    now = causal.base_model(**batch).last_hidden_state[:, :-1][learnt]
    with starting_point(trainer.model) as start:
        before = start.base_model(**batch).last_hidden_state[:, :-1][learnt]
    return now.detach(), before, (head_of(causal), head_of(causal))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_change_neither_value_nor_gradient(moved, chunk):
    now, before, heads = hidden_states(moved)
    now.requires_grad_()
    value = sum_of_divergence(now, before, heads, "policy", 4 * WORDS * chunk)
    (slope,) = torch.autograd.grad(value, now)
    p, q = heads[0](now).log_softmax(-1), heads[1](before).log_softmax(-1)
    direct = (p.exp() * (p - q)).sum()
    (direct_slope,) = torch.autograd.grad(direct, now)
    assert value.item() == pytest.approx(direct.item(), rel=1e-5) and value.item() > 0.01
    assert torch.allclose(slope, direct_slope, atol=1e-6)


def kept_bytes(trainer, budget):
    """(bytes that the backward pass keeps, but for the weights of the head; positions of every chunk)."""
    now, before, heads = hidden_states(trainer)
    weights, kept, chunks = trainer.model.get_base_model().lm_head.weight, [], []

    def keep(tensor):
        if tensor.data_ptr() != weights.data_ptr():
            kept.append(tensor.nbytes)
        return tensor

    real = divergence.kl_per_token
    with pytest.MonkeyPatch.context() as patch, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        patch.setattr(divergence, "kl_per_token", lambda p, q, d: (chunks.append(len(p)), real(p, q, d))[1])
        sum_of_divergence(now.requires_grad_(), before, heads, "policy", budget)
    return sum(kept), chunks


def test_what_is_kept_for_the_backward_pass_stays_within_the_budget(moved):
    one = 4 * WORDS
    for budget in (one // 2, one, 7 * one, 36 * one, 3 * 36 * one):
        kept, chunks = kept_bytes(moved, budget)
        assert kept < one and sum(chunks) == 36 and max(chunks) == min(36, max(1, budget // one))
    kept, chunks = kept_bytes(moved, KEPT * 36 * one)
    assert chunks == [36] and (KEPT - 1) * 36 * one < kept <= KEPT * 36 * one


def test_the_two_directions_differ_and_neither_is_negative(moved):
    now, before, heads = hidden_states(moved)
    one, other = (sum_of_divergence(now, before, heads, d).item() for d in ("policy", "reference"))
    swapped = sum_of_divergence(before, now, heads, "policy").item()
    assert one > 0 and other == pytest.approx(swapped, rel=1e-5) and abs(one - other) > 1e-4 * one
    assert sum_of_divergence(now, now, heads, "policy").item() == 0.0


def test_in_bf16_the_divergence_does_not_fall_below_zero():
    generator = torch.Generator().manual_seed(0)
    logits = (8 * torch.randn(64, 500, generator=generator)).bfloat16()
    near = (logits.float() + 0.01 * torch.randn(64, 500, generator=generator)).bfloat16()
    assert kl_per_token(logits, near, "policy").min() >= -1e-6


def test_a_larger_weight_stays_nearer(tmp_path):
    ends = []
    for weight in (1e-9, 0.1, 1.0):  # a weight of almost nothing logs the divergence of plain training
        trainer = make_trainer(tmp_path, weight, max_steps=12, learning_rate=2e-2)
        trainer.train()
        log = [entry for entry in trainer.state.log_history if "ce" in entry]
        assert log[-1]["loss"] == pytest.approx(log[-1]["ce"] + weight * log[-1]["kl/mean"], rel=1e-4)
        ends.append((log[-1]["kl/mean"], log[-1]["ce"]))
    divergences, losses = zip(*ends, strict=True)
    assert divergences[0] > divergences[1] > divergences[2] > 0 and losses[0] < losses[1] < losses[2]


def test_micro_batches_of_unlike_length_add_up_to_the_whole_batch(moved):
    whole = gradient(moved, [batch_of(moved)])
    parts = gradient(moved, [batch_of(moved, ROWS[n : n + 2]) for n in range(0, 8, 2)])
    assert parts[0] == pytest.approx(whole[0], rel=1e-5) and torch.allclose(parts[1], whole[1], atol=1e-6)


def test_prompts_and_padding_do_not_count(moved):
    rows = [dict(each) for each in ROWS[:2]]
    loss, _ = gradient(moved, [batch_of(moved, rows)])
    longer = batch_of(moved, rows)
    longer = {
        name: torch.nn.functional.pad(t, (0, 5), value=-100 if name == "labels" else 0) for name, t in longer.items()
    }
    padded, _ = gradient(moved, [longer])
    assert padded == pytest.approx(loss, rel=1e-5)
    nothing = batch_of(moved, rows) | {"labels": torch.full_like(batch_of(moved, rows)["labels"], -100)}
    loss, slope = gradient(moved, [nothing])
    assert loss == 0.0 and torch.isfinite(slope).all()


def test_only_what_shall_learn_has_moved_after_training(tmp_path):
    trainer = make_trainer(tmp_path, 0.5, max_steps=3, learning_rate=1e-2)
    ids = batch_of(trainer)["input_ids"]
    with torch.no_grad(), trainer.model.disable_adapter():
        before = trainer.model(input_ids=ids).logits
    trainer.train()
    with torch.no_grad(), trainer.model.disable_adapter():
        assert torch.equal(trainer.model(input_ids=ids).logits, before)
    full = make_trainer(tmp_path, 0.5, lora=False, max_steps=3, learning_rate=1e-2)
    frozen = full.losses[0].frozen
    kept = deepcopy(frozen.state_dict())
    full.train()
    assert all(torch.equal(kept[name], value) for name, value in frozen.state_dict().items())
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_the_loss_of_an_evaluation_is_the_plain_one(moved):
    moved.model.eval()
    with torch.no_grad():
        constrained = moved.compute_loss(moved.model, batch_of(moved)).item()
        moved.losses, kept = [], moved.losses
        plain = moved.compute_loss(moved.model, batch_of(moved)).item()
    moved.losses = kept
    assert constrained == plain


def test_the_hook_goes_also_after_an_error(moved):
    backbone = moved.model.get_base_model().base_model
    before = len(backbone._forward_hooks)
    with pytest.raises(RuntimeError, match="planted"), moved.losses[0].capture(moved.model):
        raise RuntimeError("planted")
    assert len(backbone._forward_hooks) == before


def test_the_divergence_of_a_trained_adapter_is_measured_on_any_text(moved):
    value, tokens = mean_divergence(moved.model.eval(), [batch_of(moved, ROWS[:2]), batch_of(moved, ROWS[2:4])])
    assert tokens == 18 and value > 0
    same, _ = mean_divergence(get_peft_model(tiny(), LoraConfig(task_type="CAUSAL_LM")).eval(), [batch_of(moved)])
    assert same == 0.0


def test_a_head_that_does_more_than_project_is_refused(monkeypatch):
    model = tiny()
    check_head(model)
    soft = GemmaForCausalLM(
        GemmaConfig(vocab_size=60, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
                    num_key_value_heads=1, head_dim=16)
    )  # fmt: skip
    check_head(soft)
    whole = model.forward
    monkeypatch.setattr(model, "forward", lambda **inputs: SimpleNamespace(logits=3 * whole(**inputs).logits))
    with pytest.raises(RecipeError, match="output layer is not understood"):
        check_head(model)
