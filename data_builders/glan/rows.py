"""Answered questions to rows: instructions to learn, and graded questions."""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from data_builders.glan.agents import Written, prompt_versions
from data_builders.glan.outline import folded
from data_builders.llm.choices import read_letter
from recipes.base.hashing import stable_id
from recipes.base.reply_form import Exchange, find_answers, render_reply, split_reply
from recipes.base.rows import GradedRow, SftRow

QUANTITY = re.compile(r"-?\d+(?:\.\d+)?(?: ([A-Za-z%]+[\w/*^]*))?")


def concept_id(discipline: str, name: str) -> str:
    """A concept of a discipline, whichever of its courses names it."""
    return stable_id("concept", discipline, folded(name))


def _lineage_of(written: Written, licence: str, filters: Sequence[str]) -> dict[str, Any]:
    (question, pair), sample = written.answered, written.sample
    return {
        "record": question.question_id,
        "sample": sample.sample_id,
        "syllabus": written.syllabus.syllabus_id,
        "subject": written.syllabus.subject_name,
        "strategy": sample.strategy,
        "concepts": list(sample.concepts),
        "teacher": question.model if question.model == pair.model else f"{question.model}, {pair.model}",
        "licence": licence,
        "prompts": prompt_versions(),
        "requests": [question.asked, pair.asked],
        "filters": ["form", *filters],
    }


def with_reply(exchange: Exchange, reply: str) -> Exchange:
    """The exchange with a teacher's reply as fields; verbatim where the renderer would write it otherwise."""
    if parts := split_reply(reply):
        answer = exchange.answer or parts.answer
        found = replace(exchange, thinking=parts.thinking, solution=parts.solution, answer=answer)
        if render_reply(found) == reply:
            return found
    return replace(exchange, verbatim=reply)


def sft_row(written: Written, licence: str, filters: Sequence[str]) -> SftRow:
    """A row that teaches the answer to the question alone. `written` has an answer, and `filters` are those that it has
    passed since."""
    (question, pair), sample = written.answered, written.sample
    concepts = [concept_id(sample.discipline, name) for name in sample.concepts]
    return SftRow(
        id=stable_id("sft", pair.question_id),
        kind="instruction",
        node_id=concepts[0],
        fact_id=concepts[0] if len(concepts) == 1 else "",
        family=sample.discipline,
        lineage=_lineage_of(written, licence, filters),
        **asdict(with_reply(question.exchange, pair.response)),
    )


def graded_row(written: Written, licence: str, tolerance: float) -> tuple[GradedRow | None, str | None]:
    """(the row or None, the reason for None): the gold answer is what the reply says in its answer block."""
    (question, pair), sample = written.answered, written.sample
    stated = find_answers(pair.response)[0]
    number, unit = None, None
    if question.options:
        answer = read_letter(stated, question.options)
        if answer is None:
            return None, "answer: names no option"
    else:
        number = QUANTITY.fullmatch(stated)
        if number is None:
            return None, "answer: not a number with a unit"
        answer, unit = stated, number[1]
    asked = concept_id(sample.discipline, question.concept)
    row = GradedRow(
        id=stable_id(sample.purpose, pair.instruction, answer),
        kind=sample.purpose,
        grader="choice" if question.options else "numeric",
        unit=unit,
        tolerance=tolerance if number else None,
        difficulty=len(sample.concepts),
        node_id=asked,
        fact_id=asked,
        family=sample.discipline,
        level=sample.discipline,
        lineage=_lineage_of(written, licence, ["same question"]),
        **asdict(with_reply(replace(question.exchange, answer=answer), pair.response)),
    )
    return row, None
