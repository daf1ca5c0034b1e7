"""The documents of one unit as parts, whatever their format; includes and inputs put in."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_builders.core.ledger import Ledger
from data_builders.sources import latex, markdown, markdown_text
from data_builders.sources.document import (
    Document,
    Limits,
    Part,
    Settings,
    Shared,
    clean_controls,
    read_text,
    too_large,
    without_long_lines,
)
from data_builders.sources.sources import HTML, TEXT, Unit, tex_target
from recipes.base.errors import RecipeError

INCLUDE = re.compile(r"^[ \t]*\{\{<\s*include\s+(\S+)\s*>\}\}[ \t]*$")
ROW = 16 * 2**20  # bytes of a JSONL line


@dataclass
class Reader:
    """Reads the documents of one unit."""

    folder: Path
    unit: Unit
    settings: Settings
    shared: Shared
    renderer: latex.Renderer
    ledger: Ledger
    included: int = 0

    @property
    def path(self) -> Path:
        return self.folder / self.unit.name

    def drop(self, reason: str, detail: str, count: int = 1) -> None:
        self.ledger.drop("pieces", reason, self.unit.name, detail[:120], count)

    def documents(self) -> Iterator[Document]:
        """Yields the unit's documents."""
        suffix = self.path.suffix.lower()
        if suffix in TEXT:
            yield self.text()
        elif suffix in HTML:
            from data_builders.sources import html

            text = read_text(self.path, self.settings.limits)
            title, parts = html.parts_of(text, self.renderer, self.drop, str(self.path))
            yield Document(self.unit.name, parts, title)
        elif suffix == ".tex":
            from data_builders.sources import tex

            text = self.tex(self.path, (self.path.resolve(),))
            title, parts = tex.parts_of(text, self.renderer, self.drop, str(self.path))
            yield Document(self.unit.name, parts, title)
        elif suffix == ".jsonl":
            yield from self.rows()
        else:
            yield self.pdf()

    def text(self) -> Document:
        limits = self.settings.limits
        lines = self.lines(self.path, (self.path.resolve(),))
        plain = self.path.suffix.lower() == ".txt"
        parts = self.parts(markdown.sections(lines, plain, self.drop, str(self.path)), limits)
        return Document(self.unit.name, parts)

    def parts(self, sections: Iterable[markdown.Section], limits: Limits) -> list[Part]:
        """Markdown sections as parts."""
        parts, titles = [], self.shared.titles
        for section in sections:
            paragraphs, terms = markdown_text.prose(section, self.renderer, titles, self.drop, limits.paragraph)
            inline = [markdown_text.inline(t, self.renderer, titles, self.drop) for t in section.parents]
            title = markdown_text.inline(section.title, self.renderer, titles, self.drop)
            span = (section.start, section.end)
            parts.append(Part(section.level, title, section.number, tuple(inline), paragraphs, terms, None, span))
        return parts

    def lines(
        self, path: Path, chain: tuple[Path, ...], directive: markdown.Line | None = None
    ) -> Iterator[markdown.Line]:
        """The lines of a Markdown file without code, with its Quarto includes put in at the place of the directive.

        An include that is not there, or includes itself, is left out and counted. Raises RecipeError where includes
        come to more text than one document may have.
        """
        text = self.without_definitions(read_text(path, self.settings.limits), directive is not None)
        self.count(len(text), path)
        for line in markdown.lines_of(text):
            here = line if directive is None else directive._replace(text=line.text)
            match = INCLUDE.match(line.text)
            if match is None:
                yield here
                continue
            name = match.group(1)
            target = (self.folder / name.lstrip("/") if name.startswith("/") else path.parent / name).resolve()
            if target.is_file() and target not in chain and target.is_relative_to(self.folder.resolve()):
                yield from self.lines(target, (*chain, target), here)
            else:
                self.drop("include not found", name)
                yield here._replace(text="")

    def without_definitions(self, text: str, whole: bool = False) -> str:
        """A Markdown text, as long as before, without macros and very long lines.

        Code, which may show both macros and includes, is left out first where the text has any, or where `whole`.
        """
        if whole or "{{<" in text or latex.DEFINITION.search(text):
            text = markdown.without_code(text, self.drop)
        return latex.definitions(without_long_lines(text, self.settings.limits, self.drop))[1]

    def tex(self, path: Path, chain: tuple[Path, ...]) -> str:
        """A LaTeX file with its inputs put in."""
        from data_builders.sources import tex

        text = read_text(path, self.settings.limits)
        text = without_long_lines(
            text, self.settings.limits, self.drop, fill="%"
        )  # the rest of a line after % is no text
        self.count(len(text), path)

        def put_in(match: re.Match[str]) -> str:
            target = tex_target(path, match.group(1).strip(), self.folder)
            if target is None or target in chain:
                self.drop("include not found", match.group(1))
                return ""
            return self.tex(target, (*chain, target))

        return tex.INPUT.sub(put_in, text)

    def count(self, characters: int, path: Path) -> None:
        self.included += characters
        if self.included > self.settings.limits.characters:
            raise too_large(
                self.path, f"{self.included:,} characters with {path.name}", f"{self.settings.limits.characters:,}"
            )

    def rows(self) -> Iterator[Document]:
        """The rows of a JSONL unit, each a document. Raises RecipeError for a line that is no object with the field."""
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

    def row(self, line: bytes, name: str) -> Document:
        try:
            row = json.loads(line)
            text = row[self.settings.text_field]
            if not isinstance(text, str):
                raise TypeError(f"{self.settings.text_field} is not a string")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecipeError(
                "A line of a JSONL corpus has no text.",
                where=str(self.folder / name),
                got=f"{type(error).__name__}: {error}; {line[:60]!r}",
                allowed=f'an object with the text in "{self.settings.text_field}"',
                fix="mend the line, or name the field with data.text_field",
            ) from None
        limits = self.settings.limits
        lines = markdown.lines_of(self.without_definitions(clean_controls(text)))
        sections = markdown.sections(lines, False, self.drop, str(self.folder / name))
        title = row.get("title")
        return Document(name, self.parts(sections, limits), clean_controls(title) if isinstance(title, str) else "")

    def pdf(self) -> Document:
        from data_builders.sources import layout, pdf

        pages = []

        def drop(reason: str, detail: str, count: int = 1) -> None:
            if reason == pdf.NO_TEXT or reason.startswith("page that"):
                self.ledger.drop("pages", reason, self.unit.name, detail, count)
            else:
                self.drop(reason, detail, count)

        for number, page in enumerate(pdf.read_pages(self.path, self.settings.limits, drop), 1):
            if page[2]:
                self.ledger.keep("pages")
            pages.append((number, page))
        return Document(self.unit.name, layout.parts_of(pages, self.drop))
