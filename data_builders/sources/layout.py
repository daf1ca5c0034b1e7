"""Runs of text on pages to parts under headings: columns, running heads, page numbers, hyphens, headings by size.

Columns are found by white gutters: a page is cut where an upright strip is crossed by no line, or by few lines (titles
and wide captions), which then cut the page into bands. It is the recursive X-Y cut of Nagy and Seth (ICPR 1984), with
upright cuts tried first.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from data_builders.sources.document import Drop, Part
from data_builders.sources.markdown import split_number
from data_builders.sources.markdown_text import CAPTION
from data_builders.sources.pdf import HYPHEN, Run

MARGIN = 0.09  # share of the page's height at top and bottom in which heads and page numbers stand
REPEATS = 3  # pages on which a line in the margin stands before it counts as a running head
MANY = 2_000  # lines; a page with more is a drawing, and looking for columns in it costs time
LARGER = 1.13  # a heading's line is this much higher than the body's
HEADING_CHARACTERS = 120
PAGE_NUMBER = re.compile(r"[-–—|\[( ]*(?:page\s+)?(?:\d{1,4}|[ivxlc]{1,7})(?:\s*(?:/|of)\s*\d{1,4})?[-–—|\]) ]*", re.I)
NUMBERED_HEADING = re.compile(r"(?:chapter|appendix|part|section)\s+[\dA-Z]+\b|[1-9]\d?(?:\.\d+)*\.?\s+[A-Z]", re.I)
LEADER = re.compile(r"(?:\. ?){4,}\s*(?:\d+|[ivxlc]+)?$")  # the dots of a table of contents
HEAD, NUMBER, CUT_CAPTION, CONTENTS = "running head", "page number", "caption", "line of a table of contents"


@dataclass
class Line:
    """Runs of one line in one column."""

    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    bold: bool
    text: str
    page: int = 0


def parts_of(pages: Sequence[tuple[int, tuple[float, float, list[Run]]]], drop: Drop) -> list[Part]:
    """The parts of a document from its pages, (number, (width, height, [Run])) each."""
    heights = [height for _, (_, height, _) in pages]
    read = [order_lines(lines_of(runs, number), width) for number, (width, _, runs) in pages]
    lines = [line for page in without_margins(read, heights, drop) for line in page]
    body = body_size(lines)
    known = vocabulary(lines)
    blocks = list(blocks_of(lines, body))
    return parts_from(blocks, body, known, drop)


def lines_of(runs: Iterable[Run], page: int) -> list[Line]:
    """Runs that stand side by side on one height with little space between, as lines; from top to bottom."""
    lines = []
    for run in sorted(runs, key=lambda run: (-run.y0, run.x0)):
        middle = (run.y0 + run.y1) / 2
        beside = next(
            (
                line
                for line in reversed(lines[-12:])
                if line.y0 < middle < line.y1 and -0.5 * run.size <= run.x0 - line.x1 < 0.9 * max(run.size, line.size)
            ),
            None,
        )
        if beside is None:
            lines.append(Line(run.x0, run.y0, run.x1, run.y1, run.size, run.bold, run.text, page))
        else:
            joint = "" if run.x0 - beside.x1 < 0.15 * beside.size else " "
            beside.text = beside.text.rstrip(HYPHEN) + ("-" if beside.text.endswith(HYPHEN) else "") + joint + run.text
            beside.x1, beside.size = max(beside.x1, run.x1), max(beside.size, run.size)
            beside.bold = beside.bold and run.bold
    return lines


def order_lines(lines: list[Line], width: float, depth: int = 0) -> list[Line]:
    """Lines in reading order."""
    top_down = sorted(lines, key=lambda line: (-line.y1, line.x0))
    gutter = find_gutter(top_down, width) if 6 <= len(lines) <= MANY and depth < 8 else None
    if gutter is None:
        return top_down
    order, band = [], []

    def close() -> None:
        left = [line for line in band if line.x1 <= gutter]
        right = [line for line in band if line.x1 > gutter]
        for side in (left, right):
            order.extend(order_lines(side, width, depth + 1) if left and right else top_down_of(side))
        band.clear()

    for line in top_down:
        if line.x0 < gutter < line.x1:
            close()
            order.append(line)
        else:
            band.append(line)
    close()
    return order


def top_down_of(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (-line.y1, line.x0))


def find_gutter(lines: list[Line], width: float) -> float | None:
    """The middle of the best strip that few lines cross and that has text columns on both sides, or None."""
    edges = sorted({round(line.x1, 1) for line in lines})
    best = None
    for edge in edges:
        starts = [line.x0 for line in lines if line.x0 >= edge]
        if not starts:
            continue
        gutter = (edge + min(starts)) / 2
        if min(starts) - edge < 0.012 * width:
            continue
        left = [line for line in lines if line.x1 <= gutter]
        right = [line for line in lines if line.x0 >= gutter]
        crossing = len(lines) - len(left) - len(right)
        if not (columnar(left) and columnar(right)) or crossing > 0.34 * len(lines):
            continue
        if not overlap(left, right):
            continue
        key = (crossing, -(min(starts) - edge))
        if best is None or key < best[0]:
            best = key, gutter
    return best[1] if best else None


def columnar(lines: list[Line]) -> bool:
    """Whether lines look like a column of prose: at least three, with words in them. A column of numbers does not."""
    return len(lines) >= 3 and sum(len(line.text) for line in lines) / len(lines) >= 12


def overlap(left: list[Line], right: list[Line]) -> bool:
    """Whether two columns stand beside each other for at least half of the shorter one's height."""
    spans = [(min(line.y0 for line in side), max(line.y1 for line in side)) for side in (left, right)]
    shared = min(spans[0][1], spans[1][1]) - max(spans[0][0], spans[1][0])
    return shared > 0.5 * min(high - low for low, high in spans)


def without_margins(pages: list[list[Line]], heights: list[float], drop: Drop) -> list[list[Line]]:
    """The pages without running heads, page numbers and lines of a table of contents.

    A running head is a line at top or bottom that repeats on other pages: its numbers aside, or to the letter where it
    looks like a heading.
    """
    body, seen = body_size([line for page in pages for line in page]), Counter()

    def pattern(line: Line) -> str:
        text = line.text.strip().casefold()
        return text if is_heading(line, body) else re.sub(r"\d+|\b[ivxlc]{1,7}\b", "#", text)

    for page, height in zip(pages, heights, strict=True):
        seen.update({pattern(line) for line in page if in_margin(line, height)})
    repeated = {text for text, count in seen.items() if count >= min(REPEATS, max(2, len(pages)))}
    kept = []
    for page, height in zip(pages, heights, strict=True):
        rest = []
        for line in page:
            if in_margin(line, height) and PAGE_NUMBER.fullmatch(line.text.strip()):
                drop(NUMBER, f"page {line.page}: {line.text}")
            elif in_margin(line, height) and pattern(line) in repeated:
                drop(HEAD, f"page {line.page}: {line.text}")
            elif LEADER.search(line.text):
                drop(CONTENTS, f"page {line.page}: {line.text}")
            else:
                rest.append(line)
        kept.append(rest)
    return kept


def in_margin(line: Line, height: float) -> bool:
    return line.y0 > (1 - MARGIN) * height or line.y1 < MARGIN * height


def body_size(lines: Iterable[Line]) -> float:
    """The size of most characters."""
    counts = Counter()
    for line in lines:
        counts[round(line.size, 1)] += len(line.text)
    return max(counts, key=lambda size: (counts[size], -size)) if counts else 1.0


def vocabulary(lines: Iterable[Line]) -> Counter[str]:
    """Words as they stand inside lines, lower case, those with hyphens among them."""
    words = Counter()
    for line in lines:
        words.update(word.casefold() for word in re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", line.text.rstrip(HYPHEN)))
    return words


def is_heading(line: Line, body: float) -> bool:
    text = line.text.strip()
    if len(text) > HEADING_CHARACTERS or len(re.findall(r"[^\W\d_]", text)) < 3:
        return False
    large = line.size >= LARGER * body
    numbered = NUMBERED_HEADING.match(text) is not None and text[-1] not in ".:,;"
    return large or (line.bold and line.size >= 0.97 * body and numbered)


def blocks_of(lines: Iterable[Line], body: float) -> Iterator[tuple[bool, list[Line]]]:
    """(heading?, [lines]) of consecutive lines that form one heading or one paragraph."""
    block, kind = [], False
    for line in lines:
        heading = bool(is_heading(line, body))
        if block and (heading != kind or starts_anew(block, line, heading)):
            yield kind, block
            block = []
        block.append(line)
        kind = heading
    if block:
        yield kind, block


def starts_anew(block: list[Line], line: Line, heading: bool) -> bool:
    """Whether a line begins another heading or paragraph than the lines before it."""
    last = block[-1]
    if heading:
        return abs(line.size - last.size) > 0.5 or line.page != last.page or last.y0 - line.y1 > 1.2 * line.size
    if re.match(r"(?:[•▪‣◦·]|[-–]\s|\(?\d{1,2}[.)]\s)", line.text):
        return True
    ended = re.search(r"[.!?:;][\"')\]”’]*$", last.text) is not None
    if line.page != last.page or line.y0 > last.y0 + 0.5 * line.size:  # next page or next column
        return ended and not line.text[:1].islower()
    gap, indent = last.y0 - line.y1, line.x0 - min(part.x0 for part in block)
    if gap > 0.6 * line.size:
        return True
    short = last.x1 < max(part.x1 for part in block) - 2 * line.size
    return ended and (short or indent > 0.8 * line.size)


def join(lines: Iterable[Line], known: Counter[str]) -> str:
    """Lines as one paragraph; a word that was divided at a line's end is put together again.

    Its hyphen stays where the document writes the word with one elsewhere and never without.
    """
    text = ""
    for line in lines:
        if text.endswith(HYPHEN):
            head = "".join(re.findall(r"[^\W\d_]+$", text[-80:-1]))
            tail = "".join(re.findall(r"\A[^\W\d_]+", line.text))
            whole, compound = (head + tail).casefold(), f"{head}-{tail}".casefold()
            keep = not tail or not tail[0].islower() or (known[compound] and not known[whole])
            text = text[:-1] + ("-" if keep else "") + line.text
        else:
            text += (" " if text else "") + line.text
    return re.sub(r"\s+", " ", text.replace(HYPHEN, "-")).strip()


def parts_from(blocks: list[tuple[bool, list[Line]]], body: float, known: Counter[str], drop: Drop) -> list[Part]:
    """Headings get levels by their size, the largest first; numbered ones of body size go below those."""
    levels = levels_of({max(line.size for line in block) for heading, block in blocks if heading})
    parts, stack, place = [Part(0, "", "", ())], [], 0
    for heading, block in blocks:
        text = join(block, known)
        first, last = block[0].page, block[-1].page
        if heading:
            number, title = split_number(text)
            level = 10 * levels[max(line.size for line in block)] + min(number.count("."), 9)
            while stack and stack[-1].level >= level:
                stack.pop()
            part = Part(level, title, number, tuple(above.title for above in stack), [], [], (first, last))
            part.span = (place, place + len(text))
            parts.append(part)
            stack.append(part)
        elif CAPTION.match(text):
            drop(CUT_CAPTION, f"page {first}: {text}")
            continue
        else:
            place = parts[-1].add(re.sub(r"^[•▪‣◦·]\s*", "- ", text), place, first)
            parts[-1].pages = ((parts[-1].pages or (first, last))[0], last)
            continue
        place += len(text) + 1
    return [part for part in parts if part.title or part.paragraphs]


def levels_of(sizes: Iterable[float]) -> dict[float, int]:
    """{size: level} from 1, the largest first; sizes within 4 % of each other are one level."""
    levels, level, top = {}, 0, None
    for size in sorted(sizes, reverse=True):
        if top is None or size < 0.96 * top:
            level, top = level + 1, size
        levels[size] = min(level, 6)
    return levels
