"""One unit of a corpus, read: its documents as parts, the parts as learning nodes."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from data_builders.core.ledger import Ledger
from data_builders.core.schema import Node
from data_builders.sources import latex
from data_builders.sources.document import Document, Part, Settings, Shared
from data_builders.sources.facts import SidecarNode, read_sidecar
from data_builders.sources.formats import Reader
from data_builders.sources.sources import TEXT, Unit
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id

CHUNK = 1_500  # tokens of a node that is cut from text without headings
CALLOUT = 7  # the level that markdown.sections gives a callout
SKIPPED = {
    "exercise",
    "solution",
    "further reading",
    "references",
    "bibliography",
    "copyright",
    "license",
    "acknowledgements",
}


@dataclass
class Reply:
    """What came of a unit. `drops` are the arguments of Ledger.drop, `kept` counts by step."""

    nodes: tuple[Node, ...] = ()
    facts: dict[str, SidecarNode] = field(default_factory=dict)
    terms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    drops: list[tuple[str, str, str, str, int]] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    error: RecipeError | None = None


def read_unit(unit: Unit, settings: Settings, shared: Shared) -> Reply:
    """Read one unit. A document that cannot be read comes back as `error`; what it gave until then is not returned."""
    folder, ledger = Path(settings.folder), Ledger()
    renderer = latex.Renderer(shared.macros)
    reader = Reader(folder, unit, settings, shared, renderer, ledger)
    nodes, facts, terms = [], {}, {}
    try:
        for document in reader.documents():
            ledger.keep("documents")
            found = nodes_of(document, reader)
            nodes += found.nodes
            facts |= found.facts
            terms |= found.terms
    except RecipeError as error:
        return Reply(error=error)
    drops = [(row["step"], row["reason"], row["source"], row["detail"], row["count"]) for row in ledger.rows]
    return Reply(tuple(nodes), facts, terms, drops, dict(ledger.kept), renderer.unknown)


def nodes_of(document: Document, reader: Reader) -> Reply:
    """The nodes of a document, those with a sidecar entry with its facts."""
    settings, ledger, path = reader.settings, reader.ledger, reader.path
    text = path.suffix.lower() in TEXT
    book = settings.books[reader.unit.name] + document.name[len(reader.unit.name) :]
    sidecar_path = path.with_suffix(".toml")
    sidecar = read_sidecar(sidecar_path) if sidecar_path.is_file() else None
    entries = {entry.section: entry for entry in sidecar.node} if sidecar else {}
    numbered = text and any("." in part.number for part in document.parts)
    chapter = next((part.title for part in document.parts if part.title), document.title or path.stem)
    untitled = "" if text and len(document.parts) > 1 else document.title or path.stem
    nodes, facts, terms, seen = [], {}, {}, {}
    for part in document.parts:
        title = part.title or untitled
        entry = entries.pop(part.number, None) or entries.pop(title, None)
        if entry is None and (reason := unfit(part, title, numbered)):
            if title or part.paragraphs:
                ledger.drop("nodes", reason, f"{book}: {title}", " ".join(part.paragraphs)[:80])
            continue
        where = (*part.parents, title)
        pieces = [part] if path.suffix.lower() in (".md", ".qmd", ".markdown") else chunks(part)
        for count, piece in enumerate(pieces, 1):
            seen[where] = seen.get(where, 0) + 1
            body = "\n".join(piece.paragraphs)
            size = size_of(body)
            flags = ("short",) * (size < settings.min_tokens and entry is None)
            flags += ("long",) * (size > settings.max_tokens)
            shown = where if len(pieces) == 1 else (*part.parents, f"{title} ({count} of {len(pieces)})")
            node = Node(
                stable_id(book, where, seen[where]),
                book,
                sidecar.family if sidecar else chapter,
                part.number,
                shown,
                body,
                size,
                document.name,
                flags,
                piece.pages,
                piece.span,
            )
            nodes.append(node)
            if flags:
                ledger.drop("nodes", f"{flags[0]} node, flagged", node.node_id, f"{book}: {title}, {size} tokens")
                continue
            ledger.keep("nodes")
            terms[node.node_id] = tuple(dict.fromkeys([*(entry.terms if entry else ()), *part.terms]))
            if entry:
                facts[node.node_id] = entry
    if entries:
        raise RecipeError(
            "A sidecar speaks of sections that the chapter does not have.",
            where=str(sidecar_path),
            got=", ".join(entries),
            allowed="section numbers or titles of the chapter beside it",
            fix="correct `section` or add the heading",
        )
    return Reply(tuple(nodes), facts, terms)


def size_of(text: str) -> int:
    """Words, numbers and signs of a text: see reader.count_tokens."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def unfit(part: Part, title: str, numbered: bool) -> str | None:
    """Why a part is no node, or None."""
    if not part.paragraphs:
        return "heading without text"
    if not title:
        return "text before the first heading"
    if numbered and "." not in part.number and part.level != CALLOUT:
        return "heading of one level in a numbered book"
    if re.split(r"[:\s]", title.casefold())[0] in SKIPPED or title.casefold() in SKIPPED:
        return "exercise or reading list"
    return None


def chunks(part: Part) -> list[Part]:
    """A part as it is, or cut at paragraph ends into pieces of about CHUNK tokens."""
    sizes = [size_of(paragraph) for paragraph in part.paragraphs]
    count = -(-sum(sizes) // CHUNK)
    if count <= 1:
        return [part]
    share, pieces, taken = sum(sizes) / count, [[]], 0
    for index, size in enumerate(sizes):
        if taken + size / 2 > share * len(pieces) and pieces[-1] and len(pieces) < count:
            pieces.append([])
        pieces[-1].append(index)
        taken += size
    if len(pieces) == 1:
        return [part]
    found = []
    for piece in pieces:
        paragraphs = [part.paragraphs[index] for index in piece]
        pages, span = part.pages, part.span
        if part.places:
            places = [part.places[index] for index in piece]
            span = (places[0][1], places[-1][2])
            pages = (places[0][0], places[-1][0]) if places[0][0] is not None else None
        found.append(Part(part.level, part.title, part.number, part.parents, paragraphs, part.terms, pages, span))
    return found
