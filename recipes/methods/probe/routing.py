"""Routing: where the routers of LoRAMoE layers send the tokens of each kind of text (arXiv 2312.09979, figure 6)."""

from typing import Any

from recipes.config.slots import Method
from recipes.models.probe_context import ProbeContext

VERSION = 1
PAPER = "arXiv 2312.09979"
LOGS = {
    "information": ("Information of the routers on the kind of text", "nats, mean over layers"),
    "layers": ("Share of a token's weight that each expert gets", "mean router weight by layer and kind of text"),
}
CONFLICTS: list[tuple[str, str]] = []


class Config(Method):
    """No settings: at most 128 gold replies of each kind of text, evenly spread."""


def measure(own: Config, context: ProbeContext) -> dict[str, Any]:
    """{} for a model without routers; else {"information": I(expert; kind of text) as a mean over layers,
    "information_by_layer": {layer: nats}, "layers": {layer: {kind of text: [mean weight of each expert]}},
    "tokens": {kind of text: how many}}"""
    import torch

    from recipes.models.gold_replies import batches_of, spread_rows
    from recipes.models.loramoe.layer import LoraMoeLinear
    from recipes.models.routing import mutual_information, routing_statistics

    model = context.model
    if not any(isinstance(module, LoraMoeLinear) for module in model.modules()):
        return {}
    names = dict(enumerate(context.texts))
    typed = [
        batch | {"sample_type": torch.full((len(batch["input_ids"]),), number)}
        for number, kind in names.items()
        for batch in batches_of(context.reader, spread_rows(context.texts[kind]), model.device)
    ]
    routing = routing_statistics(model, typed)
    by_layer = mutual_information(routing)
    return {
        "information": sum(by_layer.values()) / len(by_layer),
        "information_by_layer": by_layer,
        "layers": {
            layer: {names[int(kind)]: weights for kind, weights in means.items()}
            for layer, means in routing["layers"].items()
        },
        "tokens": {names[int(kind)]: count for kind, count in routing["tokens"].items()},
    }
