"""One solved word problem, whatever it comes from, and the rows that it becomes."""

from dataclasses import dataclass, field

from data_builders.core.schema import GradedRow, SftRow, stable_id

ASK = {
    "natural": "Give the final answer in <answer> tags.",
    "program": "Give the Python program that prints the answer in <answer> tags.",
}
GRADERS = {"natural": "numeric", "program": "program"}


@dataclass(frozen=True)
class Worked:
    """A question with both of its solutions. `answer` is a plain decimal without unit.

    `thinking` and `solution` are the natural chain; `plan` and `program` (which prints the answer) the other, and
    `program` is None where there is none. `difficulty` counts operations; problems of one `node_id` share their source.
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
    lineage: dict = field(default_factory=dict)

    @property
    def id(self):
        return stable_id(self.node_id, self.question)


def prompt_turns(worked, chain):
    return [{"role": "user", "content": f"{worked.question}\n{ASK[chain]}"}]


def reply_text(worked, chain):
    """The assistant turn: think block, solution, answer block (the number, or the program)."""
    if chain == "natural":
        return f"<think>{worked.thinking}</think>\n{worked.solution}\n<answer>{worked.answer}</answer>"
    return f"<think>{worked.plan}</think>\nThe program works it out.\n<answer>\n{worked.program}\n</answer>"


def sft_row(worked, chain):
    prompt = prompt_turns(worked, chain)
    completion = [{"role": "assistant", "content": reply_text(worked, chain)}]
    return SftRow(
        stable_id("sft", prompt, completion),
        prompt,
        completion,
        "problem",
        worked.node_id,
        worked.node_id,
        worked.family,
        worked.lineage | {"difficulty": worked.difficulty},
    )


def graded_row(worked, kind, chain, tolerance):
    """A row for reinforcement or test; the answer of a program row is the number that it has to print."""
    prompt = prompt_turns(worked, chain)
    return GradedRow(
        stable_id(kind, prompt, worked.answer),
        prompt,
        worked.answer,
        reply_text(worked, chain),
        GRADERS[chain],
        kind,
        None,
        None,
        tolerance,
        worked.difficulty,
        worked.node_id,
        worked.node_id,
        worked.family,
        worked.lineage,
    )
