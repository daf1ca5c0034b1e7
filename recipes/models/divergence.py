"""KL divergence between a model and its reference on the tokens of a batch, in chunks of positions.

The reference is the model with its adapters switched off, or a frozen copy where every weight learns. Logits exist for
as many positions at once as `BUDGET` allows.
"""

from contextlib import contextmanager

import torch
from torch.utils.checkpoint import checkpoint
from trl.trainer.utils import use_adapter

from recipes.models.loader import causal_lm, unwrapped

# Bytes of the logits of one chunk of positions in float32: at 152,000 words 441 positions. While a chunk is computed,
# forward or again for the backward pass, several tensors of that size exist, in between none.
BUDGET = 2**28
KEPT = 4  # tensors of that size that the backward pass of one chunk needs


@contextmanager
def starting_point(model, frozen=None):
    """The model before training, without gradient and dropout: `frozen`, else `model` with its adapters off."""
    if frozen is not None:
        with torch.no_grad():
            yield frozen
        return
    model = unwrapped(model)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), use_adapter(model, None):
            yield causal_lm(model)
    finally:
        model.train(training)


def sum_of_divergence(hidden, start, heads, direction: str, budget: int = BUDGET) -> torch.Tensor:
    """Sum over positions of the divergence between the next-token distributions, a scalar in float32.

    Args:
        hidden, start: last hidden states of the model and of the start, [positions, width].
        heads: (head of the model, head of the start), hidden states to logits.
        budget: bytes of a chunk's logits in float32, of one position at least. Chunks are computed again in the
            backward pass, unless all that it needs of all positions stays within the same budget: that spares a
            small vocabulary one pass through the head.
    """
    bytes_each = 4 * heads[0](hidden[:0]).shape[-1]

    def part(now, before):
        with torch.no_grad():
            reference = heads[1](before)
        return kl_per_token(heads[0](now), reference, direction).sum()

    if len(hidden) * bytes_each * KEPT <= budget:
        return part(hidden, start)
    chunk = max(1, budget // bytes_each)
    pairs = zip(hidden.split(chunk), start.split(chunk), strict=True)
    total = hidden.sum() * 0.0
    for now, before in pairs:
        total = total + checkpoint(part, now, before, use_reentrant=False)
    return total


def kl_per_token(logits, reference, direction: str) -> torch.Tensor:
    """KL per position over the whole vocabulary, [positions, words] twice -> [positions], in float32."""
    log_p, log_q = (each.float().log_softmax(dim=-1) for each in (logits, reference))
    if direction == "reference":
        log_p, log_q = log_q, log_p
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def head_of(model):
    """Hidden states -> logits of a causal language model: its output layer, scale and soft cap."""
    config = model.config.get_text_config()
    layer, cap = model.get_output_embeddings(), getattr(config, "final_logit_softcapping", None)
    divisor = getattr(config, "logits_scaling", None) or 1.0

    def head(hidden):
        logits = layer(hidden) / divisor
        return cap * torch.tanh(logits / cap) if cap else logits

    return head


def mean_divergence(model, batches, frozen=None) -> tuple[float, int]:
    """(mean KL(p_θ ‖ p_θ0) over learnt tokens, their number) on batches that have labels; θ0 as for the term."""
    total, tokens = 0.0, 0
    for batch in batches:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        learnt = batch["labels"][:, 1:] != -100
        with torch.no_grad():
            hidden = causal_lm(model).base_model(**inputs, use_cache=False).last_hidden_state[:, :-1][learnt]
            with starting_point(model, frozen) as reference:
                start = reference.base_model(**inputs, use_cache=False).last_hidden_state[:, :-1][learnt]
            heads = head_of(causal_lm(model)), head_of(frozen or causal_lm(model))
            total += sum_of_divergence(hidden, start, heads, "policy").item()
        tokens += len(hidden)
    return total / max(1, tokens), tokens
