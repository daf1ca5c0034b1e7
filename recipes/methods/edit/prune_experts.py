"""Expert pruning: LoRAMoE experts that are hardly used on any kind of text are left out (idea: arXiv 2306.04640).

The mean router weight of each expert is measured on the rows that the step reads, the recipe's own and the general
ones apart. ModuleFormer's paper prunes by use in the same way; its experts are not LoRAMoE's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.config.conflicts import Conflict, Scope
from recipes.config.schema import WORLD
from recipes.config.slots import Method, name_of
from recipes.models.edit_context import EditContext

VERSION = 1
PAPER = "arXiv 2306.04640"
NEEDS = ("rows",)
KIND = "LORAMOE"
BATCH = 16
CONFLICTS = [("sft.adapter.use=lora edit.method.use=prune_experts", "edit.method")]


class Config(Method):
    """Below which share of a token's weight an expert goes."""

    least: float = Field(
        0.05, ge=0, lt=1, description="mean router weight that an expert has on some kind of text, or it is left out"
    )
    file: str = Field("sft", pattern=r"^[a-z_]+$", description="stem of the file of rows on which routing is measured")
    rows: int = Field(128, ge=1, description="rows of each kind that are read, evenly spread over the file")


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """The adapter before has to have experts."""
    trained = [step for step in scope.before if hasattr(step.settings, "adapter")]
    if trained and not hasattr(trained[-1].settings.adapter, "experts"):
        adapter = name_of(trained[-1].settings.adapter)
        reason = f"prunes experts, and {trained[-1].name} trains {adapter}"
        yield scope.conflict("", reason, f'{trained[-1].place}.adapter.use = "loramoe"')


def edit(own: Config, context: EditContext) -> dict[str, Any]:
    """Leave the adapter of the one input without its unused experts; of every layer the most used one stays.

    Raises:
        RecipeError: several models, an adapter without experts or one that was pruned before, or no rows.
    """
    from recipes.models import loader, training
    from recipes.models.adapter_methods import read_adapter_config
    from recipes.models.loramoe.prune import prune, used_experts
    from recipes.models.routing import routing_statistics

    (name, (whole, adapter)), *others = context.models.items()
    config = read_adapter_config(adapter) if adapter is not None else {}
    if others or config.get("peft_type") != KIND or config.get("kept_experts"):
        pruned = ", pruned before" if config.get("kept_experts") else ""
        raise RecipeError(
            "there are no experts to prune",
            where="inputs of the step",
            got=", ".join(context.models) if others else f"{name}: {config.get('peft_type', 'a whole model')}{pruned}",
            allowed="one step that leaves a LoRAMoE adapter with all its experts",
        )
    model = loader.load_reached(whole, adapter)
    layers = routing_statistics(model, make_batches(own, context))["layers"]
    kept = used_experts(layers, own.least)
    prune(model, kept)
    training.save_result(model, context.out / "adapter")
    before = sum(len(next(iter(kinds.values()))) for kinds in layers.values())
    return {"experts_before": before, "experts_kept": sum(map(len, kept.values()))}


def make_batches(own: Config, context: EditContext) -> list[dict[str, Any]]:
    """Batches of whole rows with their type, 1 for general ones and 0 for the recipe's own, padded."""
    import torch

    from recipes.models import loader
    from recipes.models.learnt_rows import encode_rows

    file = (context.data or Path()) / f"{own.file}.jsonl"
    rows = read_jsonl(file) if context.data is not None and file.is_file() else []
    if not rows:
        raise RecipeError(
            "there are no rows on which routing could be measured",
            where=file,
            got="0 rows" if file.is_file() else "no such file",
            allowed="at least one row",
            fix="name a file of rows that the builder makes in file",
        )
    tokenizer = loader.load_tokenizer(context.model)
    batches = []
    for kind in (0, 1):
        some = spread([row for row in rows if int(row.get("kind") == WORLD) == kind], own.rows)
        rows_ids = sorted((asked + reply for asked, reply in encode_rows(tokenizer, some)), key=len)
        for start in range(0, len(rows_ids), BATCH):
            part = rows_ids[start : start + BATCH]
            batch = tokenizer.pad({"input_ids": part}, return_tensors="pt")
            batches.append(dict(batch) | {"sample_type": torch.full((len(part),), kind)})
    return batches


def spread(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many rows, at even distances."""
    step = max(1.0, len(rows) / most)
    return [rows[int(number * step)] for number in range(min(most, len(rows)))]
