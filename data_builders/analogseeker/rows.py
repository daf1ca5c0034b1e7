"""Records to rows."""

from dataclasses import asdict
from typing import Any

from data_builders.analogseeker.records import Qtsa
from recipes.base.rows import GradedRow, SftRow

FILTERS = ["gates", "exact duplicates", "near duplicates"]  # what every record has passed
GRADERS = {"mcq": "choice", "calc": "numeric", "open": "text"}


def sft_row(record: Qtsa) -> SftRow:
    """A supervised row."""
    return SftRow(kind=record.kind, **_fields_of(record))


def graded_row(record: Qtsa, kind: str, tolerance: float) -> GradedRow:
    """A row for reinforcement or test of the given kind (knowledge, calculation, transfer)."""
    numeric = record.kind == "calc"
    return GradedRow(
        kind=kind,
        grader=GRADERS[record.kind],
        unit=record.unit if numeric else None,
        tolerance=tolerance if numeric else None,
        difficulty=record.operations,
        **_fields_of(record),
    )


def _fields_of(record: Qtsa) -> dict[str, Any]:
    source = {name: getattr(record, name) for name in ("node_id", "fact_id", "family")}
    return asdict(record.exchange) | source | {"lineage": _lineage_of(record)}


def _lineage_of(record: Qtsa) -> dict[str, Any]:
    asked = [*(record.asked or [record.request]), *([record.judged] if record.judged else [])]
    lineage = {"draw": record.draw, "stance": record.stance, "wording": record.wording, "requests": asked}
    lineage |= {"record": record.id, "filters": FILTERS}
    if record.asked:
        lineage |= {"teacher": record.teacher, "prompts": record.prompt_version}
    if record.judge is not None:
        lineage |= {"judge": record.judge, "filters": [*FILTERS, "judge"]}
    return lineage | {"span": record.span} if record.span else lineage
