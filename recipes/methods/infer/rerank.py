"""Reranking: of several sampled replies the one that a reranker finds likeliest right (ReFT, arXiv 2401.08967)."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import Field

from recipes.config.conflicts import Conflict, Scope
from recipes.models.answering import Answering, AnsweringContext, AnsweringTable

VERSION = 1
PAPER = "arXiv 2401.08967"
CONFLICTS = [("eval.infer.rerank.samples=4", "eval.infer.rerank")]


class Config(AnsweringTable):
    """How many replies the reranker picks from, and how they are sampled."""

    samples: int = Field(8, ge=2, description="replies to an item; ReFT: 100")
    temperature: float = Field(1.0, gt=0, le=2, description="of sampling")


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """A step before has to leave a reranker."""
    if not any(getattr(step.module, "LEAVES", "") == "reranker" for step in scope.before):
        instead = "a recipe with a step that leaves one"
        yield scope.conflict("", "needs a reranker", instead, fix="add the table rerank to the recipe")


def answer(own: Config, context: AnsweringContext) -> Answering:
    from recipes.models import reranker

    @cache
    def load() -> tuple[Any, Any]:
        return reranker.load_reranker(context.model, context.inputs)

    def choose(doc: dict[str, Any], replies: list[str]) -> str:
        judge, tokenizer = load()
        return replies[reranker.pick(judge, tokenizer, [doc["prompt"]], [replies])[0]]

    digest = context.digest(reranker.find_reranker(context.inputs))
    return Answering(samples=own.samples, temperature=own.temperature, choose=choose, decided_by=(digest,))
