"""Few-shot prompting: examples from the training rows stand before the question (arXiv 2005.14165)."""

from pydantic import Field

from recipes.config.schema import Names
from recipes.models.answering import Answering, AnsweringContext, AnsweringTable

VERSION = 1
PAPER = "arXiv 2005.14165"
ROLES = ("field", "control", "format")  # of the tasks that are answered so where the table names none
CONFLICTS = [('eval.infer.few_shot.models=["sft_general"]', "eval.infer.few_shot.models")]


class Config(AnsweringTable):
    """Examples in the prompt; without training, so of the base unless the table says another model."""

    models: Names = Field(("base",), description='which models answer so: "base" and names of steps')
    shots: int = Field(4, ge=1, description="examples, drawn from the training rows of the kinds that a task names")


def answer(own: Config, context: AnsweringContext) -> Answering:
    return Answering(shots=own.shots)
