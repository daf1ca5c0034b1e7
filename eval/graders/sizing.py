"""Sizes of an op-amp against a specification: the simulator grades what a reply states (recipes/base/opamp.py)."""

from collections.abc import Mapping
from typing import Any

from eval.graders.reply import MAX_CHARS, extract_answer
from recipes.base.opamp import Sizes, figure_of_merit, read_sizes, read_specification, simulate

VERSION = 1  # raise it also where the simulator gives other figures


def read_sizing(row: Mapping[str, Any], reply: str) -> Sizes | None:
    """The sizes in the answer block; None where one is missing or stated twice."""
    return read_sizes(extract_answer(reply) or "")


def share_met(row: Mapping[str, Any], sizes: Sizes) -> float:
    """The share of the row's demands that the sizes meet. Raises ValueError for a row without a specification."""
    wanted = _specification(row)
    return wanted.share_met(simulate(sizes, wanted.load))


def measures(row: Mapping[str, Any], reply: str) -> dict[str, float]:
    """Of a reply: whether every demand is met (`met`), whether the circuit works at all (`works`), and its figure of
    merit in MHz pF/mW (`fom`), 0 where a demand is not met, so that none is bought with another."""
    wanted, sizes = _specification(row), read_sizing(row, reply[-MAX_CHARS:])
    if sizes is None:
        return {"met": 0.0, "works": 0.0, "fom": 0.0}
    found = simulate(sizes, wanted.load)
    met = all(wanted.met(found).values())
    fom = figure_of_merit(found, wanted.load) if met else 0.0
    return {"met": float(met), "works": float(not found.fault), "fom": fom}


def _specification(row: Mapping[str, Any]):
    if not row.get("specification"):
        raise ValueError(f"row {row.get('id')}: a sizing row needs a specification")
    return read_specification(row["specification"])
