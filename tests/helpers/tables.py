"""Tables of stages made from flat keywords: a key goes to the stage or to its method, whichever has it."""

from typing import Any

from recipes.config.slots import load


def sft_table(method: str = "lora", losses: dict[str, dict[str, Any]] | None = None, **keys: Any) -> Any:
    """The table of the stage sft; `losses` maps names of losses to their keys."""
    stage, adapter = load("stages", "sft").Config, load("adapters", method).Config
    own = {key: value for key, value in keys.items() if key in stage.model_fields}
    rest = {key: value for key, value in keys.items() if key not in own}
    found = {name: load("losses", name).Config(use=name, **about) for name, about in (losses or {}).items()}
    return stage(adapter=adapter(use=method, **rest), losses=found, **own)


def cpt_table(method: str = "full", **keys: Any) -> Any:
    """The table of the stage cpt."""
    stage, adapter = load("stages", "cpt").Config, load("adapters", method).Config
    own = {key: value for key, value in keys.items() if key in stage.model_fields}
    return stage(adapter=adapter(use=method, **{k: v for k, v in keys.items() if k not in own}), **own)


def rl_table(algorithm: str = "grpo", **keys: Any) -> Any:
    """The table of the stage rl."""
    stage, method = load("stages", "rl").Config, load("rl", algorithm).Config
    own = {key: value for key, value in keys.items() if key in stage.model_fields}
    return stage(method=method(use=algorithm, **{k: v for k, v in keys.items() if k not in own}), **own)
