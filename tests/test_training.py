"""What we teach TRL's trainers to do on a CPU leaves their results as they are."""

import pytest
import torch
import trl.trainer.utils as head
from transformers import Qwen3Config, Qwen3ForCausalLM

from recipes import models, training
from recipes.config import Model


def tiny():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config)


@pytest.fixture
def batch():
    """Two rows of 12 tokens of which 5 and 3 are learnt from."""
    ids = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[0, :7] = -100
    labels[1, :9] = -100
    return {"input_ids": ids, "labels": labels}


def scored(monkeypatch, model, batch):
    """(positions that went through the head, loss, gradient of the head) of TRL's fused loss."""
    rows, kernel = [], head._ChunkedLogProbFunction.apply
    with monkeypatch.context() as patch:
        spy = type(
            "Spy",
            (),
            {"apply": staticmethod(lambda hidden, *rest: (rows.append(len(hidden)), kernel(hidden, *rest))[1])},
        )
        patch.setattr(head, "_ChunkedLogProbFunction", spy)
        model.zero_grad()
        loss = model(**batch, fused_lm_head=True).loss
        loss.backward()
    return rows, loss.item(), model.lm_head.weight.grad.clone()


def test_on_a_cpu_only_learnt_positions_are_scored_and_loss_and_gradient_stay(monkeypatch, batch):
    model = tiny()
    head.add_fused_lm_head(model)
    monkeypatch.setattr(head, "_use_triton", lambda device: False)
    all_rows, loss, gradient = scored(monkeypatch, model, batch)
    training.score_learnt_positions()
    learnt_rows, same_loss, same_gradient = scored(monkeypatch, model, batch)
    assert all_rows == [22] and learnt_rows == [8]
    assert same_loss == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(same_gradient, gradient, atol=1e-6)


def test_a_batch_without_anything_to_learn_gives_a_finite_zero(batch):
    model = tiny()
    head.add_fused_lm_head(model)
    training.score_learnt_positions()
    loss = model(input_ids=batch["input_ids"], labels=torch.full_like(batch["labels"], -100), fused_lm_head=True).loss
    loss.backward()
    assert loss.item() == 0.0


def test_training_on_a_cpu_takes_the_kernel_that_runs_in_hardware(monkeypatch):
    monkeypatch.setattr(models, "device", lambda: "cpu")
    monkeypatch.setattr(models, "fast_bf16", lambda: True)
    assert models.choose_attention(Model(), training=True) == "eager"
    assert models.choose_attention(Model()) == "sdpa"
    assert models.choose_attention(Model(attn="sdpa"), training=True) == "sdpa"
    monkeypatch.setattr(models, "fast_bf16", lambda: False)
    assert models.choose_attention(Model(), training=True) == "sdpa"


def test_both_kernels_give_the_same_loss_in_training():
    ids = torch.arange(3, 43).view(2, 20)
    losses = []
    for attn in ("eager", "sdpa"):
        base = models.load_base(Model(attn=attn), training=True)
        losses.append(base(input_ids=ids, labels=ids).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
