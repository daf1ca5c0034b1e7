"""Merging: several finished models of one base made into one, by arithmetic on what each has learnt (arXiv 2306.01708).

The task vector of a model is what training added to the weights of the base. Rules, all by the functions of peft:

linear            weighted sum of the task vectors; with the default weights their mean
ties              trim to `density` by size, elect a sign for each weight, mean of those that agree (arXiv 2306.01708)
dare_linear       drop at random to `density`, divide the rest by it, weighted sum (arXiv 2311.03099)
dare_ties         the same drop, then the election of signs
magnitude_prune   trim to `density` by size, weighted sum

What is left is exact where it can be. LoRA adapters under `linear` become one adapter whose rank is the sum of theirs,
which is their weighted sum without error (peft's "cat"). Every other rule works on whole weight deltas, whose result
fits no small rank, and leaves a whole model; `rank` asks for an adapter all the same, by the best approximation of that
rank (peft's "…_svd"). The rules of peft that treat the factors A and B on their own are not used: a sum of factors is
not the factor of a sum. Whole weights need the memory of one model more than are merged.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field

from recipes.base.errors import RecipeError
from recipes.config.conflicts import Conflict, Scope
from recipes.config.schema import Model
from recipes.config.slots import Method
from recipes.models.edit_context import EditContext

if TYPE_CHECKING:
    import torch

VERSION = 1
PAPER = "arXiv 2306.01708"
CONFLICTS = [
    ("edit.method.use=merge", "edit.method"),
    ("edit.method.use=merge edit.method.weights=[0.5,0.5]", "edit.method.weights"),
    ("model.quantization=nf4 edit.method.use=merge edit.method.rule=ties", "edit.method.rule"),
]
Merged = list[tuple[Model, Path | None]]  # (whole model, its adapter or None)


class Config(Method):
    """The rule, and what it asks for."""

    rule: Literal["linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"] = Field(
        "linear", description="how the task vectors are put together"
    )
    weights: Annotated[tuple[float, ...], Field(strict=False)] = Field(
        (),
        description="one for each input, in their order; none: 1 each where the rule takes a mean (ties, dare_ties), "
        "else equal ones that add up to 1",
    )
    density: float = Field(
        0.5, gt=0, le=1, description="share of each task vector's weights that is kept; linear keeps all"
    )
    rank: int = Field(
        0, ge=0, description="rank of the adapter that is left, by singular values; 0: exact, whatever form that takes"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of what dare_linear and dare_ties drop")


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """Two models or more, a weight for each, and weights that can be added up."""
    models = [step.name for step in scope.before if step.name in scope.step.inputs and step.module.LEAVES == "model"]
    if own.weights and len(own.weights) != len(models):
        instead = f"one for each of {', '.join(models) or 'no model'}"
        yield scope.conflict("weights", "as many weights as models are merged", instead, list(own.weights))
    elif len(models) < 2:
        reason = f"merges models, and the step has {len(models)}"
        instead = "a step in [steps] whose inputs name two models or more"
        yield scope.conflict("", reason, instead, fix='[NAME.steps.merged] use = "merge", inputs = ["sft_a", "sft_b"]')
    if scope.model.quantization != "none" and own.rule != "linear" and not own.rank:
        reason = "this rule leaves whole weights, and 4-bit ones cannot be added up"
        fix = f'or set {scope.path}.rank, or model.quantization = "none"'
        yield scope.conflict("rule", reason, '"linear" with nf4', own.rule, fix)


def leaves_whole(own: Config) -> bool:
    """Whether what is left is a whole model and no adapter, as far as the table tells."""
    return own.rule != "linear" and not own.rank


def edit(own: Config, context: EditContext) -> dict[str, Any]:
    """Leave the merged adapter or model.

    Raises:
        RecipeError: fewer than two models, adapters on different bases, one that is no matrix beside the weights
            (LoRAMoE), or models of different shapes.
    """
    models = list(context.models.values())
    whole = find_base(context)
    weights = list(own.weights) or choose_weights(own.rule, len(models))
    as_adapter = own.rule == "linear" or own.rank > 0
    if as_adapter and all(adapter is not None and is_plain_lora(adapter) for _, adapter in models):
        rank = merge_adapters(own, whole, [adapter for _, adapter in models if adapter], weights, context.out)
        return {"rule": own.rule, "weights": weights, "left": f"an adapter of rank {rank}"}
    if own.rank:
        raise RecipeError(
            "these models cannot be merged into an adapter",
            where="edit.method.rank",
            got=", ".join(context.models),
            allowed="LoRA adapters without DoRA and without modules of their own",
            fix="leave out rank: a whole model is left",
        )
    merge_weights(own, whole, models, weights, context)
    return {"rule": own.rule, "weights": weights, "left": "a whole model"}


def choose_weights(rule: str, count: int) -> list[float]:
    """The default weights; rules that elect signs take the mean of those that agree themselves."""
    return [1.0 if rule in ("ties", "dare_ties") else 1.0 / count] * count


def find_base(context: EditContext) -> Model:
    """The whole model from which the task vectors are measured: that under the adapters, for whole models the base."""
    from recipes.models.adapter_methods import find_method, read_adapter_config

    models = context.models
    wholes = {whole.name for whole, adapter in models.values() if adapter is not None}
    whole = next((whole for whole, adapter in models.values() if adapter is not None), context.model)
    if all(adapter is not None for _, adapter in models.values()) or not wholes:
        wrong = len(wholes) > 1
    else:  # a whole model's task vector is measured from the recipe's base, so the adapters have to be on that
        wrong = wholes != {context.model.name}
    if len(models) < 2 or wrong:
        raise RecipeError(
            "adapters on different bases cannot be merged" if wrong else "merging needs two models or more",
            where="inputs of the step",
            got=", ".join(f"{name} on {whole.name}" for name, (whole, _) in models.items()),
            allowed="models that were tuned from one base",
        )
    for name, (_, adapter) in models.items():
        kind = read_adapter_config(adapter).get("peft_type", "") if adapter else ""
        if not getattr(find_method(kind), "MERGEABLE", True):
            raise RecipeError(
                "what this adapter adds depends on the input, so it is no task vector that could be merged",
                where=name,
                got=kind,
                allowed="adapters that can become part of the weights, such as LoRA, and whole models",
            )
    return whole


def is_plain_lora(folder: Path) -> bool:
    """Whether an adapter is a low-rank sum beside the weights and nothing else; the head of PPO has no part in it."""
    from recipes.models.adapter_methods import read_adapter_config
    from recipes.models.value_head import HEAD

    config = read_adapter_config(folder)
    saved = set(config.get("modules_to_save") or ()) - {HEAD}
    odd = config.get("use_dora") or config.get("target_parameters") or config.get("bias", "none") != "none" or saved
    return config.get("peft_type") == "LORA" and not odd


def merge_adapters(own: Config, whole: Model, folders: list[Path], weights: list[float], out: Path) -> int:
    """Write one LoRA adapter; its rank. Its scale is 1, so that rsLoRA's other scale plays no part."""
    from dataclasses import replace

    import torch

    from recipes.models import loader, training
    from recipes.models.base_files import check_base

    for folder in folders:
        check_base(whole, folder)
    names = [f"input{number}" for number in range(len(folders))]
    model = loader.load_adapters(loader.load_base(whole), dict(zip(names, folders, strict=True)))
    model.peft_config[names[0]] = replace(model.peft_config[names[0]], use_rslora=False, modules_to_save=None)
    kind = {"linear": "svd" if own.rank else "cat"}.get(own.rule, f"{own.rule}_svd")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(own.seed)
        try:
            model.add_weighted_adapter(
                names,
                weights,
                "default",
                combination_type=kind,
                density=own.density,
                svd_rank=own.rank or None,
                svd_full_matrices=False,
            )
        except ValueError as error:
            raise RecipeError("peft cannot merge these adapters", where="edit merge", got=str(error)) from error
    fill_rank(model, model.peft_config["default"].r)
    model.set_adapter("default")
    for name in names:
        model.delete_adapter(name)
    training.save_result(model, out / "adapter")
    return model.peft_config["default"].r


def fill_rank(model: "torch.nn.Module", rank: int) -> None:
    """Bring the factors of every layer of the adapter "default" to its rank, with zeros.

    A layer smaller than the rank has fewer singular values, and peft leaves its factors as narrow as that, which it
    then cannot load.
    """
    from torch.nn.functional import pad

    for module in model.modules():
        if "default" in getattr(module, "lora_A", {}):
            layer = cast(Any, module)  # one of peft's, of which torch's types know nothing
            down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            down.data = pad(down.data, (0, 0, 0, rank - down.shape[0]))
            up.data = pad(up.data, (0, rank - up.shape[1]))


def merge_weights(own: Config, whole: Model, models: Merged, weights: list[float], context: EditContext) -> None:
    """Write a whole model: the base and the merged task vectors, each weight's in float32."""
    import torch

    from recipes.models import loader

    base = loader.load_base(whole)
    start = base.state_dict()
    with context.runtime.bar("merge", len(models) + len(start), "tensors") as bar:
        states = []
        for model, adapter in models:
            states.append(load_weights(model, adapter))
            bar.advance(1)
        check_shapes(start, states, context)
        merged = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own.seed)
            for name, weight in start.items():
                vectors = (
                    [state[name].float() - weight.float() for state in states] if weight.is_floating_point() else []
                )
                if any(vector.any() for vector in vectors):
                    merged[name] = (weight.float() + put_together(own, vectors, weights)).to(weight.dtype)
                bar.advance(1)
    base.load_state_dict(start | merged)
    base.save_pretrained(context.out / "model")
    loader.load_tokenizer(context.model).save_pretrained(str(context.out / "model"))


def load_weights(model: Model, adapter: Path | None) -> "dict[str, torch.Tensor]":
    """Every weight of a finished model, its adapter added in."""
    from recipes.models import loader

    loaded = loader.load_reached(model, adapter)
    return (loaded.merge_and_unload() if adapter is not None else loaded).state_dict()


def check_shapes(
    start: "dict[str, torch.Tensor]", states: "list[dict[str, torch.Tensor]]", context: EditContext
) -> None:
    """Raises RecipeError where a model has other weights than the base."""
    shapes = {name: weight.shape for name, weight in start.items()}
    for name, state in zip(context.models, states, strict=True):
        others = {key: weight.shape for key, weight in state.items()}
        if others != shapes:
            odd = sorted(key for key in shapes.keys() | others.keys() if shapes.get(key) != others.get(key))
            raise RecipeError(
                "models of different shapes cannot be merged",
                where=name,
                got=f"{len(odd)} weights differ in shape or name from the base's, such as {odd[0]}",
                allowed="models that were tuned from one base",
            )


def put_together(own: Config, vectors: "list[torch.Tensor]", weights: list[float]) -> "torch.Tensor":
    """The merged task vector of one weight, [the shape of the weight], by the rule."""
    import torch
    from peft.utils import merge_utils

    if own.rule == "linear":
        return merge_utils.task_arithmetic(vectors, torch.tensor(weights))
    return getattr(merge_utils, own.rule)(vectors, torch.tensor(weights), own.density)
