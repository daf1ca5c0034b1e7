"""Answered questions to rows: instructions to learn, and graded questions."""

import re
from dataclasses import dataclass

from data_builders.core.schema import GradedRow, SftRow, stable_id
from data_builders.glan.agents import prompt_versions
from data_builders.glan.outline import folded
from data_builders.llm.choices import letter_of

QUANTITY = re.compile(r"-?\d+(?:\.\d+)?(?: ([A-Za-z%]+[\w/*^]*))?")


@dataclass(frozen=True)
class TestRow(GradedRow):
    """`level` is the discipline: reports break scores down by it."""

    level: str = ""


def concept_id(discipline, name):
    """A concept of a discipline, whichever of its courses names it."""
    return stable_id("concept", discipline, folded(name))


def _lineage(written, licence, filters):
    question, pair, sample = written.question, written.pair, written.sample
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


def sft_row(written, licence, filters):
    """A row that teaches the answer to the question alone. `written` is an agents.Written with an answer, and `filters`
    are those that it has passed since."""
    pair, sample = written.pair, written.sample
    concepts = [concept_id(sample.discipline, name) for name in sample.concepts]
    return SftRow(
        stable_id("sft", pair.question_id),
        [{"role": "user", "content": pair.instruction}],
        [{"role": "assistant", "content": pair.response}],
        "instruction",
        concepts[0],
        concepts[0] if len(concepts) == 1 else "",
        sample.discipline,
        _lineage(written, licence, filters),
    )


def graded_row(written, licence, tolerance):
    """(TestRow or None, the reason for None): the gold answer is what the reply says in its answer block."""
    question, pair, sample = written.question, written.pair, written.sample
    stated = re.search(r"<answer>(.*?)</answer>", pair.response, re.S)[1].strip()
    number, unit = None, None
    if question.options:
        answer = letter_of(stated, question.options)
        if answer is None:
            return None, "answer: names no option"
    else:
        number = QUANTITY.fullmatch(stated)
        if number is None:
            return None, "answer: not a number with a unit"
        answer, unit = stated, number[1]
    asked = concept_id(sample.discipline, question.concept)
    return TestRow(
        stable_id(sample.purpose, pair.instruction, answer),
        [{"role": "user", "content": pair.instruction}],
        answer,
        pair.response,
        "choice" if question.options else "numeric",
        sample.purpose,
        question.options or None,
        unit,
        tolerance if number else None,
        len(sample.concepts),
        asked,
        asked,
        sample.discipline,
        _lineage(written, licence, ["same question"]),
        level=sample.discipline,
    ), None
