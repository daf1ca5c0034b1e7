"""What passes between the parts of a builder and what it leaves: typed rows, ids, images."""

import hashlib
import os
from dataclasses import asdict, dataclass, field

from recipes.base.jsonl import encode_json, write_jsonl

STANCES = ("concepts", "derivation", "design", "analysis", "limits")
KINDS = ("mcq", "open", "calc")
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
    def title(self):
        return self.path[-1]


@dataclass(frozen=True)
class Qtsa:
    """One question–thinking–solution–answer record.

    `answer` is the text between the answer tags (a letter for mcq), `operations` counts those of a calculation, `span`
    says where the source sentence stands ("file:node:start-end", characters of the node's text) for extracted facts.
    `asked` holds the keys, in the store of replies, of what a model was asked for it; `operations` of its records is 0.
    `judge` is the mean score of a judge, where there was one, and `judged` the key of what a model was asked as such.
    """

    id: str
    node_id: str
    fact_id: str
    family: str
    stance: str
    kind: str
    wording: int
    draw: int
    question: str
    thinking: str
    solution: str
    answer: str
    options: tuple[str, ...] | None
    unit: str | None
    operations: int
    split: str
    span: str | None
    request: str
    teacher: str
    prompt_version: int | str
    asked: tuple[str, ...] = ()
    judge: float | None = None
    judged: str = ""


@dataclass(frozen=True)
class SftRow:
    """A supervised row: the completion is trained, the prompt is not.

    `images` are files of the artefact as `store_image` names them, shown before the text of the first user turn. The
    written row of a text has no such key.
    """

    id: str
    prompt: list[dict]
    completion: list[dict]
    kind: str
    node_id: str
    fact_id: str
    family: str
    lineage: dict = field(default_factory=dict)
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class GradedRow:
    """A row with a gold answer, for reinforcement or a test; `images` as in `SftRow`.

    `tolerance` is relative, `difficulty` counts operations.
    """

    id: str
    prompt: list[dict]
    answer: str
    reply: str
    grader: str
    kind: str
    options: tuple[str, ...] | None
    unit: str | None
    tolerance: float | None
    difficulty: int
    node_id: str
    fact_id: str
    family: str
    lineage: dict = field(default_factory=dict)
    images: tuple[str, ...] = ()


def stable_id(*parts):
    """Sixteen hex digits that depend on the parts alone, the same on every machine and in every run."""
    return hashlib.sha256(encode_json(parts).encode()).hexdigest()[:16]


def order(seed, *parts):
    """A number that shuffles: sorting by it gives an order that is fixed by seed and content."""
    return int.from_bytes(hashlib.sha256(encode_json([seed, *parts]).encode()).digest()[:8], "big")


def write_rows(path, rows):
    """Write rows (dataclasses or dicts) as JSON lines."""
    write_jsonl(path, (row if isinstance(row, dict) else written(row) for row in rows))


def written(row):
    """The object that stands for a dataclass row in a file: without `images` where it has none."""
    return {name: value for name, value in asdict(row).items() if name != "images" or value}


def image_name(content):
    """The path of a picture inside an artefact, from its bytes: a row that names it fixes what it shows."""
    return f"{IMAGES}/{hashlib.sha256(content).hexdigest()[:16]}.png"


def store_image(out, content):
    """Write a picture (the bytes of a PNG file) into the artefact folder `out`; the name for a row's `images`."""
    name = image_name(content)
    file = out / name
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        part = file.with_name(file.name + ".part")
        part.write_bytes(content)
        os.replace(part, file)
    return name
