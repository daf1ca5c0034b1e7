"""Closed-book questions on the generated world: half of the substances are trained on, the other half is tested.

All of them stand in the corpus, so that a tested fact can be known from pre-training alone. A row's node is the first
document that states every fact of its substance; a substance without one is not asked about.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from data_builders.core.schema import Node, order
from data_builders.scilitllm.reports import Substance, templates
from recipes.base.hashing import stable_id
from recipes.base.rows import GradedRow, SftRow

KIND = "facts"


def fact_rows(
    known: Iterable[Substance], nodes: Sequence[Node], size: int, seed: int
) -> tuple[list[SftRow], list[GradedRow]]:
    """(training rows, at most `size` test rows). The last wording of each attribute is kept for the test."""
    stated = _stated_in(known, nodes)
    half = len(stated) // 2
    sft = [
        SftRow(**fields, lineage={"record": fields["fact_id"]})
        for substance, node in stated[:half]
        for _, fields in _questions(substance, node, slice(None, -1))
    ]
    tests = [
        GradedRow(**fields, grader="text", lineage={"record": fields["fact_id"], "attribute": attribute})
        for substance, node in stated[half:]
        for attribute, fields in _questions(substance, node, slice(-1, None))
    ]
    return sft, sorted(tests, key=lambda row: order(seed, KIND, row.id))[:size]


def _stated_in(known: Iterable[Substance], nodes: Sequence[Node]) -> list[tuple[Substance, str]]:
    """[(substance, id of the first node that states all of its facts)]"""
    read = [(node.node_id, _words(node.text)) for node in nodes]
    wanted = [(substance, _words(" ".join([substance.name, *substance.facts.values()]))) for substance in known]
    homes = [(substance, next((node for node, words in read if facts <= words), None)) for substance, facts in wanted]
    return [(substance, node) for substance, node in homes if node]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _questions(substance: Substance, node: str, wordings: slice) -> Iterator[tuple[str, dict[str, Any]]]:
    """(attribute, fields of a row) for each attribute of a substance in each of those wordings."""
    for attribute in templates()["attribute"]:
        name = attribute["name"]
        value = substance.facts[name]
        for question in attribute["questions"][wordings]:
            yield (
                name,
                {
                    "kind": KIND,
                    "question": question.format(n=substance.name),
                    "thinking": attribute["statement"].format(n=substance.name, v=value),
                    "solution": f"So: {value}.",
                    "answer": value,
                    "node_id": node,
                    "fact_id": stable_id(substance.id, name),
                    "family": substance.domain,
                },
            )
