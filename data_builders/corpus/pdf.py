"""PDF to runs of text with their places, through PDFium. Called in a reading process, which has limits (worker.py)."""

import ctypes
import re
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from data_builders.corpus.document import too_large
from data_builders.schema import DataError

LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
HYPHENS = (0x02, 0x2D, 0xAD, 0x2010, 0xFFFE)  # PDFium reports a hyphen at a line's end as 2 or FFFE
HYPHEN = "\xad"  # how a hyphen that ends a run is written here
UPRIGHT = 0.1  # radians; text turned further (stamps in the margin, labels of axes) is left out
NO_TEXT, TURNED = "page without text (a scan, or drawn letters)", "turned text"
PAGE_CHARACTERS = 200_000


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


def read_pages(path, limits, drop):
    """Yields (width, height, [Run]) for every page. `drop(reason, detail)` counts what is left out.

    Raises DataError for a file that is no PDF, is locked by a password, or goes over the limits.
    """
    if path.stat().st_size > limits.pdf_bytes:
        raise too_large(path, f"{path.stat().st_size:,} bytes", f"{limits.pdf_bytes:,} bytes")
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise DataError(
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
            runs = runs_of(textpage, lambda detail, number=number: drop(TURNED, f"page {number + 1}: {detail}"))
            width, height = page.get_size()
            textpage.close()
            page.close()
            characters += sum(len(run.text) for run in runs)
            if characters > limits.characters:
                raise too_large(path, f"{characters:,} characters of text", f"{limits.characters:,} characters")
            if not runs:
                drop(NO_TEXT, f"page {number + 1}")
            yield width, height, runs


def runs_of(textpage, turned):
    """The runs of one page in the order of the file."""
    page, box, runs, run = textpage.raw, pdfium.FS_RECTF(), [], None
    pointer = ctypes.byref(box)
    for index in range(min(pdfium.FPDFText_CountChars(page), PAGE_CHARACTERS)):
        code = pdfium.FPDFText_GetUnicode(page, index)
        if code in (10, 13):
            run = None
            continue
        if code == 32:
            if run is not None:
                run.text += " "
            continue
        if not pdfium.FPDFText_GetLooseCharBox(page, index, pointer):
            continue
        x0, y0, x1, y1 = box.left, box.bottom, box.right, box.top
        if code in HYPHENS:
            code = 0xAD
        letter = LIGATURES.get(code) or (chr(code) if code >= 32 and not 0xD800 <= code < 0xE000 else "\ufffd")
        size = y1 - y0
        if (
            run is None
            or not -size < x0 - run.x1 < 1.2 * max(size, run.size)
            or abs((y0 + y1) - (run.y0 + run.y1)) > run.size
            or (size > 1.3 * run.size and x0 - run.x1 > 0.2 * size)
        ):
            if abs(angle := pdfium.FPDFText_GetCharAngle(page, index)) > UPRIGHT and abs(angle - 6.2832) > UPRIGHT:
                run = Run(x0, y0, x1, y1, size, False, letter)  # gathered, and left out as a whole
                runs.append((run, True))
                continue
            run = Run(x0, y0, x1, y1, size, bold(page, index), letter)
            runs.append((run, False))
        else:
            run.text += letter
            run.x1 = max(run.x1, x1)
            if size > run.size:
                run.y0, run.y1, run.size = y0, y1, size
    left_out = " ".join(run.text for run, is_turned in runs if is_turned)
    if left_out:
        turned(left_out)
    return [tidy(run) for run, is_turned in runs if not is_turned and run.text.strip()]


def tidy(run):
    """A hyphen inside a run is an ordinary one; at its end it stays marked as HYPHEN."""
    text = run.text.rstrip()
    body = text[:-1].replace(HYPHEN, "-") + text[-1:] if text else text
    run.text = re.sub(r"\s+", " ", body).lstrip()
    return run


def bold(page, index):
    """Whether a character's font says so, by weight or name."""
    name, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(page, index, name, 128, ctypes.byref(flags))
    return b"bold" in name.value.lower() or pdfium.FPDFText_GetFontWeight(page, index) >= 600
