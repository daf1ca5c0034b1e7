"""What the routers of a model's LoRAMoE layers do: a recorder, mean weights by type of row, mutual information."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from recipes.base.errors import RecipeError
from recipes.models.loramoe.layer import LoraMoeLinear


@dataclass(frozen=True)
class Routed:
    """One layer's routing in one forward pass, [rows, tokens, experts], fp32, each token's row summing to one."""

    probabilities: torch.Tensor  # softmax of the router
    weights: torch.Tensor  # what the experts were mixed with; differs from it under top-k or a changed routing


@contextmanager
def recording(model: torch.nn.Module, adapter: str | None = None) -> Iterator[dict[str, Routed]]:
    """Collect the routing of the forward pass made inside; yields layer name -> Routed, filled as layers run.

    Of every layer the first call is kept: TRL runs a second, without gradient, where it needs logits for its
    metrics. Nothing is computed here, only references are kept, and the recorder is gone before the backward pass, so
    that recomputing activations changes nothing.

    Args:
        adapter: whose routing; None takes the first active one.

    Raises:
        RecipeError: a layer runs without gradient inside a pass that has it, as reentrant checkpointing does.
    """
    found: dict[str, Routed] = {}
    with_gradient = torch.is_grad_enabled()

    def recorder(layer: str):
        def record(name: str, probabilities: torch.Tensor, weights: torch.Tensor) -> None:
            if layer in found or adapter not in (None, name):
                return
            if with_gradient and not torch.is_grad_enabled():
                raise RecipeError(
                    "reentrant gradient checkpointing would drop the gradient of the balance term without a word",
                    where=layer,
                    got="a router that runs without gradient in a training pass",
                    allowed="non-reentrant checkpointing, or none",
                    fix='set gradient_checkpointing_kwargs={"use_reentrant": False}; TRL forces the reentrant kind for '
                    "peft under DeepSpeed ZeRO-3, where the balance term cannot be used",
                )
            found[layer] = Routed(probabilities, weights)

        return record

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraMoeLinear)]
    outer = [module.recorder for _, module in layers]
    try:
        for name, module in layers:
            module.recorder = recorder(name.split("base_model.model.")[-1])
        yield found
    finally:
        for (_, module), before in zip(layers, outer, strict=True):
            vars(module).pop("recorder", None)
            if before is not None:
                module.recorder = before


def valid_tokens(inputs: dict, mask: str) -> torch.Tensor:
    """The tokens that count, bool [rows, tokens]: never padding; with mask "completion" only those learnt from."""
    ids = inputs["input_ids"]
    attended = inputs.get("attention_mask")
    valid = torch.ones_like(ids, dtype=torch.bool) if attended is None else attended.bool()
    return valid & (inputs["labels"] != -100) if mask == "completion" else valid


@torch.no_grad()
def routing_statistics(
    model: torch.nn.Module, batches: Iterable[dict], mask: str = "attention", adapter: str | None = None
) -> dict:
    """Mean router weight of every layer, type of row and expert, over valid tokens; for a heat map.

    Args:
        batches: model inputs with "sample_type", long [rows]; rows of type -1 are left out.
        mask: "attention" or "completion", as for `valid_tokens`.

    Returns:
        {"tokens": {type: count}, "layers": {layer: {type: [weight of every expert]}}}; types are written as strings,
        so that the dictionary is the same after a way through JSON.
    """
    device, training = next(model.parameters()).device, model.training
    sums: dict[str, dict[str, torch.Tensor]] = {}
    tokens: dict[str, int] = {}
    model.eval()
    try:
        for batch in batches:
            batch = {key: value.to(device) for key, value in batch.items() if torch.is_tensor(value)}
            types, valid = batch.pop("sample_type"), valid_tokens(batch, mask)
            with recording(model, adapter) as routed:
                model(**{key: batch[key] for key in ("input_ids", "attention_mask") if key in batch})
            for kind in sorted(set(types.tolist()) - {-1}):
                chosen = valid & (types == kind).unsqueeze(-1)
                tokens[str(kind)] = tokens.get(str(kind), 0) + int(chosen.sum())
                for layer, one in routed.items():
                    mine = sums.setdefault(layer, {})
                    mine[str(kind)] = mine.get(str(kind), 0) + one.weights[chosen].double().sum(0).cpu()
    finally:
        model.train(training)
    return {
        "tokens": dict(sorted(tokens.items())),
        "layers": {
            layer: {kind: (total / max(tokens[kind], 1)).tolist() for kind, total in sorted(mine.items())}
            for layer, mine in sums.items()
        },
    }


def mutual_information(statistics: dict) -> dict[str, float]:
    """I(expert; type) of every layer in nats, from `routing_statistics`: H(expert) - H(expert | type).

    Types have the shares of their tokens. 0: routing tells nothing about the type; at most the smaller of the two
    entropies.
    """
    total = sum(statistics["tokens"].values())
    shares = {kind: count / total for kind, count in statistics["tokens"].items() if count}
    result = {}
    for layer, means in statistics["layers"].items():
        experts = range(len(next(iter(means.values()))))
        overall = [sum(share * means[kind][expert] for kind, share in shares.items()) for expert in experts]
        within = sum(share * entropy(means[kind]) for kind, share in shares.items())
        result[layer] = max(0.0, entropy(overall) - within)
    return result


def entropy(distribution: Sequence[float]) -> float:
    """Entropy in nats."""
    return -sum(p * math.log(p) for p in distribution if p > 0)
