"""Drift: how far tuning moved a model from its base: KL(tuned ‖ base) of next tokens on gold replies."""

from typing import Any

from recipes.config.slots import Method
from recipes.models.probe_context import ProbeContext

VERSION = 1
PAPER = ""
LOGS = {"kl": ("Distance from the base, KL(tuned ‖ base) on gold replies", "nats per token")}
CONFLICTS: list[tuple[str, str]] = []


class Config(Method):
    """No settings: at most 128 gold replies of each kind of text, evenly spread."""


def measure(own: Config, context: ProbeContext) -> dict[str, Any]:
    """{"kl": {kind of text: mean over the tokens of gold replies}, "tokens": {kind of text: how many}}"""
    from recipes.models.divergence import mean_divergence
    from recipes.models.gold_replies import batches_of, spread_rows

    found: dict[str, Any] = {"kl": {}, "tokens": {}}
    for kind, rows in context.texts.items():
        batches = batches_of(context.reader, spread_rows(rows), context.model.device)
        found["kl"][kind], found["tokens"][kind] = mean_divergence(context.model, batches, context.base)
    return found
