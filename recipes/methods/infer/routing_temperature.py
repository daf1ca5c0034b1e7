"""Routing temperature: the routers of LoRAMoE layers made sharper or flatter at answering time, without training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import Field

from recipes.config.conflicts import Conflict, Scope
from recipes.config.slots import name_of
from recipes.models.answering import Answering, AnsweringContext, AnsweringTable

VERSION = 1
PAPER = ""
CONFLICTS = [("eval.infer.routing_temperature.temperature=2", "eval.infer.routing_temperature")]


class Config(AnsweringTable):
    """The temperature of the routers' softmax."""

    temperature: float = Field(0.5, gt=0, description="below 1: sharper, above: flatter; 1: as trained")


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """There has to be a router."""
    adapters = [getattr(step.settings, "adapter", None) for step in scope.before]
    if not any(adapter is not None and name_of(adapter) == "loramoe" for adapter in adapters):
        yield scope.conflict("", "no step trains routers", 'adapter.use = "loramoe" of a step before')


def answer(own: Config, context: AnsweringContext) -> Answering:
    @contextmanager
    def around(model: Any) -> Iterator[None]:
        from recipes.models.loramoe.layer import LoraMoeLinear

        def reroute(adapter: str, logits: Any, weights: Any) -> Any:
            # p ** (1 / T) over its sum is the softmax of logits / T, also where only the top k experts are kept.
            sharpened = weights.clamp_min(1e-30).pow(1 / own.temperature) * (weights > 0)
            return sharpened / sharpened.sum(dim=-1, keepdim=True)

        layers = [module for module in model.modules() if isinstance(module, LoraMoeLinear)]
        try:
            for layer in layers:
                layer.reroute = reroute
            yield
        finally:
            for layer in layers:
                vars(layer).pop("reroute", None)

    return Answering(around=around)
