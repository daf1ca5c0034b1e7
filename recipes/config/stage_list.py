"""The stages of a run, in the order in which they run, and what the rest of the engine has to know of each.

The report is none of them: it is written from what they left.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: what its result and the file of rows that it learns are called, and the word for `--until`.
        table: the recipe's table that it carries out; a recipe without that table is run without the stage.
        module: its module under recipes/stages.
        leaves: "rows"; "model", which is a whole model or an adapter for the one before it; "judge"; or "scores".
        title: what the report calls its training; empty where nothing is trained.
        measured: whether what it leaves is asked in the evaluation.
        unread: stages before it whose results it does not get.
    """

    name: str
    table: str
    module: str
    leaves: str
    title: str = ""
    measured: bool = False
    unread: tuple[str, ...] = ()


STAGES = (
    Stage("data", "data", "data", "rows"),
    Stage("cpt", "cpt", "cpt", "model", "Continued pre-training", measured=True),
    Stage("sft_general", "sft_general", "sft", "model", "General supervised tuning"),  # only on the way to that of sft
    Stage("sft", "sft", "sft", "model", "Supervised tuning", measured=True),
    Stage("rl", "rl", "rl", "model", "Reinforcement", measured=True),
    Stage("rerank", "rerank", "rerank", "judge", "Reranker", unread=("rl",)),  # of replies of the supervised model
    Stage("evaluate", "eval", "evaluate", "scores"),
)
