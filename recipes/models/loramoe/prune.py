"""Experts that are hardly used are taken out of a trained adapter (the aim of ModuleFormer, arXiv 2306.04640)."""

from recipes.models.loramoe.layer import LoraMoeLinear


def used_experts(weights: dict[str, dict[str, list[float]]], least: float) -> dict[str, list[int]]:
    """{module: places of the experts that stay}: those with a mean weight of `least` or more on some kind of text.

    The largest of a module always stays.

    Args:
        weights: module -> kind of text -> mean router weight of each expert, as `layers` of `routing_statistics`.
        least: a share of a token's weight, 0 to 1.
    """
    kept = {}
    for module, by_kind in weights.items():
        most = [max(values) for values in zip(*by_kind.values(), strict=True)]
        kept[module] = [place for place, share in enumerate(most) if share >= least] or [most.index(max(most))]
    return kept


def prune(model, kept: dict[str, list[int]], adapter: str = "default") -> None:
    """Leave the experts of `used_experts` in a peft model, and note them in its configuration, so that it is saved and
    loaded as it is now. An adapter that was pruned before is not pruned again.

    Raises:
        ValueError: the adapter was pruned already, or has a module that `kept` does not name.
    """
    config = model.peft_config[adapter]
    layers = {
        name.split("base_model.model.")[-1]: module
        for name, module in model.named_modules()
        if isinstance(module, LoraMoeLinear) and adapter in module.loramoe_A
    }
    if config.kept_experts or layers.keys() != kept.keys():
        unknown = sorted(layers.keys() ^ kept.keys())
        raise ValueError(
            f"the adapter {'was pruned before' if config.kept_experts else f'does not fit: {unknown[:3]}'}"
        )
    for name, layer in layers.items():
        layer.keep(adapter, kept[name])
    config.kept_experts = {name: list(places) for name, places in kept.items()}
