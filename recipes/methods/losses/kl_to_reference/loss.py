"""KLToReference self-constrained SFT (arXiv 2508.10409, eq. 7-8): cross-entropy plus a divergence from the start.

    L(θ) = CE(θ) + weight · mean over assistant tokens of KL(p_θ ‖ p_θ0)

θ0 is the model before training: the adapter switched off, or a frozen copy where every weight learns. Both models read
the gold tokens. Logits exist for as many positions at once as `BUDGET` allows.
"""

from contextlib import contextmanager

import torch

from recipes.base.errors import RecipeError
from recipes.models.divergence import head_of, starting_point, sum_of_divergence
from recipes.models.loader import causal_lm


class KLToReference:
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
    def capture(self, model):
        """Keeps the arguments and the last hidden states [batch, length, width] of the backbone's forward pass."""

        def keep(module, args, kwargs, output):
            self._call = (args, kwargs, output.last_hidden_state)

        handle = causal_lm(model).base_model.register_forward_hook(keep, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def loss(self, model, inputs, per_batch: float, per_token: float):
        assert self._call is not None, "called after a forward pass inside `capture`"
        (args, kwargs, hidden), self._call = self._call, None
        learnt = inputs["labels"][:, 1:] != -100
        policy = causal_lm(model)
        with starting_point(model, self.frozen) as reference:
            start = reference.base_model(*args, **kwargs).last_hidden_state[:, :-1][learnt]
        hidden = hidden[:, :-1][learnt]
        heads = head_of(policy), head_of(self.frozen or policy)
        divergence = sum_of_divergence(hidden, start, heads, self.direction)
        return self.weight * per_token * divergence, {"mean": divergence.item() / max(1, len(hidden))}

    def on_step_end(self):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, kept):
        pass


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
