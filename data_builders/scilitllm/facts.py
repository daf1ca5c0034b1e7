"""Closed-book questions on the generated world: half of the substances are trained on, the other half is tested.

All of them stand in the corpus, so that a tested fact can be known from pre-training alone. A row's node is the first
document that states every fact of its substance; a substance without one is not asked about.
"""

import re

from data_builders.core.schema import GradedRow, SftRow, order, stable_id
from data_builders.scilitllm.reports import templates
from data_builders.scilitllm.tasks import ASK

KIND = "facts"


def fact_rows(known, nodes, size, seed):
    """(training rows, at most `size` test rows). The last wording of each attribute is kept for the test."""
    stated = _stated_in(known, nodes)
    half = len(stated) // 2
    sft = [row for substance, node in stated[:half] for row in _rows(substance, node, slice(None, -1), _sft_row)]
    tests = [row for substance, node in stated[half:] for row in _rows(substance, node, slice(-1, None), _test_row)]
    return sft, sorted(tests, key=lambda row: order(seed, KIND, row.id))[:size]


def _stated_in(known, nodes):
    """[(substance, id of the first node that states all of its facts)]"""
    read = [(node.node_id, _words(node.text)) for node in nodes]
    wanted = [(substance, _words(" ".join([substance.name, *substance.facts.values()]))) for substance in known]
    homes = [(substance, next((node for node, words in read if facts <= words), None)) for substance, facts in wanted]
    return [(substance, node) for substance, node in homes if node]


def _words(text):
    return set(re.findall(r"\w+", text))


def _rows(substance, node, wordings, make):
    for attribute in templates()["attribute"]:
        for question in attribute["questions"][wordings]:
            value = substance.facts[attribute["name"]]
            stated = attribute["statement"].format(n=substance.name, v=value)
            prompt = [{"role": "user", "content": f"{question.format(n=substance.name)}\n{ASK}"}]
            reply = f"<think>{stated}</think>\nSo: {value}.\n<answer>{value}</answer>"
            yield make(substance, node, attribute["name"], prompt, value, reply)


def _sft_row(substance, node, attribute, prompt, value, reply):
    completion = [{"role": "assistant", "content": reply}]
    row_id, fact = stable_id("sft", prompt, completion), stable_id(substance.id, attribute)
    return SftRow(row_id, prompt, completion, KIND, node, fact, substance.domain, {"record": fact})


def _test_row(substance, node, attribute, prompt, value, reply):
    fact = stable_id(substance.id, attribute)
    return GradedRow(
        id=stable_id(KIND, prompt, value),
        prompt=prompt,
        answer=value,
        reply=reply,
        grader="text",
        kind=KIND,
        options=None,
        unit=None,
        tolerance=None,
        difficulty=1,
        node_id=node,
        fact_id=fact,
        family=substance.domain,
        lineage={"record": fact, "attribute": attribute},
    )
