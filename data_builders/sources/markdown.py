"""Markdown and Quarto to sections of blocks. Whatever is left out is counted through `drop(reason, detail)`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from data_builders.sources.document import Drop
from data_builders.sources.markdown_parser import ATTRIBUTES, HIDDEN, NESTING, block_parser
from recipes.base.errors import RecipeError

if TYPE_CHECKING:
    from markdown_it.token import Token

NUMBERED = re.compile(r"^(\d+(?:\.\d+)*)\.?\s+(?=\S)(.*)$")
TIGHT_HEADING = re.compile(r"^(#{2,6})(?=[^#\s])", re.M)  # `##1 Title`, without the space that Markdown asks for
BOLD_HEADING = re.compile(r"(\*\*|__)([^*_\n]{3,80})\1:?")
TITLE = re.compile(r'title="((?:[^"\\]|\\.)*)"')
MASKED = ("```", "~~~", *HIDDEN)  # a text without one of them, and without front matter, has nothing to mask


class Line(NamedTuple):
    """A line with its place [start, end) in the file, in characters; lines of an include have that of the directive."""

    start: int
    end: int
    text: str


class Block(NamedTuple):
    """A paragraph as it is written, the first one of a list item, or the TeX of a display equation."""

    kind: str  # "paragraph", "item", "equation"
    text: str


@dataclass
class Section:
    """One heading with the blocks below it; `parents` are the titles above, [start, end) its place in the file.

    `links` is what the parser knows of the document's link definitions.
    """

    level: int
    title: str
    number: str
    parents: tuple[str, ...]
    start: int = 0
    end: int = 0
    blocks: list[Block] = field(default_factory=list)
    links: dict[str, Any] = field(default_factory=dict)


def split_number(title: str) -> tuple[str, str]:
    """(number, title without it) of a heading such as "1.2 Title"; the number is "" where there is none."""
    match = NUMBERED.match(title)
    return (match.group(1), match.group(2)) if match else ("", title)


def without_code(text: str, drop: Drop) -> str:
    """The text, as long as before, with spaces for what is none: front matter, comments, fenced code, computed chunks.

    `sections` leaves them out too; this is for what comes before it and knows no Markdown.
    """
    if not text.startswith("---") and not any(opening in text for opening in MASKED):
        return text
    lines = text.split("\n")
    for token in block_parser().parse(text):
        if _is_code(token, drop):
            for number in _span(token):
                lines[number] = " " * len(lines[number])
    return "\n".join(lines)


def _span(token: Token) -> range:
    """The lines of a block; tokens that close a block or stand in a line have none."""
    assert token.map is not None, token.type
    return range(*token.map)


def _is_code(token: Token, drop: Drop) -> bool:
    """Whether a block is no text; what it is instead is counted, but for front matter."""
    if token.type == "fence":
        drop("code block", f"{token.markup}{token.info}")
    elif token.type == "hidden":
        drop(token.content, "from the beginning of a line")
    return token.type in ("fence", "hidden", "front_matter")


def lines_of(text: str) -> Iterator[Line]:
    """The lines of a text with their places in it."""
    place = 0
    for line in text.split("\n"):
        yield Line(place, place + len(line), line)
        place += len(line) + 1


def headings(text: str) -> Iterator[str]:
    """The titles of the headings of a text, with their attributes."""
    tokens = block_parser().parse(TIGHT_HEADING.sub(r"\1 ", text))
    for token, following in pairwise(tokens):
        if _is_heading(token, following):
            yield following.content


def _is_heading(token: Token, following: Token) -> bool:
    """Whether a heading opens here; an underlined one of several lines is a paragraph above a rule."""
    return token.type == "heading_open" and token.level == 0 and "\n" not in following.content


def sections(lines: Iterable[Line], plain: bool, drop: Drop, where: str) -> list[Section]:
    """The sections of one file in order. Raises RecipeError where lists or quotes are nested deeper than NESTING.

    Titled callouts become sections of their own below the heading around them. A document without headings that begins
    with a line in bold has its lines in bold as headings.
    """
    lines = list(lines)
    links: dict[str, Any] = {"plain": True} if plain else {}
    tokens = block_parser().parse(TIGHT_HEADING.sub(r"\1 ", "\n".join(line.text for line in lines)), links)
    if any(token.type in ("list_item_open", "blockquote_open") and token.level >= NESTING - 1 for token in tokens):
        raise RecipeError(
            "Lists or quotes of a Markdown file are nested too deep.",
            where=where,
            got=f"more than {NESTING // 2} inside each other",
            allowed=f"at most {NESTING // 2}",
            fix="mend the file, or move it out of the corpus",
        )
    found = [Section(0, "", "", (), links=links)]
    stack: list[Section] = []
    divs: list[Section | str] = []
    heading, hidden = found[0], 0

    def open_section(level: int, title: str, place: int) -> Section:
        number, title = split_number(ATTRIBUTES.sub("", " ".join(title.split())).strip())
        parents = tuple(item.title for item in stack)
        found.append(Section(level, title, number, parents, place, place, links=links))
        return found[-1]

    def open_heading(level: int, title: str, place: int) -> None:
        nonlocal heading
        while stack and stack[-1].level >= level:
            stack.pop()
        heading = open_section(level, title, place)
        stack.append(heading)

    def add(token: Token, block: Block | None = None) -> None:
        owner = next((item for item in reversed(divs) if isinstance(item, Section)), heading)
        owner.end = max(owner.end, *(lines[number].end for number in _span(token) if lines[number].text.strip()))
        if block is not None:
            owner.blocks.append(block)

    bold = _has_bold_headings(tokens)
    item, at = False, 0
    while at < len(tokens):
        token, at = tokens[at], at + 1
        place = lines[token.map[0]].start if token.map else 0
        if token.type == "div":
            attributes = token.content
            if not attributes:
                if divs and divs.pop() == "hidden":
                    hidden -= 1
            elif "content-hidden" in attributes or "tbl-" in attributes or "fig-" in attributes:
                divs.append("hidden")
                hidden += 1
                drop("hidden block", attributes)
            else:
                title = TITLE.search(attributes) if "callout" in attributes else None
                divs.append(open_section(7, title.group(1), place) if title and not hidden else "open")
        elif hidden or _is_code(token, drop):
            continue
        elif token.type == "heading_open" and _is_heading(token, tokens[at]):
            open_heading(int(token.tag[1]), tokens[at].content, place)
            at += 1
        elif token.type == "plain_heading":
            number, _ = split_number(token.content)
            open_heading(1 + number.count("."), token.content, place)
        elif token.type == "table_open":
            rows = [lines[number].text.strip() for number in _span(token)]
            count = next((number for number, row in enumerate(rows) if "|" not in row), len(rows))
            drop("table line", rows[0], count)
            rest = "\n".join(rows[count:])  # a line without a bar is no row, though CommonMark's tables take it for one
            add(token, Block("paragraph", rest) if rest else None)
            at = _after(tokens, at, "table_close")
        elif token.type == "footnote_reference_open":
            add(token)
            drop("footnote", lines[_span(token).start].text.strip())
            at = _after(tokens, at, "footnote_reference_close")
        elif token.type in ("list_item_open", "list_item_close"):
            item = token.type == "list_item_open"
        elif token.type == "math_block":
            add(token, Block("equation", token.content))
        elif token.type == "inline":
            if bold and token.level == 1 and (match := BOLD_HEADING.fullmatch(token.content)):
                open_heading(1, match.group(2), place)
                continue
            add(token, Block("item" if item else "paragraph", token.content))
            item = False
    if definitions := links.get("references"):
        drop("link definition", ", ".join(definitions), len(definitions))
    return found


def _after(tokens: Sequence[Token], at: int, kind: str) -> int:
    """The place after the next token of a kind."""
    return next(number for number in range(at, len(tokens)) if tokens[number].type == kind) + 1


def _has_bold_headings(tokens: Sequence[Token]) -> bool:
    """Whether a document has no heading, and begins with a line in bold in the place of one."""
    if any(token.type in ("heading_open", "plain_heading") for token in tokens):
        return False
    first = next((token for token in tokens if token.type == "inline"), None)
    return first is not None and first.level == 1 and BOLD_HEADING.fullmatch(first.content) is not None
