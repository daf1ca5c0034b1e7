"""Texts for continued pre-training: a folder of documents as texts, and texts kept apart from the test."""

from data_builders.corpus.reader import read_corpus
from data_builders.quality.benchmarks import Item
from data_builders.quality.leaks import find_leaks

SHORTEST, LONGEST = 10, 10**9  # words, numbers and signs; a shorter piece says nothing, and none is too long


def documents(folder, ledger):
    """(texts {"id", "node_id", "text"} of every document under a folder, their size in words, numbers and signs).

    Any format of the corpus reader. Raises DataError for a folder without a text and for documents that cannot be read.
    """
    nodes = [node for node in read_corpus(folder, SHORTEST, LONGEST, ledger).nodes if not node.flags]
    texts = [{"id": node.node_id, "node_id": node.node_id, "text": node.text} for node in nodes]
    return texts, sum(node.n_tokens for node in nodes)


def apart(texts, tests, ledger):
    """The texts that hold no item of the test."""
    items = [Item(text["id"], [{"role": "user", "content": text["text"]}]) for text in texts]
    hits = {hit["row"]: hit for hit in reversed(find_leaks(items, tests))} if tests else {}
    for id, hit in sorted(hits.items()):
        ledger.drop(
            "pre-training", f"holds an item of the test ({hit['kind']})", id, f"{hit['item']}: {hit['text']}"[:160]
        )
    kept = [text for text in texts if text["id"] not in hits]
    ledger.keep("pre-training", len(kept))
    return kept
