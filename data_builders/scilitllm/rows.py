"""Records to rows."""

from dataclasses import asdict
from typing import Any

from data_builders.scilitllm.tasks import TASKS, Record
from recipes.base.hashing import stable_id
from recipes.base.reply_form import render_messages
from recipes.base.rows import GradedRow, SftRow

FILTERS = ["form", "near duplicates"]  # what every record has passed in synthesis.records; the judge sees not all


def sft_row(record: Record, mean: float | None) -> SftRow:
    """A supervised row; `mean` is the judge's."""
    return SftRow(kind=TASKS[record.task].kind, **_fields_of(record, mean))


def graded_row(record: Record, mean: float | None) -> GradedRow:
    """A test row of the task's kind."""
    task, (prompt, _) = TASKS[record.task], render_messages(record.exchange)
    own = stable_id(task.kind, prompt, record.answer)
    return GradedRow(id=own, kind=task.kind, grader=task.grader, **_fields_of(record, mean))


def _fields_of(record: Record, mean: float | None) -> dict[str, Any]:
    source = {"node_id": record.id, "fact_id": record.id, "family": record.domain}
    return asdict(record.exchange) | source | {"lineage": _lineage_of(record, mean)}


def _lineage_of(record: Record, mean: float | None) -> dict[str, Any]:
    lineage = {"record": record.id, "task": record.task, "keywords": list(record.keywords), "teacher": record.teacher}
    lineage |= {"judge": mean, "filters": FILTERS if mean is None else [*FILTERS, "judge"]}
    return lineage | ({"requests": [record.asked]} if record.asked else {})
