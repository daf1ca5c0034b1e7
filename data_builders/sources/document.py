"""What a document is after reading, whatever its format: parts under headings, with where each part stands."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from recipes.base.errors import RecipeError


class Drop(Protocol):
    """Takes note of `count` pieces that are left out for a reason; `detail` shows some of what they held."""

    def __call__(self, reason: str, detail: str, count: int = 1, /) -> None: ...


Macro = tuple[int, str | None, str]  # number of arguments, default of the first, body


@dataclass(frozen=True)
class Limits:
    """What one document may cost. Sizes in bytes where it says so, else in characters; seconds of wall time."""

    file_bytes: int = 64 * 2**20  # of a text, HTML or LaTeX file; PDF files may be `pdf_bytes`
    pdf_bytes: int = 512 * 2**20
    pages: int = 5_000
    characters: int = 32 * 2**20  # of text extracted from one document
    line: int = 100_000  # a longer line is no prose; it is dropped and counted
    paragraph: int = 20_000
    seconds: float = 120.0
    memory_bytes: int = 2 * 2**30  # address space of a reading process


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

    macros: dict[str, Macro]
    titles: dict[str, str]


@dataclass
class Part:
    """One heading and the clean paragraphs below it.

    `parents` are the titles above; `pages` are the first and last page, counted from 1, or None where a format has
    none; `span` is [start, end) in characters: of the file for Markdown, plain text and LaTeX (with what it includes
    at the place of the directive), of the field for JSONL, of the extracted text for HTML and PDF. `places` holds
    (page or None, start, end) of each paragraph where the format tells them.
    """

    level: int
    title: str
    number: str
    parents: tuple[str, ...]
    paragraphs: list[str] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)
    pages: tuple[int, int] | None = None
    span: tuple[int, int] = (0, 0)
    places: list[tuple[int | None, int, int]] = field(default_factory=list)

    def add(self, paragraph: str, start: int, page: int | None = None) -> int:
        """Add a paragraph that begins at `start` of the text (and stands on `page`); the place after it."""
        end = start + len(paragraph)
        self.paragraphs.append(paragraph)
        self.places.append((page, start, end))
        self.span = (self.span[0] if self.span[1] else start, end)
        if page is not None:
            self.pages = (self.pages[0] if self.pages else page, page)
        return end + 1


@dataclass
class Document:
    """The parts of one document in reading order; `name` is its path in the corpus, for JSONL with `:line`."""

    name: str
    parts: list[Part]
    title: str = ""


def read_text(path: Path, limits: Limits) -> str:
    """The text of a UTF-8 file with LF line ends; control characters, which mark nothing in prose, become spaces.

    Raises RecipeError for another encoding and for a file over `limits.file_bytes`.
    """
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise too_large(path, f"{size:,} bytes", f"{limits.file_bytes:,} bytes")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            "A corpus file is not UTF-8 text.",
            where=str(path),
            got=str(error),
            allowed="UTF-8",
            fix="convert the file or move it out of the corpus",
        ) from None
    return clean_controls(text)


def clean_controls(text: str) -> str:
    """LF line ends, a space for every other control character but the tab, and the replacement character for half a
    surrogate pair, which JSON can hold and UTF-8 cannot."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(CONTROLS)


CONTROLS = {code: " " for code in range(32) if code not in (9, 10)} | {127: " "}
CONTROLS |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def too_large(path: Path, got: str, allowed: str) -> RecipeError:
    return RecipeError(
        "A corpus file is larger than one document may be.",
        where=str(path),
        got=got,
        allowed=allowed,
        fix="cut it into smaller files, or move it out of the corpus",
    )


def without_long_lines(text: str, limits: Limits, drop: Drop, fill: str = " ") -> str:
    """The text, as long as before, with `fill` for every character of a line over `limits.line`; those are counted."""
    if len(text) <= limits.line or max(map(len, text.split("\n"))) <= limits.line:
        return text
    kept = []
    for line in text.split("\n"):
        if len(line) > limits.line:
            drop(f"line of more than {limits.line:,} characters", line[:60])
            line = fill * len(line)  # positions of what follows stay
        kept.append(line)
    return "\n".join(kept)
