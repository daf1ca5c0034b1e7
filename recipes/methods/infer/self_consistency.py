"""Self-consistency: of several sampled replies the answer that most of them give (arXiv 2203.11171)."""

from pydantic import Field

from eval.graders import majority
from recipes.models.answering import Answering, AnsweringContext, AnsweringTable

VERSION = 1
PAPER = "arXiv 2203.11171"
CONFLICTS = [('eval.infer.self_consistency.models=["rl_second"]', "eval.infer.self_consistency.models")]


class Config(AnsweringTable):
    """How many replies vote, and how they are sampled."""

    samples: int = Field(8, ge=2, description="replies to an item; the paper: 40")
    temperature: float = Field(1.0, gt=0, le=2, description="of sampling")
    top_p: float = Field(1.0, gt=0, le=1, description="mass of the likeliest tokens that are kept")
    top_k: int = Field(0, ge=0, description="likeliest tokens that are kept; 0: all")


def answer(own: Config, context: AnsweringContext) -> Answering:
    return Answering(
        samples=own.samples, temperature=own.temperature, top_p=own.top_p, top_k=own.top_k, choose=majority
    )
