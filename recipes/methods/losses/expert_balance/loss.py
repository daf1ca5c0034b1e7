"""Terms that say how the experts of LoRAMoE layers share the tokens.

Forms, of one layer with N experts; Q are mean router probabilities over valid tokens, I is 1 - delta where the type
of the expert is that of the row and 1 + delta elsewhere (sign "attract"), Z = I * Q:

    type_cv2         sum over types t of CV2(Z[t, :])          Q over all tokens of a type; one CV2 a type, so that
                                                               zero is in reach for groups of unequal size
    sample_cv2       var(Z) / mean(Z)^2 over rows x experts    the authors' code (Ablustrund/LoRAMoE), Q of each row
    sample_var_mean  var(Z) / mean(Z)                          the paper's text, arXiv 2312.09979: here alone Q are
                                                               sums over the tokens of each row
    lbl              N * sum_n f_n * P_n, f without gradient   load balancing without types, arXiv 2501.11873
    mi               H(expert | token) - H(expert)             without types: all used, each token sure of its own;
                                                               ModuleFormer, arXiv 2306.04640
    concentration    H(expert)                                 without types: few experts used, others to be pruned;
                                                               the aim of ModuleFormer, whose code has no such term

The authors give matching pairs 1 + delta, which makes matching experts the less used ones: sign "official". At its
minimum type_cv2 gives the matching experts n(1 + delta) / (n(1 + delta) + (N - n)(1 - delta)) of the weight, n of
them. Q are means where the authors sum, which for their code's form is the same for rows of one length; the paper's
form grows with the length of rows, and only over sums is its weight the paper's.

Scopes: what a step's statistics are taken over.

    micro    each micro-batch of each process for itself
    buffer   all processes, and the micro-batches of the optimizer step so far (2501.11873, algorithm 1)
    lagged   all of the previous optimizer step; the first step of all uses the buffer
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist

from recipes.base.errors import RecipeError
from recipes.methods.losses.expert_balance import UNTYPED
from recipes.methods.losses.expert_balance.forms import (
    entropies,
    lbl,
    mi,
    preference,
    sample_cv2,
    sample_var_mean,
    type_cv2,
)
from recipes.models.routing import Routed, recording, valid_tokens

CHOICES = {
    "form": ("type_cv2", "sample_cv2", "sample_var_mean", "lbl", "mi", "concentration"),
    "scope": ("micro", "buffer", "lagged"),
    "sign": ("attract", "official"),
    "reduce": ("mean", "sum"),
    "mask": ("attention", "completion"),
}


@dataclass(frozen=True)
class Sums:
    """Sums over valid tokens by type of row; the last row is that of rows without a type."""

    probabilities: torch.Tensor  # [layers, types + 1, experts], with gradient where it is a micro-batch's own
    entropies: torch.Tensor  # [layers, types + 1], of a token's probabilities in nats; with gradient for the form mi
    weights: torch.Tensor  # as probabilities, of the weights that were used, no gradient
    tokens: torch.Tensor  # [types + 1]
    steps: int  # micro-batches of each process in it

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.probabilities + other.probabilities,
            self.entropies + other.entropies,
            self.weights + other.weights,
            self.tokens + other.tokens,
            self.steps + other.steps,
        )

    def everywhere(self) -> "Sums":
        """Summed over all processes, no gradient: one all-reduce."""
        parts = (self.probabilities.detach(), self.entropies.detach(), self.weights, self.tokens)
        if processes() == 1:
            return Sums(*parts, self.steps)
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        pieces = flat.split([part.numel() for part in parts])
        probabilities, entropies, weights, tokens = (
            piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)
        )
        return Sums(probabilities, entropies, weights, tokens, self.steps)


def processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class ExpertBalance:
    """A balance term for the trainer: `capture` around its forward pass, then `loss`, `on_step_end` after each step.

    Args:
        weight: what the term counts beside the loss of the tokens.
        expert_types: type of every expert, as in the adapter's configuration.
        form, scope, sign: see the module's text; the sample forms know scope "micro" alone.
        delta: how far the types are pulled apart, 0 to below 1.
        reduce: "mean" or "sum" over layers; under "sum", the authors' choice, the weight grows with the depth.
        mask: "attention" counts every token that is not padding, "completion" those learnt from.
        adapter: whose routers; None takes the first active adapter.

    Raises:
        RecipeError: a value that has no meaning; all are named at once.
    """

    name = "balance"

    def __init__(
        self,
        weight: float,
        expert_types: Sequence[int],
        form: str = "type_cv2",
        scope: str = "buffer",
        sign: str = "attract",
        delta: float = 0.1,
        reduce: str = "mean",
        mask: str = "attention",
        adapter: str | None = None,
    ):
        chosen = {"form": form, "scope": scope, "sign": sign, "reduce": reduce, "mask": mask}
        wrong = [f"{key} = {value!r}" for key, value in chosen.items() if value not in CHOICES[key]]
        if not 0 <= delta < 1:
            wrong.append(f"delta = {delta}")
        if form.startswith("sample") and scope != "micro":
            wrong.append(f"form = {form!r} with scope = {scope!r}")
        if wrong:
            allowed = "; ".join(f"{key}: {', '.join(values)}" for key, values in CHOICES.items())
            raise RecipeError(
                "the balance term cannot be built",
                where="balance",
                got=", ".join(wrong),
                allowed=f"{allowed}; delta: 0 to below 1; sample forms with scope micro",
                fix="correct the values; over more than a micro-batch take type_cv2: sample forms see rows alone",
            )
        self.weight, self.form, self.scope, self.sum_layers = weight, form, scope, reduce == "sum"
        self.mask, self.adapter = mask, adapter
        self.types = sorted(set(expert_types))
        self.same = torch.tensor(self.types).unsqueeze(-1) == torch.tensor(list(expert_types))
        self.prefer = preference(expert_types, self.types, delta, sign)
        self.routed: dict[str, Routed] = {}
        self.filling: Sums | None = None
        self.previous: Sums | None = None

    @contextmanager
    def capture(self, model) -> Iterator[None]:
        """Record the routers of the forward pass made inside, while the model trains."""
        self.routed = {}
        if not model.training:
            yield
            return
        with recording(model, self.adapter) as self.routed:
            yield

    def loss(self, model, inputs, per_batch: float, per_token: float) -> tuple[torch.Tensor | None, dict[str, float]]:
        """The weighted term of this micro-batch in the trainer's units, and what to log; nothing in evaluation.

        Its value is that of the form on the statistics of the scope. Its gradient is this micro-batch's part of the
        form's gradient: with coefficients d form / d sums that know the whole, the parts of all micro-batches and
        processes add up to the gradient on the whole batch.

        Args:
            inputs: input_ids, attention_mask, labels, and sample_type, long [rows], -1 for a row without a type.
            per_batch: what a mean over this micro-batch is multiplied by to be in the trainer's units.

        Raises:
            RecipeError: no LoRAMoE layer ran, or rows and types do not fit.
        """
        if not model.training:
            return None, {}
        device = inputs["input_ids"].device  # layers may lie on several
        routed = [Routed(one.probabilities.to(device), one.weights.to(device)) for one in self.routed.values()]
        self.routed = {}
        self._check(routed, inputs)
        valid, rows = valid_tokens(inputs, self.mask), self._rows_of(inputs)
        own = self._sums(routed, valid, rows)
        if self.form.startswith("sample"):
            known = own
            loss = self._over_layers(self._of_samples(routed, valid, rows))
        else:
            known, factor = self._known(own), 1
            if self.scope != "micro":
                factor = known.steps * processes()  # averaged over both by the trainer, and summed by the split
            with torch.enable_grad():
                at = [sums.detach().requires_grad_() for sums in (known.probabilities, known.entropies)]
                value = self._over_layers(self._form(replace(known, probabilities=at[0], entropies=at[1])))
                slopes = torch.autograd.grad(value, at, materialize_grads=True)
            part = (slopes[0] * own.probabilities).sum() + (slopes[1] * own.entropies).sum()
            part = part * factor
            loss = part + (value - part).detach()
        return self.weight * per_batch * loss, self._metrics(loss, known)

    def on_step_end(self) -> None:
        """Start the statistics of the next optimizer step."""
        self.previous, self.filling = self.filling, None

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The previous step's statistics, which only the scope "lagged" goes by."""
        if self.scope != "lagged" or self.previous is None:
            return {}
        return {name: torch.as_tensor(value).clone() for name, value in vars(self.previous).items()}

    def load_state_dict(self, kept: dict[str, torch.Tensor]) -> None:
        if kept:
            sums = {name: value for name, value in kept.items() if name != "steps"}
            self.previous = Sums(**sums, steps=int(kept["steps"]))

    def _known(self, own: Sums) -> Sums:
        """The statistics that the scope goes by, `own` counted in."""
        if self.scope == "micro":
            return own
        now = own.everywhere()
        self.filling = now if self.filling is None else self.filling + now
        return self.previous if self.scope == "lagged" and self.previous is not None else self.filling

    def _form(self, sums: Sums) -> torch.Tensor:
        """[layers]"""
        if self.form in UNTYPED:
            tokens = sums.tokens.sum().clamp(min=1)
            means = sums.probabilities.sum(1) / tokens
            if self.form == "lbl":
                return lbl(means, sums.weights.sum(1) / tokens)
            if self.form == "concentration":
                return entropies(means)
            return mi(means, sums.entropies.sum(1) / tokens)
        tokens = sums.tokens[:-1].clamp(min=1).unsqueeze(-1)
        return type_cv2(sums.probabilities[:, :-1] / tokens, self.prefer.to(tokens.device))

    def _of_samples(self, routed: list[Routed], valid: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """[layers], over the rows that have a type and valid tokens."""
        used = (rows < len(self.types)) & valid.any(-1)
        mask = valid[used].unsqueeze(-1)
        sums = torch.stack([(one.probabilities[used] * mask).sum(1) for one in routed])
        if not used.any():
            return sums.sum((1, 2))  # zeros that a backward pass can go through
        prefer = self.prefer.to(rows.device)[rows[used]]
        return sample_cv2(sums / mask.sum(1), prefer) if self.form == "sample_cv2" else sample_var_mean(sums, prefer)

    def _over_layers(self, values: torch.Tensor) -> torch.Tensor:
        return values.sum() if self.sum_layers else values.mean()

    def _sums(self, routed: list[Routed], valid: torch.Tensor, rows: torch.Tensor) -> Sums:
        """Of this micro-batch. No matrix products: autocast would run them in bf16."""
        groups = len(self.types) + 1

        def by_type(values: torch.Tensor) -> torch.Tensor:
            return values.new_zeros(groups, *values.shape[1:]).index_add(0, rows, values)

        def total(values: torch.Tensor) -> torch.Tensor:
            return by_type((values * valid.unsqueeze(-1)).sum(1))

        with torch.set_grad_enabled(self.form == "mi" and torch.is_grad_enabled()):
            spread = torch.stack([by_type((entropies(one.probabilities) * valid).sum(1)) for one in routed])
        return Sums(
            torch.stack([total(one.probabilities) for one in routed]),
            spread,
            torch.stack([total(one.weights.detach()) for one in routed]),
            by_type(valid.sum(-1).float()),
            1,
        )

    def _rows_of(self, inputs) -> torch.Tensor:
        """Row of `Sums` of every row of the batch, long [rows]."""
        kinds = inputs.get("sample_type")
        if kinds is None:
            kinds = torch.full_like(inputs["input_ids"][:, 0], -1)
        if self.form in UNTYPED:  # which ask for no types: one that no expert has is none
            kinds = torch.where(torch.isin(kinds, torch.tensor(self.types, device=kinds.device)), kinds, -1)
        same = kinds.unsqueeze(-1) == torch.tensor([*self.types, -1], device=kinds.device)
        if not same.any(-1).all():
            unknown = sorted(set(kinds[~same.any(-1)].tolist()))
            raise RecipeError(
                "rows have a type that no expert has",
                where="sample_type",
                got=", ".join(map(str, unknown)),
                allowed=f"{', '.join(map(str, self.types))}, or -1 for a row without a type",
                fix="have experts of both types (0 < sft.experts.general < sft.experts.count), or take a form without "
                "types: lbl, mi, concentration",
            )
        return same.long().argmax(-1)

    def _check(self, routed: list[Routed], inputs) -> None:
        batch, experts = tuple(inputs["input_ids"].shape), self.same.shape[1]
        kinds = inputs.get("sample_type")
        got = None
        if not routed:
            got, allowed = "no LoRAMoE layer ran in the forward pass", "a model with an active LoRAMoE adapter"
        elif any(one.probabilities.shape != (*batch, experts) for one in routed):
            shapes = {tuple(one.probabilities.shape) for one in routed}
            got, allowed = f"routers of shape {sorted(shapes)}", f"(rows, tokens, experts) = {(*batch, experts)}"
        elif kinds is None and self.form not in UNTYPED:
            got, allowed = "rows without sample_type", f"a type for every row for the form {self.form}, -1 for none"
        elif kinds is not None and kinds.shape != batch[:1]:
            got, allowed = (
                f"sample_type of shape {tuple(kinds.shape)}",
                f"one for each of the {batch[0]} rows, unpacked",
            )
        if got:
            raise RecipeError(
                "the balance term does not fit the batch",
                where="balance",
                got=got,
                allowed=allowed,
                fix="check the adapter, its expert_types and the column sample_type; packed rows have no types",
            )

    @torch.no_grad()
    def _metrics(self, loss: torch.Tensor, known: Sums) -> dict[str, float]:
        """Unweighted loss; of each type the share of its tokens' weight on its own experts; mean entropy of a token's
        router in nats; largest and smallest mean weight of an expert in any layer. All over the scope."""
        tokens = known.tokens.sum().clamp(min=1)
        by_type = known.weights[:, :-1] / known.tokens[:-1].clamp(min=1).unsqueeze(-1)
        matched = (by_type * self.same.to(by_type.device)).sum(-1).mean(0)
        overall = known.weights.sum(1) / tokens
        entropy = known.entropies.sum(1).mean() / tokens
        values = torch.stack([loss, entropy, overall.max(), overall.min(), *matched, *known.tokens[:-1]]).tolist()
        value, mean_entropy, largest, smallest, *rest = values
        shares = {f"matched_{t}": m for t, m, n in zip(self.types, rest, rest[len(self.types) :]) if n}
        return {"loss": value, **shares, "entropy": mean_entropy, "largest": largest, "smallest": smallest}
