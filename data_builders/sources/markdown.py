"""Markdown and Quarto to sections of clean prose. Whatever is left out is counted through `drop(reason, detail)`.

markdown-it-py parses CommonMark with tables, footnotes and front matter. Ours are the rules for what it does not know:
divs and shortcodes of Quarto, display and inline math, comments over several paragraphs, numbered headings of plain
text; and what becomes of references, citations, captions and attributes in the text that it gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from data_builders.sources.document import Drop
from recipes.base.errors import RecipeError

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

    from data_builders.sources.latex import Renderer

# Blocks. None of these may try a run of spaces from each of its places: a line of spaces would take quadratic time.
NUMBERED = re.compile(r"^(\d+(?:\.\d+)*)\.?\s+(?=\S)(.*)$")
PLAIN_HEADING = re.compile(r"^\d+(?:\.\d+)*\.?\s+[A-Z][^.!?]{2,80}$")
TIGHT_HEADING = re.compile(r"^(#{2,6})(?=[^#\s])", re.M)  # `##1 Title`, without the space that Markdown asks for
BOLD_HEADING = re.compile(r"(\*\*|__)([^*_\n]{3,80})\1:?")
DIV = re.compile(r":::+(.*)$")
ATTRIBUTES = re.compile(r"\{[^{}]*\}$")
TITLE = re.compile(r'title="((?:[^"\\]|\\.)*)"')
CAPTION = re.compile(r"^\s*(?::\s|(?:\*\*|_|\*)?(?:Figure|Fig\.|Table|Listing)\s*\d+[^a-z]{0,4}[:.\s])")
TABLE_LINE = re.compile(r"\||[|:+=\- ]{4,}$")  # of the tables that Pandoc knows beside those of CommonMark
LETTERED = re.compile(r"[a-z]\)\s+")
CLOSINGS = {"$$": "$$", "\\[": "\\]"}  # of display math
HIDDEN = {"<!--": ("-->", "comment"), "<script": ("</script>", "<script>"), "<style": ("</style>", "<style>")}
LEFT_OUT = {"image": "image", "shortcode": "shortcode", "note": "footnote"}  # {kind of inline token: reason}
NESTING = 100  # blocks inside blocks; deeper ones the parser leaves out, with all that follows
MASKED = ("```", "~~~", *HIDDEN)  # a text without one of them, and without front matter, has nothing to mask
INTERRUPTS = {"alt": ["paragraph", "reference", "blockquote", "list"]}

# Inline, at one place of a paragraph. The guard keeps a paragraph of openings linear.
MARKUP = re.compile(r"[*_`\[<\\$&{~^]")  # text without any of these is all that it says
DISPLAY = re.compile(r"\$\$(.+?)\$\$(?:[ \t]*\{#[^}]*\})?|\\\[((?:(?!\\\[).)+?)\\\]", re.S)
INLINE = re.compile(r"\$(?!\s)((?:[^$\\]|\\.)+?)(?<!\s)\$(?!\d)", re.S)
NOTE = re.compile(r"\[\^[^\[\]\s]+\]|\^\[(?:[^\[\]]|\[[^\[\]]*\])*\]")  # a mark of a footnote, or one in the text
SHORTCODE = re.compile(r"\{\{<(?:(?!\{\{<).)*?>\}\}", re.S)
BETWEEN_FACTORS = re.compile(
    r"(?:[^\W_]|[)\]])(?:[^\W_]|[(\[])"
)  # the characters before and after a star that multiplies

# Inline, in the text of a paragraph without markup.
REFERENCE = re.compile(r"@(fig|eq|sec|tbl|lst|nte|imp|tip|wrn|cau|thm|exm)-[\w-]*\w")
KINDS = {"fig": "the figure", "eq": "the equation", "tbl": "the table", "lst": "the listing", "sec": "the section"}
ASIDE = re.compile(r"(?<!\s)\s*\((?:[^()@]{0,60}?)(?:\[?-?@[\w:.-]+[^()]{0,80})\)")
CITATION = re.compile(r"(?<!\s)\s*\[[^\[\]]*?@[\w:.-]+[^\[\]]*?\]")
BETWEEN_WORDS = re.compile(r"\w---?\w|\s---?\s")  # of a dash written as hyphens
KEPT, CODE = "\x00", "\x01"  # around the number of a piece that no rule for text may touch; in no text, see `Reader`


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


@cache
def block_parser() -> MarkdownIt:
    """The parser of blocks, which leaves the text in them as it is.

    Indented code is text: in documents that were converted from another format it is, and rarely code.
    """
    from markdown_it import MarkdownIt
    from mdit_py_plugins.footnote.index import footnote_def
    from mdit_py_plugins.front_matter import front_matter_plugin

    md = MarkdownIt("commonmark", {"maxNesting": NESTING}).enable("table").disable(["code", "html_block"])
    md.use(front_matter_plugin).core.ruler.disable("inline")
    # of the footnote plugin the definitions alone: its rule for marks takes quadratic time
    md.block.ruler.before("reference", "footnote_def", footnote_def, {"alt": ["paragraph", "reference"]})
    for name, rule in (("plain_heading", _plain_heading), ("math", _math), ("hidden", _hidden), ("div", _div)):
        md.block.ruler.before("fence", name, rule, INTERRUPTS)
    return md


@cache
def inline_parser() -> MarkdownIt:
    """The parser of the text of one block."""
    from markdown_it import MarkdownIt

    md = MarkdownIt("commonmark").enable("strikethrough")
    for name, rule in (("math", _inline_math), ("shortcode", _shortcode), ("note", _note)):
        md.inline.ruler.before("escape", name, rule)
    md.inline.ruler.at("emphasis", _emphasis)
    md.validateLink, md.normalizeLink = bool, str  # where a link leads is left out, whatever it is
    return md


def _begins(state: StateBlock, number: int, opening: str | tuple[str, ...]) -> bool:
    return state.src.startswith(opening, state.bMarks[number] + state.tShift[number], state.eMarks[number])


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _push(state: StateBlock, kind: str, content: str, start: int, end: int) -> bool:
    """Add a block of lines [start, end) that holds no others."""
    token = state.push(kind, "", 0)
    token.content, token.map, state.line = content, [start, end], end
    return True


def _div(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A line that opens or closes a div of Quarto. Which one closes which is not for the parser: see `sections`."""
    if not _begins(state, start, ":::"):
        return False
    match = DIV.match(_line(state, start))
    return match is not None and (silent or _push(state, "div", match.group(1).strip(" \t:"), start, start + 1))


def _plain_heading(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A numbered line of a plain text that looks like a heading."""
    if "plain" not in state.env:
        return False
    line = state.src[state.bMarks[start] : state.eMarks[start]]
    return PLAIN_HEADING.match(line) is not None and (silent or _push(state, "plain_heading", line, start, start + 1))


def _math(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Display math that begins a line and ends one, without an empty line in it."""
    if not _begins(state, start, tuple(CLOSINGS)):
        return False
    first = _line(state, start)
    opening = first[:2]
    if state.env.get(opening, -1) >= start:
        return False
    if silent and state.src[state.bMarks[state.line] : state.bMarks[start]].count("$$") % 2:
        return False  # it closes what a line of the paragraph has opened
    found = []
    for number in range(start, end):
        line = first[2:] if number == start else _line(state, number)
        if not line and number > start:
            end = number
            break
        content, closed, rest = line.partition(CLOSINGS[opening])
        found.append(content)
        if closed:
            if ATTRIBUTES.sub("", rest.strip()):
                return False  # inside a paragraph
            return silent or _push(state, "math_block", "\n".join(found), start, number + 1)
    state.env[opening] = end  # what opens before this line is not closed either
    return False


def _hidden(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A comment, script or style that begins a line, to the end of the line that closes it, empty lines included."""
    if not _begins(state, start, "<"):
        return False
    first = _line(state, start)
    opening = next((opening for opening in HIDDEN if first[: len(opening)].lower() == opening), None)
    if opening is None or state.env.get(opening, -1) >= start:
        return False
    closing, reason = HIDDEN[opening]
    for number in range(start, end):
        line = _line(state, number) if number > start else first[len(opening) :]
        _, closed, rest = line.partition(closing)
        if closed:
            if number == start and rest.strip():
                return False  # inside a paragraph
            return silent or _push(state, "hidden", reason, start, number + 1)
    state.env[opening] = end  # as in `_math`
    return False


def _inline_math(state: StateInline, silent: bool) -> bool:
    display = DISPLAY.match(state.src, state.pos, state.posMax)
    match = display or INLINE.match(state.src, state.pos, state.posMax)
    if match is None or (display is None and state.src[state.pos - 1 : state.pos] == "$"):
        return False
    if not silent:
        token = state.push("math_display" if display else "math_inline", "", 0)
        token.content = next(group for group in match.groups() if group is not None)
    state.pos = match.end()
    return True


def _shortcode(state: StateInline, silent: bool) -> bool:
    return _left_out(state, SHORTCODE, "shortcode", silent)


def _note(state: StateInline, silent: bool) -> bool:
    return _left_out(state, NOTE, "note", silent)


def _left_out(state: StateInline, pattern: re.Pattern[str], kind: str, silent: bool) -> bool:
    match = pattern.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push(kind, "", 0).content = match.group()
    state.pos = match.end()
    return True


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Emphasis as CommonMark has it, but that a star between two factors, as in 2*N*td, opens none."""
    from markdown_it.rules_inline import emphasis

    start, first = state.pos, len(state.delimiters)
    if not emphasis.tokenize(state, silent):
        return False
    if start > 0 and BETWEEN_FACTORS.match(state.src[start - 1] + state.src[state.pos : state.pos + 1]):
        for delimiter in state.delimiters[first:]:
            delimiter.open = False
    return True


def parse_inline(text: str, links: dict[str, Any]) -> list[Token]:
    """The tokens of the text of one block."""
    from markdown_it.token import Token

    if not MARKUP.search(text):
        return [Token("text", "", 0, content=text)]
    md, tokens = inline_parser(), []
    md.inline.parse(text, md, links, tokens)
    return tokens


def without_code(text: str, drop: Drop) -> str:
    """The text, as long as before, with spaces for what is none: front matter, comments, fenced code, computed chunks.

    `sections` leaves them out too; this is for what comes before it and knows no Markdown.
    """
    if not text.startswith("---") and not any(opening in text for opening in MASKED):
        return text
    lines = text.split("\n")
    for token in block_parser().parse(text):
        if _is_code(token, drop):
            for number in range(*token.map):
                lines[number] = " " * len(lines[number])
    return "\n".join(lines)


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
        owner.end = max(owner.end, *(lines[number].end for number in range(*token.map) if lines[number].text.strip()))
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
            rows = [lines[number].text.strip() for number in range(*token.map)]
            count = next((number for number, row in enumerate(rows) if "|" not in row), len(rows))
            drop("table line", rows[0], count)
            rest = "\n".join(rows[count:])  # a line without a bar is no row, though CommonMark's tables take it for one
            add(token, Block("paragraph", rest) if rest else None)
            at = _after(tokens, at, "table_close")
        elif token.type == "footnote_reference_open":
            add(token)
            drop("footnote", lines[token.map[0]].text.strip())
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
