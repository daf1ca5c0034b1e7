"""Which files of a folder are documents, and the units in which they are read."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_builders.core.ledger import Ledger
from data_builders.sources import tex
from recipes.base.errors import RecipeError

TEXT = (".md", ".qmd", ".markdown", ".txt")
HTML = (".html", ".htm", ".xhtml")
SUFFIXES = (*TEXT, *HTML, ".tex", ".jsonl", ".pdf")
UNREAD = {  # documents that are not read, and how they become such that are
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf"), "a Word document: pandoc NAME.docx -o NAME.md"),
    **dict.fromkeys((".pptx", ".ppt", ".odp", ".key"), "slides: export them as PDF"),
    **dict.fromkeys((".epub", ".mobi", ".azw3"), "an e-book: pandoc NAME.epub -o NAME.md"),
    **dict.fromkeys((".rst", ".org", ".adoc", ".docbook"), "other markup: pandoc NAME -o NAME.md"),
    **dict.fromkeys((".djvu", ".ps"), "a printed document: export it as PDF"),
}
HOLDERS = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".parquet", ".xlsx", ".xls", ".xml", ".mht", ".mhtml")
BLOCK = 4 * 2**20  # bytes of a JSONL file that are read as one unit


@dataclass(frozen=True)
class Unit:
    """What one process reads at once: a file, or bytes [start, end) of a JSONL file that begin with line `line`."""

    name: str  # path in the corpus
    start: int = 0
    end: int = 0
    line: int = 1


def find(folder: Path, ledger: Ledger) -> list[Path]:
    """The documents of a corpus, sorted. Raises RecipeError where there is no folder or nothing to read in it.

    Hidden files and those that begin with "_" are no documents. Links that lead out of the folder are left out and
    counted: what they lead to is not part of the corpus.
    """
    if not folder.is_dir():
        raise RecipeError(
            "The corpus is a file, not a folder." if folder.exists() else "The corpus folder does not exist.",
            where="data.corpus",
            got=str(folder),
            allowed='"shipped" or a folder of documents: ' + ", ".join(SUFFIXES),
            fix="set data.corpus to such a folder",
        )
    home, found = folder.resolve(), []
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith((".", "_")) for part in Path(name).parts):
            continue
        if path.is_dir():
            ledger.drop("documents", "link to a folder", name, "not followed")
        elif path.suffix.lower() in UNREAD:
            ledger.drop("documents", "format that is not read", name, UNREAD[path.suffix.lower()])
        elif path.suffix.lower() in HOLDERS:
            ledger.drop("documents", "archive or table, not opened", name, path.suffix.lower())
        elif path.suffix.lower() not in SUFFIXES:
            continue
        elif path.is_symlink() and not path.resolve().is_relative_to(home):
            ledger.drop("documents", "link out of the corpus", name, "not followed")
        elif path.is_file():
            found.append(path)
    found = [path for path in found if path.suffix.lower() != ".tex" or _is_document(path)]
    taken = {part for path in found if path.suffix.lower() == ".tex" for part in tex_inputs(path, folder)}
    found = [path for path in found if path.resolve() not in taken]
    unread = [path for path in _files(folder) if path.suffix.lower() in UNREAD]
    if not found:
        kind = UNREAD[unread[0].suffix.lower()] if unread else ""
        raise RecipeError(
            "The corpus holds no text.",
            where="data.corpus",
            got=f"{folder} without a document" + (f" that is read; {unread[0].name} is {kind}" if unread else ""),
            allowed="files that end in " + ", ".join(SUFFIXES),
            fix="write the documents in one of these formats"
            if unread
            else "set data.corpus to a folder with chapters",
        )
    return found


def find_unread(folder: Path) -> list[RecipeError]:
    """A RecipeError for each document of a corpus whose format is not read, with what to do about it."""
    return [
        RecipeError(
            "A document of the corpus has a format that is not read.",
            where=str(path),
            got=UNREAD[path.suffix.lower()].partition(":")[0],
            allowed=", ".join(SUFFIXES),
            fix=UNREAD[path.suffix.lower()].partition(": ")[2] + ', or set data.unreadable = "leave out"',
        )
        for path in _files(folder)
        if path.suffix.lower() in UNREAD
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]


def _files(folder: Path) -> list[Path]:
    """Every file below a folder, sorted; links to folders stand for themselves, they are not followed."""
    found = []
    for top, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        found += [Path(top) / name for name in [*names, *(name for name in folders if (Path(top) / name).is_symlink())]]
    return sorted(found)


def macro_files(folder: Path) -> list[Path]:
    """Files that only define macros: LaTeX without text, styles, and includes of Quarto."""
    home = folder.resolve()
    return [
        path
        for path in _files(folder)
        if (path.suffix.lower() in (".tex", ".sty") or (path.suffix.lower() in TEXT and path.name.startswith("_")))
        and path.resolve().is_relative_to(home)
        and path.is_file()
    ]


def _is_document(path: Path) -> bool:
    with path.open("rb") as stream:
        return tex.is_document(stream.read(2**20).decode("utf-8", "replace"))


def tex_inputs(path: Path, folder: Path) -> set[Path]:
    """The files inside the corpus that a LaTeX file puts in."""
    with path.open("rb") as stream:
        names = tex.inputs(stream.read(2**22).decode("utf-8", "replace"))
    return {target for name in names if (target := tex_target(path, name, folder)) is not None}


def tex_target(path: Path, name: str, folder: Path) -> Path | None:
    """The file that `\\input{name}` means, beside `path` or in the folder; None where there is none inside it."""
    for home in (path.parent, folder):
        for candidate in (home / name, home / f"{name}.tex"):
            target = candidate.resolve()
            if target.is_file() and target.is_relative_to(folder.resolve()):
                return target
    return None


def books(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """{path in the corpus: book id}: the path without suffix, or with it where documents differ only in that."""
    names, taken = {}, set()
    for path in paths:
        relative = path.relative_to(folder)
        book = relative.with_suffix("").as_posix()
        names[relative.as_posix()] = relative.as_posix() if book in taken else book
        taken.add(book)
    return names


def units(folder: Path, paths: Iterable[Path]) -> Iterator[tuple[Unit, int]]:
    """Yields (unit, bytes) for all documents in order."""
    for path in paths:
        name, size = path.relative_to(folder).as_posix(), path.stat().st_size
        if path.suffix.lower() == ".jsonl":
            yield from _blocks(path, name)
        else:
            yield Unit(name, 0, size), size


def _blocks(path: Path, name: str) -> Iterator[tuple[Unit, int]]:
    """Units of about BLOCK bytes that end with a line."""
    with path.open("rb") as stream:
        start, line, place, lines = 0, 1, 0, 0
        while block := stream.read(BLOCK):
            last = block.rfind(b"\n") if len(block) == BLOCK else len(block) - 1
            if last >= 0:
                end = place + last + 1
                lines += block.count(b"\n")
                yield Unit(name, start, end, line), end - start
                start, line, lines = end, line + lines, 0
            place += len(block)
        if place > start:
            yield Unit(name, start, place, line), place - start
