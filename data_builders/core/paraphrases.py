"""Training questions that say what a test item asks in other words, by the cosine of their embeddings. Off by default.

What is found depends on the embedding. Hashed n-grams find the same words in another order, hardly more: of the 1,350
wordings of the 270 facts of the shipped textbook 0.15 % have a cosine of 0.7 or more with another wording of their own
fact, and as many with one of another fact (benchmarks/paraphrases.py). For sameness of meaning name a sentence encoder.
"""

from collections.abc import Sequence

from pydantic import Field

from data_builders.core.embedding import embedder, needs
from data_builders.core.leaks import Compared, same_fact
from data_builders.core.table import DataTable, Need

KIND = "paraphrase"
BATCH = 500  # training rows whose products with all test items are in memory at once


class Paraphrases(DataTable):
    """The `[data.paraphrases]` table."""

    cosine: float = Field(0.8, gt=0, le=1, description="from which on a training question counts as a test item's own")
    encoder: str = Field("", description="sentence encoder (folder or hub id); empty: hashed n-grams, without a model")

    @property
    def needs(self) -> list[Need]:
        return needs(self.encoder)


def find_paraphrases(
    training: Sequence[Compared], tests: Sequence[Compared], table: Paraphrases
) -> list[dict[str, str]]:
    """Hits as of leaks.find_leaks, one for each training row whose question is as like as that to a test item's.

    The item is the most similar one. Compared are questions without options. Left out are calculations, whose
    questions are templates with other numbers, running texts, which ask nothing, and rows that teach the very fact an
    item asks for (leaks.same_fact), which knowledge tests want.
    """
    import numpy as np

    embed = embedder(table.encoder)
    items = [item for item in tests if not item.calculated]
    rows = [row for row in training if not row.calculated and not row.running]
    if not items or not rows:
        return []
    asked, found = embed([item.question for item in items]), []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        products = embed([row.question for row in part]) @ asked.T
        products = products if isinstance(products, np.ndarray) else products.toarray()
        for row, near in zip(part, products):
            likes = [place for place in np.flatnonzero(near >= table.cosine) if not same_fact(row, items[place])]
            if likes:
                best = max(likes, key=lambda place: near[place])
                text = f"{near[best]:.2f}: {items[best].question}"
                found.append({"kind": KIND, "row": row.id, "item": items[best].id, "text": text})
    return found
