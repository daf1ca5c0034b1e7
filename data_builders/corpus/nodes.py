"""One unit of a corpus, read: its documents as parts, the parts as learning nodes."""

import json
import re
from dataclasses import dataclass, field

from data_builders.corpus import latex, markdown
from data_builders.corpus.document import (
    Document,
    Limits,
    Part,
    clean_controls,
    read_text,
    too_large,
    without_long_lines,
)
from data_builders.corpus.facts import SidecarNode, read_sidecar
from data_builders.corpus.sources import HTML, TEXT, tex_target
from data_builders.quality.ledger import Ledger
from data_builders.schema import DataError, Node, stable_id

INCLUDE = re.compile(r"^[ \t]*\{\{<\s*include\s+(\S+)\s*>\}\}[ \t]*$")
ROW = 16 * 2**20  # bytes of a JSONL line
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


@dataclass(frozen=True)
class Settings:
    """How a corpus is read. `books` maps a document's path to its book id."""

    folder: str
    min_tokens: int
    max_tokens: int
    text_field: str
    limits: Limits
    books: dict[str, str]


@dataclass(frozen=True)
class Shared:
    """What documents know of each other: LaTeX macros, and titles by section label."""

    macros: dict[str, tuple]
    titles: dict[str, str]


@dataclass
class Reply:
    """What came of a unit. `drops` are the arguments of Ledger.drop, `kept` counts by step."""

    nodes: tuple[Node, ...] = ()
    facts: dict[str, SidecarNode] = field(default_factory=dict)
    terms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    drops: list[tuple] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    error: DataError | None = None


def read_unit(unit, settings, shared):
    """Read one unit. A document that cannot be read comes back as `error`; what it gave until then is not returned."""
    from pathlib import Path

    folder, ledger = Path(settings.folder), Ledger()
    renderer = latex.Renderer({name: tuple(macro) for name, macro in shared.macros.items()})
    reader = Reader(folder, unit, settings, shared, renderer, ledger)
    nodes, facts, terms = [], {}, {}
    try:
        for document in reader.documents():
            ledger.keep("documents")
            found = reader.nodes_of(document)
            nodes += found.nodes
            facts |= found.facts
            terms |= found.terms
    except DataError as error:
        return Reply(error=error)
    drops = [(row["step"], row["reason"], row["source"], row["detail"], row["count"]) for row in ledger.rows]
    return Reply(tuple(nodes), facts, terms, drops, dict(ledger.kept), renderer.unknown)


@dataclass
class Reader:
    """Reads the documents of one unit."""

    folder: object
    unit: object
    settings: Settings
    shared: Shared
    renderer: latex.Renderer
    ledger: Ledger
    included: int = 0

    @property
    def path(self):
        return self.folder / self.unit.name

    def drop(self, reason, detail, count=1):
        self.ledger.drop("pieces", reason, self.unit.name, detail[:120], count)

    def documents(self):
        """Yields the unit's documents."""
        suffix = self.path.suffix.lower()
        if suffix in TEXT:
            yield self.text()
        elif suffix in HTML:
            from data_builders.corpus import html

            text = read_text(self.path, self.settings.limits)
            title, parts = html.parts_of(text, self.renderer, self.drop, str(self.path))
            yield Document(self.unit.name, parts, title)
        elif suffix == ".tex":
            from data_builders.corpus import tex

            text = self.tex(self.path, (self.path.resolve(),))
            title, parts = tex.parts_of(text, self.renderer, self.drop, str(self.path))
            yield Document(self.unit.name, parts, title)
        elif suffix == ".jsonl":
            yield from self.rows()
        else:
            yield self.pdf()

    def text(self):
        limits = self.settings.limits
        lines = self.lines(self.path, (self.path.resolve(),))
        plain = self.path.suffix.lower() == ".txt"
        parts = self.parts(markdown.sections(lines, plain, self.drop), limits)
        return Document(self.unit.name, parts)

    def parts(self, sections, limits):
        """Markdown sections as parts."""
        parts = []
        for section in sections:
            paragraphs, terms = markdown.prose(
                section.lines, self.renderer, self.shared.titles, self.drop, limits.paragraph
            )
            inline = [markdown.inline(t, self.renderer, self.shared.titles, self.drop) for t in section.parents]
            title = markdown.inline(section.title, self.renderer, self.shared.titles, self.drop)
            span = (section.start, section.end)
            parts.append(Part(section.level, title, section.number, tuple(inline), paragraphs, terms, None, span))
        return parts

    def lines(self, path, chain, place=None):
        """(place, line) of a Markdown file with its Quarto includes put in at the place of the directive.

        An include that is not there, or includes itself, is left out and counted. Raises DataError where includes come
        to more text than one document may have.
        """
        text = markdown.without_code(read_text(path, self.settings.limits), self.drop)
        text = without_long_lines(text, self.settings.limits, self.drop)
        self.count(len(text), path)
        _, text = latex.definitions(text)
        for start, line in markdown.lines_of(text):
            here, match = start if place is None else place, INCLUDE.match(line)
            if match is None:
                yield here, line
                continue
            name = match.group(1)
            target = (self.folder / name.lstrip("/") if name.startswith("/") else path.parent / name).resolve()
            if target.is_file() and target not in chain and target.is_relative_to(self.folder.resolve()):
                yield from self.lines(target, (*chain, target), here)
            else:
                self.drop("include not found", name)
                yield here, ""

    def tex(self, path, chain):
        """A LaTeX file with its inputs put in."""
        from data_builders.corpus import tex

        text = read_text(path, self.settings.limits)
        text = without_long_lines(
            text, self.settings.limits, self.drop, fill="%"
        )  # the rest of a line after % is no text
        self.count(len(text), path)

        def put_in(match):
            target = tex_target(path, match.group(1).strip(), self.folder)
            if target is None or target in chain:
                self.drop("include not found", match.group(1))
                return ""
            return self.tex(target, (*chain, target))

        return tex.INPUT.sub(put_in, text)

    def count(self, characters, path):
        self.included += characters
        if self.included > self.settings.limits.characters:
            raise too_large(
                self.path, f"{self.included:,} characters with {path.name}", f"{self.settings.limits.characters:,}"
            )

    def rows(self):
        """The rows of a JSONL unit, each a document. Raises DataError for a line that is no object with the field."""
        with self.path.open("rb") as stream:
            stream.seek(self.unit.start)
            number, left = self.unit.line - 1, self.unit.end - self.unit.start
            while left > 0 and (line := stream.readline(min(left, ROW))):
                left -= len(line)
                number += 1
                if not line.endswith(b"\n") and left > 0:
                    self.drop(f"line of more than {ROW:,} bytes", f"line {number}")
                    while left > 0 and not line.endswith(b"\n"):
                        line = stream.readline(min(left, ROW))
                        left -= len(line)
                    continue
                if line.strip():
                    yield self.row(line, f"{self.unit.name}:{number}")

    def row(self, line, name):
        try:
            row = json.loads(line)
            text = row[self.settings.text_field]
            if not isinstance(text, str):
                raise TypeError(f"{self.settings.text_field} is not a string")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                "A line of a JSONL corpus has no text.",
                where=str(self.folder / name),
                got=f"{type(error).__name__}: {error}; {line[:60]!r}",
                allowed=f'an object with the text in "{self.settings.text_field}"',
                fix="mend the line, or name the field with data.text_field",
            ) from None
        limits = self.settings.limits
        text = without_long_lines(markdown.without_code(clean_controls(text), self.drop), limits, self.drop)
        _, text = latex.definitions(text)
        sections = markdown.sections(markdown.lines_of(text), False, self.drop)
        title = row.get("title")
        return Document(name, self.parts(sections, limits), title if isinstance(title, str) else "")

    def pdf(self):
        from data_builders.corpus import layout, pdf

        pages = []

        def drop(reason, detail):
            if reason == pdf.NO_TEXT or reason.startswith("page that"):
                self.ledger.drop("pages", reason, self.unit.name, detail)
            else:
                self.drop(reason, detail)

        for number, page in enumerate(pdf.read_pages(self.path, self.settings.limits, drop), 1):
            if page[2]:
                self.ledger.keep("pages")
            pages.append((number, page))
        return Document(self.unit.name, layout.parts_of(pages, self.drop))

    def nodes_of(self, document):
        """The nodes of a document, those with a sidecar entry with its facts."""
        settings, ledger = self.settings, self.ledger
        path, text = self.path, self.path.suffix.lower() in TEXT
        book = settings.books[self.unit.name] + document.name[len(self.unit.name) :]
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
            raise DataError(
                "A sidecar speaks of sections that the chapter does not have.",
                where=str(sidecar_path),
                got=", ".join(entries),
                allowed="section numbers or titles of the chapter beside it",
                fix="correct `section` or add the heading",
            )
        return Reply(tuple(nodes), facts, terms)


def size_of(text):
    """As reader.count_tokens."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def unfit(part, title, numbered):
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


def chunks(part):
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
