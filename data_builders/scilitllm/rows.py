"""Records to rows."""

from data_builders.core.schema import GradedRow, SftRow, stable_id
from data_builders.scilitllm.tasks import TASKS

FILTERS = ["form", "near duplicates"]  # what every record has passed in synthesis.records; the judge sees not all


def _lineage(record, mean):
    lineage = {"record": record.id, "task": record.task, "keywords": list(record.keywords), "teacher": record.teacher}
    lineage |= {"judge": mean, "filters": FILTERS if mean is None else [*FILTERS, "judge"]}
    return lineage | ({"requests": [record.asked]} if record.asked else {})


def sft_row(record, mean):
    """A supervised row; `mean` is the judge's."""
    prompt = [{"role": "user", "content": record.prompt}]
    completion = [{"role": "assistant", "content": record.reply}]
    kind, row_id = TASKS[record.task].kind, stable_id("sft", prompt, completion)
    return SftRow(row_id, prompt, completion, kind, record.id, record.id, record.domain, _lineage(record, mean))


def graded_row(record, mean):
    """A test row of the task's kind."""
    prompt, task = [{"role": "user", "content": record.prompt}], TASKS[record.task]
    return GradedRow(
        id=stable_id(task.kind, prompt, record.answer),
        prompt=prompt,
        answer=record.gold,
        reply=record.reply,
        grader=task.grader,
        kind=task.kind,
        options=record.options or task.options,
        unit=None,
        tolerance=None,
        difficulty=1,
        node_id=record.id,
        fact_id=record.id,
        family=record.domain,
        lineage=_lineage(record, mean),
    )
