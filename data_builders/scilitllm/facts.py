"""Closed-book questions on the generated world: half of the substances are trained on, the other half is tested.

All of them stand in the corpus, so that a tested fact can be known from pre-training alone.
"""

from data_builders.schema import GradedRow, SftRow, order, stable_id
from data_builders.scilitllm.reports import templates
from data_builders.scilitllm.tasks import ASK

KIND = "facts"


def fact_rows(known, size, seed):
    """(training rows, at most `size` test rows). The last wording of each attribute is kept for the test."""
    half = len(known) // 2
    sft = [row for substance in known[:half] for row in _rows(substance, slice(None, -1), _sft_row)]
    tests = [row for substance in known[half:] for row in _rows(substance, slice(-1, None), _test_row)]
    return sft, sorted(tests, key=lambda row: order(seed, KIND, row.id))[:size]


def _rows(substance, wordings, make):
    for attribute in templates()["attribute"]:
        for question in attribute["questions"][wordings]:
            value = substance.facts[attribute["name"]]
            stated = attribute["statement"].format(n=substance.name, v=value)
            prompt = [{"role": "user", "content": f"{question.format(n=substance.name)}\n{ASK}"}]
            reply = f"<think>{stated}</think>\nSo: {value}.\n<answer>{value}</answer>"
            yield make(substance, attribute["name"], prompt, value, reply)


def _sft_row(substance, attribute, prompt, value, reply):
    completion = [{"role": "assistant", "content": reply}]
    row_id, fact = stable_id("sft", prompt, completion), stable_id(substance.id, attribute)
    return SftRow(row_id, prompt, completion, KIND, substance.id, fact, substance.domain, {"record": fact})


def _test_row(substance, attribute, prompt, value, reply):
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
        node_id=substance.id,
        fact_id=fact,
        family=substance.domain,
        lineage={"record": fact, "attribute": attribute},
    )
