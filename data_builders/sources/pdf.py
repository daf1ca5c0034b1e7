"""PDF to runs of text with their places, through PDFium. Called in a reading process, which has limits (pool.py)."""

import ctypes
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from data_builders.sources.document import Drop, Limits, too_large
from recipes.base.errors import RecipeError

LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
HYPHENS = (0x02, 0x2D, 0xAD, 0x2010, 0xFFFE)  # PDFium reports a hyphen at a line's end as 2 or FFFE
HYPHEN = "\xad"  # how a hyphen that ends a run is written here
UPRIGHT = 0.1  # radians; text turned further (stamps in the margin, labels of axes) is left out
PAGE_CHARACTERS = 200_000
NO_TEXT, TURNED = "page without text (a scan, or drawn letters)", "turned text"
CUT = f"text of a page beyond {PAGE_CHARACTERS:,} characters"


@dataclass
class Run:
    """Characters that stand beside each other on one line. Places in points from the lower left corner of the page."""

    x0: float
    y0: float
    x1: float
    y1: float
    size: float  # height of the line box, which grows with the font's size
    bold: bool
    text: str


def read_pages(path: Path, limits: Limits, drop: Drop) -> Iterator[tuple[float, float, list[Run]]]:
    """Yields (width, height, [Run]) for every page. `drop(reason, detail)` counts what is left out.

    Raises RecipeError for a file that is no PDF, is locked by a password, or goes over the limits.
    """
    if path.stat().st_size > limits.pdf_bytes:
        raise too_large(path, f"{path.stat().st_size:,} bytes", f"{limits.pdf_bytes:,} bytes")
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise RecipeError(
            "A PDF file is locked." if locked else "A file cannot be read as PDF.",
            where=str(path),
            got=str(error),
            allowed="a PDF that opens without a password",
            fix="save it without a password" if locked else "write the PDF anew, or move it out of the corpus",
        ) from None
    with document:
        if len(document) > limits.pages:
            raise too_large(path, f"{len(document):,} pages", f"{limits.pages:,} pages")
        characters = 0
        for number in range(len(document)):
            try:
                page = document[number]
            except pypdfium2.PdfiumError as error:
                drop("page that cannot be read", f"page {number + 1}: {error}")
                yield 1.0, 1.0, []
                continue
            textpage = page.get_textpage()
            runs = runs_of(textpage, partial(_drop_of_page, drop, number + 1))
            width, height = page.get_size()
            textpage.close()
            page.close()
            characters += sum(len(run.text) for run in runs)
            if characters > limits.characters:
                raise too_large(path, f"{characters:,} characters of text", f"{limits.characters:,} characters")
            if not runs:
                drop(NO_TEXT, f"page {number + 1}")
            yield width, height, runs


def _drop_of_page(drop: Drop, number: int, reason: str, detail: str, count: int = 1) -> None:
    drop(reason, f"page {number}: {detail}", count)


def runs_of(textpage: pypdfium2.PdfTextPage, drop: Drop) -> list[Run]:
    """The runs of one page in the order of the file. `drop(reason, text)` takes what does not stand upright or is cut.

    Only the first and the last letter of a word are asked for their places: asking is what costs time.
    """
    page, runs, run, word, first, space = textpage.raw, [], None, [], 0, False
    whole = pdfium.FPDFText_CountChars(page)
    count = min(whole, PAGE_CHARACTERS)
    if whole > count:
        drop(CUT, f"{whole - count:,} of {whole:,} characters")
    unicode = pdfium.FPDFText_GetUnicode
    for index in range(count + 1):
        code = unicode(page, index) if index < count else 10
        if code not in (10, 13, 32):
            if not word:
                first = index
            if code in HYPHENS:
                code = 0xAD
            word.append(LIGATURES.get(code) or (chr(code) if code >= 32 and not 0xD800 <= code < 0xE000 else "\ufffd"))
            continue
        if word:
            run = with_word(page, first, index - 1, "".join(word), runs, run, space)
            word.clear()
        space = code == 32
        if not space:
            run = None
    left_out = " ".join(run.text for run, is_turned in runs if is_turned)
    if left_out:
        drop(TURNED, left_out)
    return [tidy(run) for run, is_turned in runs if not is_turned and run.text.strip()]


def with_word(
    page: Any, first: int, last: int, text: str, runs: list[tuple[Run, bool]], run: Run | None, space: bool
) -> Run | None:
    """The run that now holds the word of characters first to last: `run`, or a new one, which joins `runs`."""
    box = place_of(page, first)
    if box is None:
        return run
    x0, y0, x1, y1 = box
    if last > first and (end := place_of(page, last)):
        x1 = max(x1, end[2])
    size = y1 - y0
    if (
        run is None
        or not -size < x0 - run.x1 < 1.2 * max(size, run.size)
        or abs((y0 + y1) - (run.y0 + run.y1)) > run.size
        or (size > 1.3 * run.size and x0 - run.x1 > 0.2 * size)
    ):
        angle = pdfium.FPDFText_GetCharAngle(page, first)
        is_turned = abs(angle) > UPRIGHT and abs(angle - 2 * math.pi) > UPRIGHT
        run = Run(x0, y0, x1, y1, size, not is_turned and bold(page, first), text)
        runs.append((run, is_turned))
        return run
    run.text += (" " if space else "") + text
    run.x1 = max(run.x1, x1)
    if size > run.size:
        run.y0, run.y1, run.size = y0, y1, size
    return run


def place_of(page: Any, index: int) -> tuple[float, float, float, float] | None:
    """(left, bottom, right, top) of a character's line box, or None."""
    box = pdfium.FS_RECTF()
    if not pdfium.FPDFText_GetLooseCharBox(page, index, box):
        return None
    return box.left, box.bottom, box.right, box.top


def tidy(run: Run) -> Run:
    """A hyphen inside a run is an ordinary one; at its end it stays marked as HYPHEN."""
    text = run.text.rstrip()
    body = text[:-1].replace(HYPHEN, "-") + text[-1:] if text else text
    run.text = re.sub(r"\s+", " ", body).lstrip()
    return run


def bold(page: Any, index: int) -> bool:
    """Whether a character's font says so, by weight or name."""
    name, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(page, index, name, 128, ctypes.byref(flags))
    return b"bold" in name.value.lower() or pdfium.FPDFText_GetFontWeight(page, index) >= 600
