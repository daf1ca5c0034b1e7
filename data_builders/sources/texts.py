"""Texts for continued pre-training: a folder of documents as texts."""

from pathlib import Path

from data_builders.core.ledger import Ledger
from data_builders.sources.reader import read_corpus

SHORTEST, LONGEST = 10, 10**9  # words, numbers and signs; a shorter piece says nothing, and none is too long


def documents(folder: Path, ledger: Ledger) -> tuple[list[dict[str, str]], int]:
    """(texts {"id", "node_id", "text"} of every document under a folder, their size in words, numbers and signs).

    Any format of the corpus reader. Raises RecipeError for a folder without a text and for documents that cannot be
    read.
    """
    nodes = [node for node in read_corpus(folder, SHORTEST, LONGEST, ledger).nodes if not node.flags]
    texts = [{"id": node.node_id, "node_id": node.node_id, "text": node.text} for node in nodes]
    return texts, sum(node.n_tokens for node in nodes)
