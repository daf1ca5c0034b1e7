"""The prose of a Markdown section: what becomes of math, references, citations, captions and markup in its blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from data_builders.sources.document import Drop
from data_builders.sources.markdown import Block, Section
from data_builders.sources.markdown_parser import parse_inline

if TYPE_CHECKING:
    from markdown_it.token import Token

    from data_builders.sources.latex import Renderer

CAPTION = re.compile(r"^\s*(?::\s|(?:\*\*|_|\*)?(?:Figure|Fig\.|Table|Listing)\s*\d+[^a-z]{0,4}[:.\s])")
TABLE_LINE = re.compile(r"\||[|:+=\- ]{4,}$")  # of the tables that Pandoc knows beside those of CommonMark
LETTERED = re.compile(r"[a-z]\)\s+")
LEFT_OUT = {"image": "image", "shortcode": "shortcode", "note": "footnote"}  # {kind of inline token: reason}
REFERENCE = re.compile(r"@(fig|eq|sec|tbl|lst|nte|imp|tip|wrn|cau|thm|exm)-[\w-]*\w")
KINDS = {"fig": "the figure", "eq": "the equation", "tbl": "the table", "lst": "the listing", "sec": "the section"}
ASIDE = re.compile(r"(?<!\s)\s*\((?:[^()@]{0,60}?)(?:\[?-?@[\w:.-]+[^()]{0,80})\)")
CITATION = re.compile(r"(?<!\s)\s*\[[^\[\]]*?@[\w:.-]+[^\[\]]*?\]")
BETWEEN_WORDS = re.compile(r"\w---?\w|\s---?\s")  # of a dash written as hyphens
KEPT, CODE = "\x00", "\x01"  # around the number of a piece that no rule for text may touch; in no text, see `Reader`


def prose(
    section: Section, renderer: Renderer, titles: dict[str, str], drop: Drop, longest: int = 20_000
) -> tuple[list[str], list[str]]:
    """(clean paragraphs, key terms) of a section. `titles` maps section labels to their titles.

    A paragraph of more than `longest` characters is no prose: it is dropped and counted. A list item is a paragraph
    marked "- "; inline code keeps its backquotes; an equation is a paragraph of its own.
    """
    found, terms = [], []
    for block in section.blocks:
        if block.kind == "equation":
            found.append(_equation(block.text, renderer, drop))
            continue
        if len(block.text) > longest:
            drop(f"paragraph of more than {longest:,} characters", block.text)
            continue
        for kind, text in _pieces(block, drop):
            flat = Flat(renderer, drop)
            cleaned = [flat.clean(part, titles) for part in flat.parts(parse_inline(text, section.links))]
            terms += [term for term in (flat.clean(term, titles) for term in flat.terms) if 3 <= len(term) <= 60]
            if kind == "item" and cleaned:
                cleaned[0] = "- " + cleaned[0]
            found += cleaned
    return [part for part in found if re.search(r"\w", part)], terms


def _pieces(block: Block, drop: Drop) -> Iterator[tuple[str, str]]:
    """(kind, text) of what is prose in a paragraph; captions and the lines of Pandoc's tables are none."""
    kind, kept, inside = block.kind, [], False
    for line in block.text.split("\n"):
        bare = line.strip()
        reason = "table line" if TABLE_LINE.match(bare) else "caption" if CAPTION.match(line) else None
        lettered = None if inside else LETTERED.match(bare)
        if (reason and not inside) or lettered:
            if kept:
                yield kind, "\n".join(kept)
            kind, kept = "paragraph", []
        if lettered:
            kind, kept = "item", [bare[lettered.end() :]]
        elif reason and not inside:
            drop(reason, bare)
        else:
            kept.append(bare)
        inside ^= line.count("$$") % 2 == 1  # no line of an equation is anything else
    if kept:
        yield kind, "\n".join(kept)


def _equation(tex: str, renderer: Renderer, drop: Drop) -> str:
    """Display math as a line of plain text; "" where it has no plain form."""
    shown = renderer.render(tex.strip()).rstrip(".,; ")
    if "[…]" in shown:
        drop("equation without a plain form", tex.strip()[:80])
        return ""
    return shown


def inline(text: str, renderer: Renderer, titles: dict[str, str], drop: Drop) -> str:
    """One line without inline markup: math rendered, references named, citations and notes removed."""
    flat = Flat(renderer, drop)
    return " ".join(flat.clean(part, titles) for part in flat.parts(parse_inline(text, {})))


class Flat:
    """Tokens of one paragraph as text; code, math and escaped characters stand as numbers until the text is clean."""

    def __init__(self, renderer: Renderer, drop: Drop):
        self.renderer, self.drop = renderer, drop
        self.kept: list[str] = []
        self.terms: list[str] = []

    def keep(self, text: str, mark: str = KEPT) -> str:
        self.kept.append(text)
        return f"{mark}{len(self.kept) - 1}{mark}"

    def parts(self, tokens: Sequence[Token]) -> list[str]:
        """The text before, between and after display equations, and these; `terms` are then the words in bold."""
        parts, text, bold, link = [], [], 0, False
        for token in tokens:
            if token.type == "text":
                text += [token.content] * (not link)
            elif token.type == "text_special":
                text.append(self.keep(token.content))
            elif token.type in ("softbreak", "hardbreak"):
                text.append(" ")
            elif token.type == "code_inline":
                text.append(self.keep(f"`{token.content.strip()}`", CODE))
            elif token.type == "math_inline":
                text.append(self.keep(self.renderer.render(token.content)))
            elif token.type == "math_display":
                parts += ["".join(text), self.keep(_equation(token.content, self.renderer, self.drop))]
                text, bold = [], 0
            elif token.type == "strong_open":
                bold = len(text)
            elif token.type == "strong_close":
                self.terms.append("".join(text[bold:]))
            elif token.type in ("link_open", "link_close"):
                link = token.type == "link_open" and token.markup == "autolink"
            elif token.type in LEFT_OUT and not token.content.startswith("[^"):  # the mark of a note holds no text
                self.drop(LEFT_OUT[token.type], token.content)
            elif token.type == "html_inline" and token.content.startswith("<!--"):
                self.drop("comment", token.content)
        return [*parts, "".join(text)]

    def clean(self, text: str, titles: dict[str, str]) -> str:
        """Text without what is Quarto's and Pandoc's, and with what was kept."""
        if "@" in text:
            for pattern, reason in ((ASIDE, "reference aside"), (CITATION, "citation")):
                text, count = pattern.subn("", text)
                if count:
                    self.drop(reason, text[:60], count)
            text = REFERENCE.sub(lambda match: _reference(match, titles), text)
            text = re.sub(r"(?<![\w.])@[\w:-]+", "", text)
        if "{" in text:
            text = re.sub(r"\[([^\[\]]*)\]\{[^{}]*\}", r"\1", text)
            text = re.sub(r"\{[#.][^{}]*\}", "", text)
        text = re.sub(r"https?://\S+", "", text)
        text = re.sub(r"(\w)~(\w+)~", r"\1\2", text).replace("\\ ", " ")
        if "--" in text:
            text = re.sub(r"-{2,3}", " - ", text) if BETWEEN_WORDS.search(text) else text.replace("--", "-")
        text = re.sub(f"{KEPT}(\\d+){KEPT}", lambda match: self.kept[int(match.group(1))], text)
        text = re.sub(r"\s+", " ", text)
        text = text.replace(" ,", ",").replace(" .", ".").replace("( ", "(").replace(" )", ")").strip()
        return re.sub(f"{CODE}(\\d+){CODE}", lambda match: self.kept[int(match.group(1))], text)


def _reference(match: re.Match[str], titles: dict[str, str]) -> str:
    title = titles.get(match.group(0)[1:])
    return f"the section on {title}" if title else KINDS.get(match.group(1), "the note")
