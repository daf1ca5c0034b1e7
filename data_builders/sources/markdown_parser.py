"""The parser of Markdown: markdown-it-py, and rules for what it does not know.

markdown-it-py parses CommonMark with tables, footnotes and front matter. The rules here are for divs and shortcodes of
Quarto, display and inline math, comments over several paragraphs, and numbered headings of plain text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.ruler import RuleOptionsType
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

# Blocks. None of these may try a run of spaces from each of its places: a line of spaces would take quadratic time.
PLAIN_HEADING = re.compile(r"^\d+(?:\.\d+)*\.?\s+[A-Z][^.!?]{2,80}$")
DIV = re.compile(r":::+(.*)$")
ATTRIBUTES = re.compile(r"\{[^{}]*\}$")
CLOSINGS = {"$$": "$$", "\\[": "\\]"}  # of display math
HIDDEN = {"<!--": ("-->", "comment"), "<script": ("</script>", "<script>"), "<style": ("</style>", "<style>")}
NESTING = 100  # blocks inside blocks; deeper ones the parser leaves out, with all that follows
INTERRUPTS: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}

# Inline, at one place of a paragraph. The guard keeps a paragraph of openings linear.
MARKUP = re.compile(r"[*_`\[<\\$&{~^]")  # text without any of these is all that it says
DISPLAY = re.compile(r"\$\$(.+?)\$\$(?:[ \t]*\{#[^}]*\})?|\\\[((?:(?!\\\[).)+?)\\\]", re.S)
INLINE = re.compile(r"\$(?!\s)((?:[^$\\]|\\.)+?)(?<!\s)\$(?!\d)", re.S)
NOTE = re.compile(r"\[\^[^\[\]\s]+\]|\^\[(?:[^\[\]]|\[[^\[\]]*\])*\]")  # a mark of a footnote, or one in the text
SHORTCODE = re.compile(r"\{\{<(?:(?!\{\{<).)*?>\}\}", re.S)
# the characters before and after a star that multiplies
BETWEEN_FACTORS = re.compile(r"(?:[^\W_]|[)\]])(?:[^\W_]|[(\[])")


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
    # Where a link leads is left out, whatever it is. The library means both to be replaced, but types them as methods.
    md.validateLink, md.normalizeLink = bool, str  # pyright: ignore[reportAttributeAccessIssue]
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
