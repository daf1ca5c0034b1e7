"""Facility location: the subset of rows that lies nearest to all the others (INGENIOUS, arXiv 2305.06677).

Rows are chosen greedily to raise f(S) = sum over rows i of max over j in S of s_ij, where s is the cosine of two rows'
embeddings, negative ones counted as 0. f grows by less the more is chosen (it is monotone and submodular), so that
greedy choice reaches at least 1 - 1/e of the best subset's value. Gains are looked at again only where an old bound
says that a row may be the best (lazy greedy), which changes no choice. Of rows with one embedding the second adds
nothing, and comes after all distinct ones.

The paper draws a new subset every few thousand steps, by a softmax over gains; here the set with the largest gains is
kept once. As in the paper rows are split at random into blocks, each with its share of the budget: the guarantee holds
within a block, and memory is bounded by one block's similarities, block * block * 4 bytes (16 MB by default).
"""

import heapq
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from recipes.artifacts.rows_context import RowsContext
from recipes.config.slots import Method

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
PAPER = "arXiv 2305.06677"
REASON = "stands for no rows that those kept do not stand for better"
BATCH = 16  # rows that the base reads at once
Rows = list[dict[str, Any]]


class Config(Method):
    """How many are kept, and how rows are compared."""

    keep: float = Field(0.25, gt=0, le=1, description="share of the rows that is kept")
    encoder: Literal["tfidf", "model"] = Field(
        "tfidf", description="embedding: TF-IDF of words and pairs, or the mean last hidden state of the recipe's base"
    )
    block: int = Field(2000, ge=2, description="rows that are compared with one another; bounds the memory")


def list_needs(own: Config) -> tuple[str, ...]:
    """What it asks of the engine."""
    return ("base_model",) if own.encoder == "model" else ()


def count_rows(own: Config, rows: int) -> int:
    """Rows after it, of so many before."""
    return max(1, round(rows * own.keep)) if rows else 0


def select(rows: Rows, own: Config, context: RowsContext) -> tuple[Rows, list[tuple[dict[str, Any], str]]]:
    """(rows kept in their order, the others with the reason)"""
    wanted, kept, covered = count_rows(own, len(rows)), set(), 0.0
    order = list(range(len(rows)))
    Random(context.seed).shuffle(order)
    blocks = [sorted(order[start : start + own.block]) for start in range(0, len(order), own.block)]
    texts = [text_of(row) for row in rows]
    vectors = embed_texts(texts) if own.encoder == "tfidf" else embed_by_model(texts, context)
    for block, budget in zip(blocks, share_out(wanted, [len(block) for block in blocks]), strict=True):
        chosen, value = choose(similarities(vectors[block]), budget)
        kept |= {block[place] for place in chosen}
        covered += value
    context.note["facility_location"] = {"kept": len(kept), "of": len(rows), "coverage": covered / max(1, len(rows))}
    return (
        [row for place, row in enumerate(rows) if place in kept],
        [(row, REASON) for place, row in enumerate(rows) if place not in kept],
    )


def text_of(row: dict[str, Any]) -> str:
    """Everything that a row says: its text, or its prompt and replies."""
    turns = [turn for key in ("prompt", "completion", "chosen") for turn in row.get(key, ())]
    return str(row.get("text", "")) or "\n".join(turn["content"] for turn in turns)


def share_out(total: int, sizes: list[int]) -> list[int]:
    """`total` in whole parts proportional to `sizes`; what rounding leaves goes to the largest remainders."""
    whole = sum(sizes)
    exact = [total * size / whole for size in sizes]
    parts = [int(part) for part in exact]
    behind = sorted(range(len(sizes)), key=lambda place: (parts[place] - exact[place], place))
    for place in behind[: total - sum(parts)]:
        parts[place] += 1
    return parts


def embed_texts(texts: list[str]) -> Any:
    """Rows of length 1, [texts, words], sparse."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(token_pattern=r"[^\W_]+", ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)


def embed_by_model(texts: list[str], context: RowsContext) -> "np.ndarray":
    """Rows of length 1, [texts, hidden], of the base's mean last hidden state."""
    import numpy as np
    import torch

    assert context.load_model is not None
    model, tokenizer = context.load_model()
    found = []
    with context.runtime.bar("embed", len(texts), "rows") as bar, torch.no_grad():
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            batch = tokenizer(some, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
            hidden = model(**batch, output_hidden_states=True).hidden_states[-1].float()
            mask = batch["attention_mask"].unsqueeze(-1)
            found.append((hidden * mask).sum(1) / mask.sum(1).clamp(min=1))
            bar.advance(len(some))
    vectors = torch.cat(found).cpu().numpy()
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def similarities(vectors: Any) -> "np.ndarray":
    """Cosines of all pairs of rows, [rows, rows], float32, negative ones as 0."""
    import numpy as np

    product = vectors @ vectors.T
    dense = product.toarray() if hasattr(product, "toarray") else product
    return np.maximum(np.asarray(dense, dtype=np.float32), 0)


def choose(near: "np.ndarray", budget: int) -> tuple[list[int], float]:
    """(places in the order of choice, f of them) of the `budget` columns chosen greedily; of equals the first.

    Args:
        near: similarities of rows, [rows, rows], none negative.
    """
    import numpy as np

    best = np.zeros(len(near), dtype=np.float64)

    def gain(place: int) -> float:
        return float(np.maximum(near[:, place] - best, 0).sum())

    bounds = [(-gain(place), place) for place in range(near.shape[1])]
    heapq.heapify(bounds)
    chosen: list[int] = []
    while bounds and len(chosen) < budget:
        _, place = heapq.heappop(bounds)
        now = (-gain(place), place)
        if bounds and now > bounds[0]:
            heapq.heappush(bounds, now)
            continue
        chosen.append(place)
        best = np.maximum(best, near[:, place])
    return chosen, float(best.sum())
