"""Records to rows and back: the exact prompts and replies of the recipe."""

import re

from data_builders.core.schema import GradedRow, SftRow, stable_id
from data_builders.llm.choices import LETTERS

FILTERS = ["gates", "exact duplicates", "near duplicates"]  # what every record has passed
GRADERS = {"mcq": "choice", "calc": "numeric", "open": "text"}
REPLY = re.compile(r"<think>(.*?)</think>\n(.*?)\n<answer>(.*?)</answer>", re.S)


def prompt_text(record):
    """The user turn of a record."""
    if record.options is None:
        return f"{record.question}\nGive the final answer in <answer> tags."
    shown = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, record.options, strict=True))
    return f"{record.question}\n{shown}\nGive the right option in <answer> tags."


def reply_text(record):
    """The assistant turn of a record: think block, solution, answer block.

    A choice is answered with the option's own words, which the grader takes like its letter: to find the letter of a
    text is a skill apart, which a very small model lacks, and it is not what the recipe measures.
    """
    answer = record.answer if record.options is None else record.options[LETTERS.index(record.answer)]
    return f"<think>{record.thinking}</think>\n{record.solution}\n<answer>{answer}</answer>"


def parse_row(row):
    """(question, thinking, solution, answer) of an SftRow, as its record had them. Raises ValueError otherwise."""
    match = REPLY.fullmatch(row.completion[0]["content"])
    if match is None:
        raise ValueError(f"row {row.id}: the completion is not one think block, a solution and one answer block")
    question, *rest = row.prompt[0]["content"].rsplit("\n", 5 if row.kind == "mcq" else 1)
    if not rest or not rest[-1].startswith("Give the "):
        raise ValueError(f"row {row.id}: the prompt does not end with the request for an answer")
    thinking, solution, answer = match.groups()
    if row.kind == "mcq":
        answer = next(line[0] for line in rest if line[3:] == answer)
    return question, thinking, solution, answer


def _lineage(record):
    asked = [*(record.asked or [record.request]), *([record.judged] if record.judged else [])]
    lineage = {"draw": record.draw, "stance": record.stance, "wording": record.wording, "requests": asked}
    lineage |= {"record": record.id, "filters": FILTERS}
    if record.asked:
        lineage |= {"teacher": record.teacher, "prompts": record.prompt_version}
    if record.judge is not None:
        lineage |= {"judge": record.judge, "filters": [*FILTERS, "judge"]}
    return lineage | {"span": record.span} if record.span else lineage


def sft_row(record):
    prompt = [{"role": "user", "content": prompt_text(record)}]
    completion = [{"role": "assistant", "content": reply_text(record)}]
    return SftRow(
        stable_id("sft", prompt, completion),
        prompt,
        completion,
        record.kind,
        record.node_id,
        record.fact_id,
        record.family,
        _lineage(record),
    )


def graded_row(record, kind, tolerance):
    """A row for reinforcement or test of the given kind (knowledge, calculation, transfer)."""
    prompt = [{"role": "user", "content": prompt_text(record)}]
    numeric = record.kind == "calc"
    return GradedRow(
        stable_id(kind, prompt, record.answer),
        prompt,
        record.answer,
        reply_text(record),
        GRADERS[record.kind],
        kind,
        record.options,
        record.unit if numeric else None,
        tolerance if numeric else None,
        record.operations,
        record.node_id,
        record.fact_id,
        record.family,
        _lineage(record),
    )
