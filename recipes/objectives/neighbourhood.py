"""Neighbourhood self-constrained SFT (arXiv 2508.10409, eq. 7-8): cross-entropy plus a divergence from the start.

    L(θ) = CE(θ) + weight · mean over assistant tokens of KL(p_θ ‖ p_θ0)

θ0 is the model before training: the adapter switched off, or a frozen copy where every weight learns. Both models read
the gold tokens. Logits exist for as many positions at once as `BUDGET` allows.
"""

from contextlib import contextmanager

import torch
from torch.utils.checkpoint import checkpoint
from trl.trainer.utils import use_adapter

from recipes.errors import RecipeError
from recipes.models import causal_lm, unwrapped

# Bytes of the logits of one chunk of positions in float32: at 152,000 words 441 positions. While a chunk is computed,
# forward or again for the backward pass, several tensors of that size exist, in between none.
BUDGET = 2**28
KEPT = 4  # tensors of that size that the backward pass of one chunk needs


class Neighbourhood:
    """The term weight · KL between the model that learns and the one it started from.

    Args:
        weight: λ of the paper.
        direction: "policy" is KL(p_θ ‖ p_θ0), which the paper is read to use; "reference" is KL(p_θ0 ‖ p_θ).
        frozen: a copy of the start, for a model without adapter; None takes the model with its adapter off.
    """

    name = "kl"

    def __init__(self, weight: float, direction: str, frozen=None):
        self.weight, self.direction, self.frozen = weight, direction, frozen
        if frozen is not None:
            frozen.requires_grad_(False).eval()
        self._call = None

    @contextmanager
    def watching(self, model):
        """Keeps the arguments and the last hidden states [batch, length, width] of the backbone's forward pass."""

        def keep(module, args, kwargs, output):
            self._call = (args, kwargs, output.last_hidden_state)

        handle = causal_lm(model).base_model.register_forward_hook(keep, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def loss(self, model, inputs, per_batch: float, per_token: float):
        (args, kwargs, hidden), self._call = self._call, None
        learnt = inputs["labels"][:, 1:] != -100
        policy = causal_lm(model)
        with starting_point(model, self.frozen) as reference:
            start = reference.base_model(*args, **kwargs).last_hidden_state[:, :-1][learnt]
        hidden = hidden[:, :-1][learnt]
        heads = head_of(policy), head_of(self.frozen or policy)
        divergence = sum_of_divergence(hidden, start, heads, self.direction)
        return self.weight * per_token * divergence, {"mean": divergence.item() / max(1, len(hidden))}

    def step_end(self):
        pass

    def kept(self):
        return {}

    def go_on(self, kept):
        pass


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
        return divergence(heads[0](now), reference, direction).sum()

    if len(hidden) * bytes_each * KEPT <= budget:
        return part(hidden, start)
    chunk = max(1, budget // bytes_each)
    pairs = zip(hidden.split(chunk), start.split(chunk), strict=True)
    return sum((checkpoint(part, *pair, use_reentrant=False) for pair in pairs), hidden.sum() * 0.0)


def divergence(logits, reference, direction: str) -> torch.Tensor:
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


def check_head(model) -> None:
    """Prove on one made-up row that `head_of` gives the logits of the model itself.

    Raises:
        RecipeError: it does not, so the model's head does more than is known here.
    """
    model = causal_lm(model)
    ids = torch.arange(4, device=model.device)[None]
    with torch.no_grad():
        whole = model(input_ids=ids, use_cache=False).logits
        ours = head_of(model)(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    if not torch.allclose(whole.float(), ours.float(), rtol=1e-2, atol=1e-2):
        raise RecipeError(
            "this model's output layer is not understood, so its divergence from the start cannot be computed",
            where="sft.kl_weight",
            got=type(model).__name__,
            allowed="a linear output layer, with a scale (logits_scaling) or a soft cap (final_logit_softcapping)",
            fix="set sft.kl_weight = 0",
        )


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
