"""One solved word problem, whatever it comes from, and the rows that it becomes."""

from dataclasses import dataclass, field
from typing import Any, Literal

from recipes.base.hashing import stable_id
from recipes.base.rows import GradedRow, SftRow

Chain = Literal["natural", "program"]  # how a reply works: lines of arithmetic, or a program that prints the answer
GRADERS = {"natural": "numeric", "program": "program"}


@dataclass(frozen=True, kw_only=True)
class Worked:
    """A question with both of its solutions. `answer` is a plain decimal without unit.

    `thinking` and `solution` are the natural chain; `plan` and `program` (which prints the answer) the other, and
    `program` is None where there is none. `difficulty` counts operations; problems of one `node_id` share their source.
    `options` are those of a choice, whose answer is a letter; `fault` says why the chain in words is not taught.
    """

    node_id: str
    family: str
    question: str
    thinking: str
    solution: str
    plan: str
    program: str | None
    answer: str
    difficulty: int
    options: tuple[str, ...] | None = None
    fault: str | None = None
    lineage: dict = field(default_factory=dict)

    @property
    def id(self) -> str:
        return stable_id(self.node_id, self.question)


def sft_row(worked: Worked, chain: Chain) -> SftRow:
    """A supervised row."""
    lineage = worked.lineage | {"difficulty": worked.difficulty}
    return SftRow(kind="problem", lineage=lineage, **_fields_of(worked, chain))


def graded_row(worked: Worked, kind: str, chain: Chain, tolerance: float) -> GradedRow:
    """A row for reinforcement or test; the answer of a program row is the number that it has to print."""
    return GradedRow(
        kind=kind,
        grader="choice" if worked.options else GRADERS[chain],
        tolerance=None if worked.options else tolerance,
        difficulty=worked.difficulty,
        lineage=worked.lineage,
        **_fields_of(worked, chain),
    )


def _fields_of(worked: Worked, chain: Chain) -> dict[str, Any]:
    source = {"node_id": worked.node_id, "fact_id": worked.node_id, "family": worked.family}
    shared = source | {"question": worked.question, "answer": worked.answer}
    if chain == "natural" or worked.options:
        return shared | {"options": worked.options, "thinking": worked.thinking, "solution": worked.solution}
    return shared | {
        "asks_for": "the Python program that prints the answer",
        "thinking": worked.plan,
        "solution": "The program works it out.",
        # A test item without a program of its own is asked and graded all the same; this one is never taught.
        "program": worked.program or f"print({worked.answer})",
    }
