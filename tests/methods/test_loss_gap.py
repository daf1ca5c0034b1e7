"""The loss gap: nothing for equal splits, positive for a model that has learnt the training split by heart."""

import pytest
import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from benchmarks.loss_gap import gap, interval, losses, mean, row_of
from recipes.base.places import LAB_MODEL
from recipes.models.gold_replies import batches_of

WORDS = "river stone garden window paper silver morning letter candle bridge market winter".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def world():
    """(tokenizer, a random model of a few thousand weights, training rows, test rows)"""
    tokenizer = AutoTokenizer.from_pretrained(LAB_MODEL)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    rows = [
        row_of({"question": f"Which word follows {WORDS[n]}?", "answer": f"{WORDS[(5 * n + 3) % 12]} {WORDS[n - 4]}"})
        for n in range(12)
    ]
    return tokenizer, Qwen3ForCausalLM(config).eval(), rows[:6], rows[6:]


def test_the_gap_is_the_share_of_the_test_loss():
    assert gap(2.0, 1.0) == 50.0 and gap(1.0, 1.0) == 0.0 and gap(1.0, 1.1) == pytest.approx(-10.0)


def test_the_loss_counts_the_tokens_of_the_reply_alone(world):
    tokenizer, model, rows, _ = world
    found = losses(model, tokenizer, rows)
    counts = [len(tokenizer(row["reply"])["input_ids"]) for row in rows]
    assert sum(n for _, n in found) == sum(counts) + len(rows)  # with the end of the turn
    (batch,) = batches_of(tokenizer, rows, model.device)
    assert mean(found) == pytest.approx(model(**batch).loss.item(), rel=1e-5)


def test_equal_splits_have_no_gap_and_a_split_learnt_by_heart_has_one(world):
    tokenizer, model, train, test = world
    assert gap(mean(losses(model, tokenizer, train)), mean(losses(model, tokenizer, train[::-1]))) == pytest.approx(0)
    before = gap(mean(losses(model, tokenizer, test)), mean(losses(model, tokenizer, train)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    (batch,) = batches_of(tokenizer, train, model.device)
    for _ in range(25):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = losses(model, tokenizer, test), losses(model, tokenizer, train)
    after = gap(*map(mean, found))
    low, high = interval(*found, seed=0)
    assert abs(before) < 10 and after > 30 and 0 < low < after < high


def test_rows_of_a_benchmark_and_of_a_data_artefact_are_both_read():
    turns = [{"role": "user", "content": "Q?"}]
    assert row_of({"question": "Q?", "answer": "A"}) == {"prompt": turns, "reply": "A"}
    assert row_of({"prompt": turns, "completion": [{"role": "assistant", "content": "A"}]})["reply"] == "A"
    assert row_of({"prompt": turns, "reply": "A", "answer": "B"})["reply"] == "A"
