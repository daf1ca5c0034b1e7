"""What passes between the parts of a builder and what it leaves: nodes, shuffled orders, written rows, images."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipes.base.jsonl import encode_json, write_jsonl
from recipes.base.rows import Row, dump_row

IMAGES = "images"  # folder of an artefact that holds the pictures of its rows


@dataclass(frozen=True)
class Node:
    """A learning node: the cleaned text under one heading. `path` holds the headings above it and its own title.

    `n_tokens` counts words, numbers and signs, a stand-in for a tokenizer. `flags` is empty, or names why the node is
    kept out of questions ("short", "long"). `source` is the document's path in the corpus, for JSONL with `:line`;
    `pages` the first and last page of a PDF, from 1; `span` [start, end) in the document's text, see
    `corpus.document.Part`.
    """

    node_id: str
    book_id: str
    family: str
    number: str
    path: tuple[str, ...]
    text: str
    n_tokens: int
    source: str
    flags: tuple[str, ...] = ()
    pages: tuple[int, int] | None = None
    span: tuple[int, int] | None = None

    @property
    def title(self) -> str:
        return self.path[-1]


def order(seed: Any, *parts: Any) -> int:
    """A number that shuffles: sorting by it gives an order that is fixed by seed and content."""
    return int.from_bytes(hashlib.sha256(encode_json([seed, *parts]).encode()).digest()[:8], "big")


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """Write rows (of `recipes.base.rows`, other dataclasses or dicts) as JSON lines."""
    write_jsonl(path, map(dump_any, rows))


def dump_any(row: Any) -> dict[str, Any]:
    """The object that stands for a row in a file."""
    if isinstance(row, dict):
        return row
    return dump_row(row) if isinstance(row, Row) else asdict(row)


def image_name(content: bytes) -> str:
    """The path of a picture inside an artefact, from its bytes: a row that names it fixes what it shows."""
    return f"{IMAGES}/{hashlib.sha256(content).hexdigest()[:16]}.png"


def store_image(out: Path, content: bytes) -> str:
    """Write a picture (the bytes of a PNG file) into the artefact folder `out`; the name for a row's `images`."""
    name = image_name(content)
    file = out / name
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        part = file.with_name(file.name + ".part")
        part.write_bytes(content)
        os.replace(part, file)
    return name
