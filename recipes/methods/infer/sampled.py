"""One sampled reply to each item: what a model says when it is not asked greedily."""

from pydantic import Field

from recipes.models.answering import Answering, AnsweringContext, AnsweringTable

VERSION = 1
PAPER = ""
CONFLICTS = [('eval.infer.sampled.tasks=["general_facts"]', "eval.infer.sampled.tasks")]


class Config(AnsweringTable):
    """Temperature and cuts of the distribution."""

    temperature: float = Field(1.0, gt=0, le=2, description="of sampling")
    top_p: float = Field(1.0, gt=0, le=1, description="mass of the likeliest tokens that are kept")
    top_k: int = Field(0, ge=0, description="likeliest tokens that are kept; 0: all")


def answer(own: Config, context: AnsweringContext) -> Answering:
    return Answering(temperature=own.temperature, top_p=own.top_p, top_k=own.top_k)
