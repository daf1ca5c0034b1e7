"""Duplicates: the same prompt twice, and records that ask almost the same.

Rules make records of facts they know: wordings of one fact are alike on purpose, and two facts that ask almost the same
have different answers unless they are one fact twice. Of a model nothing of the kind is known. It words every answer
and every wrong option anew, so its records are compared by their questions alone: the same question with another answer
is a repeat, and may contradict the first.
"""

from collections.abc import Hashable, Sequence
from typing import Any

from data_builders.analogseeker.records import Qtsa
from data_builders.core.ledger import Ledger
from data_builders.core.patterns import words
from data_builders.core.similar import BINS, near_duplicates

SIMILAR = 0.8


def prompt_of(record: Qtsa) -> Hashable:
    """What makes a prompt the same prompt within a split."""
    if record.asked:
        return record.split, " ".join(words(record.question))
    return record.split, record.question, record.options


def compared_with(record: Qtsa) -> Hashable:
    """Records of one such value are compared with each other."""
    return "model" if record.asked else (record.kind, " ".join(words(record.answer_text)))


def without_duplicates(
    records: Sequence[Qtsa], ledger: Ledger, threshold: float = SIMILAR
) -> tuple[list[Qtsa], dict[str, Any]]:
    """(records without exact repeats and near repeats of other facts, similarity), in order.

    To be called once, after all batches have joined. An exact repeat has the same split, question and options, of a
    model's records the same split and words of the question. Near means: a Jaccard similarity of word triples of at
    least `threshold`, with another fact of the same kind and right answer, or of a model's records with any other.
    Calculations differ in their numbers and are compared exactly. Of two that are alike the one with the smaller id
    stays, so what stays does not depend on the order of the records. `similarity` is what card.json holds:
    {"threshold", "compared", "bins": one count for each 1 / len(bins) of the similarity of a record to the most similar
    one of another fact}.
    """
    first = {}
    for record in records:
        exact = prompt_of(record)
        first[exact] = min(first.get(exact, record.id), record.id)
    unique, seen = [], set()
    for record in records:
        exact = prompt_of(record)
        if record.id != first[exact] or exact in seen:
            ledger.drop("records", "exact duplicate", record.id, record.question[:120])
        else:
            seen.add(exact)
            unique.append(record)
    compared = [record for record in unique if record.kind != "calc" and record.operations == 0]
    removals, bins = near_duplicates(
        [record.id for record in compared],
        [record.question for record in compared],
        threshold,
        [compared_with(record) for record in compared],
        [None if record.asked else record.fact_id for record in compared],
    )
    like = {compared[removal.index].id: removal for removal in removals}
    kept = []
    for record in unique:
        removal = like.get(record.id)
        if removal is None:
            ledger.keep("records")
            kept.append(record)
        else:
            detail = f"{removal.similarity:.2f} like {compared[removal.like].id}: {record.question}"
            ledger.drop("records", "near duplicate", record.id, detail[:160])
    return kept, {"threshold": threshold, "compared": len(compared), "bins": bins if compared else [0] * BINS}
