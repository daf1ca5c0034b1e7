"""What each stage gets of a recipe: the part of it that decides the stage's result, and nothing else."""

from typing import Literal

from pydantic import BaseModel, SerializeAsAny

from recipes.base.table import Table, runtime_field
from recipes.config.schema import Cpt, Eval, Mix, Model, Rerank, Rl, Sft


class DataStage(Table):
    """What the data stage gets; `texts` is the folder that [cpt] names, whose content is an input of the stage."""

    builder: str
    data: SerializeAsAny[BaseModel]
    mix: Mix | None
    texts: str = runtime_field("", "cpt.corpus")
    seed: int


class CptStage(Table):
    """What the cpt stage gets."""

    model: Model
    cpt: Cpt
    seed: int


class SftStage(Table):
    """What the sft and sft_general stages get; `rows` is the stem of the file they learn."""

    model: Model
    sft: Sft
    rows: Literal["sft", "sft_general"] = "sft"
    seed: int


class RlStage(Table):
    """What the rl stage gets."""

    model: Model
    rl: Rl
    seed: int


class RerankStage(Table):
    """What the rerank stage gets."""

    model: Model
    rerank: Rerank
    seed: int


class EvaluateStage(Table):
    """What the evaluate stage gets."""

    model: Model
    eval: Eval
    seed: int


BY_TABLE = {"cpt": CptStage, "rl": RlStage, "rerank": RerankStage, "eval": EvaluateStage}


def spec_of(stage, recipe):
    """What a stage after data gets of a recipe that has its table; `stage` is of `stage_list.STAGES`."""
    table, about = getattr(recipe, stage.table), {"model": recipe.model, "seed": recipe.seed}
    if stage.module == "sft":  # carries out two tables, and is told whose rows it learns
        return SftStage(sft=table, rows=stage.name, **about)
    return BY_TABLE[stage.table](**{stage.table: table}, **about)
