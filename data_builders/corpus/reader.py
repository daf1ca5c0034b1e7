"""A folder of Markdown, Quarto or plain text becomes learning nodes with their facts; every dropped piece is counted.

A node is the text under one heading: numbered headings of at least two levels where a file numbers its headings, else
every heading (Quarto), titled callouts included. Beside `NAME.md` a sidecar `NAME.toml` may state facts and formulas.
"""

import re
from dataclasses import dataclass

from data_builders.corpus import latex, markdown
from data_builders.corpus.facts import SidecarNode, read_sidecar
from data_builders.schema import DataError, Node, stable_id

SUFFIXES = (".md", ".qmd", ".markdown", ".txt")
INCLUDE = re.compile(r"^[ \t]*\{\{<\s*include\s+(\S+)\s*>\}\}[ \t]*$", re.M)
LABEL = re.compile(r"^#{1,6}\s+(.*?)\s*\{[^{}]*#(sec-[\w-]+)[^{}]*\}", re.M)
SKIPPED = {
    "exercise",
    "solution",
    "further reading",
    "references",
    "bibliography",
    "copyright",
    "license",
    "acknowledgements",
}


@dataclass(frozen=True)
class Corpus:
    """`nodes` in reading order, `facts` by node id (only nodes with a sidecar entry), `terms` by node id."""

    nodes: tuple[Node, ...]
    facts: dict[str, SidecarNode]
    terms: dict[str, tuple[str, ...]]


def count_tokens(text):
    """Words, numbers and signs: a stand-in for a tokenizer that needs none."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def sources(folder):
    """The chapter files of a corpus. Raises DataError where there is no folder or nothing to read in it."""
    if not folder.is_dir():
        raise DataError(
            "The corpus folder does not exist.",
            where="data.corpus",
            got=str(folder),
            allowed='"shipped" or a folder of .md, .qmd or .txt files',
            fix="set data.corpus to such a folder",
        )
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    )
    if not files:
        raise DataError(
            "The corpus holds no text.",
            where="data.corpus",
            got=f"{folder} without a text file",
            allowed="files that end in " + ", ".join(SUFFIXES),
            fix="set data.corpus to a folder with chapters",
        )
    return files


def read_corpus(folder, min_tokens, max_tokens, ledger):
    """Read a corpus. `ledger` takes every dropped piece. Raises DataError for a missing, empty or broken corpus."""
    texts = {path: markdown.without_code(_read(path), _dropper(ledger, path, folder)) for path in sources(folder)}
    texts = {path: _included(text, path, folder, ledger, (path,)) for path, text in texts.items()}
    macros, titles = {}, {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".tex", ".sty") or (path.suffix.lower() in SUFFIXES and path.name.startswith("_")):
            macros |= latex.definitions(_read(path))[0]
    for path, text in texts.items():
        found, texts[path] = latex.definitions(text)
        macros |= found
    renderer = latex.Renderer(macros)
    for text in texts.values():
        titles |= {label: markdown.inline(title, renderer, {}, lambda *_: None) for title, label in LABEL.findall(text)}
    nodes, facts, terms = [], {}, {}
    for path, text in texts.items():
        read = _chapter(path, text, folder, renderer, titles, (min_tokens, max_tokens), ledger)
        nodes += read.nodes
        facts |= read.facts
        terms |= read.terms
    for name, count in sorted(renderer.unknown.items()):
        ledger.drop(
            "pieces",
            "macro without a definition",
            f"\\{name}",
            f"used {count} times, written as its name where it is a symbol",
        )
    if not any(not node.flags for node in nodes):
        raise DataError(
            "The corpus gave no learning node.",
            where=str(folder),
            got=f"{len(texts)} files, {len(nodes)} flagged nodes",
            allowed=f"sections of {min_tokens} to {max_tokens} tokens under headings",
            fix="add headings and text, or lower data.min_tokens",
        )
    _check_unique(facts)
    return Corpus(tuple(nodes), facts, terms)


def _chapter(path, text, folder, renderer, titles, limits, ledger):
    drop, book = _dropper(ledger, path, folder), path.relative_to(folder).with_suffix("").as_posix()
    sidecar_path = path.with_suffix(".toml")
    sidecar = read_sidecar(sidecar_path) if sidecar_path.is_file() else None
    entries = {entry.section: entry for entry in sidecar.node} if sidecar else {}
    found = markdown.sections(text, path.suffix.lower() == ".txt", drop)
    numbered = any("." in section.number for section in found)
    chapter = next((section.title for section in found if section.title), path.stem)
    chapter = markdown.inline(chapter, renderer, titles, drop)
    nodes, facts, terms, seen = [], {}, {}, {}
    for section in found:
        title = markdown.inline(section.title, renderer, titles, drop) or (path.stem if len(found) == 1 else "")
        entry = entries.pop(section.number, None) or entries.pop(title, None)
        paragraphs, marked = markdown.prose(section.lines, renderer, titles, drop)
        if entry is None and (reason := _unfit(section, title, paragraphs, numbered)):
            if title or paragraphs:
                ledger.drop("nodes", reason, f"{book}: {title}", " ".join(paragraphs)[:80])
            continue
        where = (*(markdown.inline(parent, renderer, titles, drop) for parent in section.parents), title)
        seen[where] = seen.get(where, 0) + 1
        body = "\n".join(paragraphs)
        size = count_tokens(body)
        flags = ("short",) * (size < limits[0] and entry is None) + ("long",) * (size > limits[1])
        node = Node(
            stable_id(book, where, seen[where]),
            book,
            sidecar.family if sidecar else chapter,
            section.number,
            where,
            body,
            size,
            path.relative_to(folder).as_posix(),
            flags,
        )
        nodes.append(node)
        if flags:
            ledger.drop("nodes", f"{flags[0]} node, flagged", node.node_id, f"{book}: {title}, {size} tokens")
        else:
            ledger.keep("nodes")
            terms[node.node_id] = tuple(dict.fromkeys([*(entry.terms if entry else ()), *marked]))
            if entry:
                facts[node.node_id] = entry
    if entries:
        raise DataError(
            "A sidecar speaks of sections that the chapter does not have.",
            where=str(sidecar_path),
            got=", ".join(entries),
            allowed="section numbers or titles of the chapter beside it",
            fix="correct `section` or add the heading",
        )
    return Corpus(tuple(nodes), facts, terms)


def _unfit(section, title, paragraphs, numbered):
    if not paragraphs:
        return "heading without text"
    if not title:
        return "text before the first heading"
    if numbered and "." not in section.number and section.level < 7:
        return "heading of one level in a numbered book"
    if re.split(r"[:\s]", title.casefold())[0] in SKIPPED or title.casefold() in SKIPPED:
        return "exercise or reading list"
    return None


def _read(path):
    try:
        return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(
            "A corpus file is not UTF-8 text.",
            where=str(path),
            got=str(error),
            allowed="UTF-8",
            fix="convert the file or move it out of the corpus",
        ) from None


def _dropper(ledger, path, folder):
    name = path.relative_to(folder).as_posix()
    return lambda reason, detail, count=1: ledger.drop("pieces", reason, name, detail[:120], count)


def _included(text, path, folder, ledger, chain):
    """The text with Quarto includes put in; one that is not there, or includes itself, is left out and counted."""

    def put_in(match):
        name = match.group(1)
        target = (folder / name.lstrip("/") if name.startswith("/") else path.parent / name).resolve()
        if not target.is_file() or target in chain or not target.is_relative_to(folder.resolve()):
            ledger.drop("pieces", "include not found", path.relative_to(folder).as_posix(), name)
            return ""
        inner = markdown.without_code(_read(target), _dropper(ledger, path, folder))
        return _included(inner, target, folder, ledger, (*chain, target))

    return INCLUDE.sub(put_in, text)


def _check_unique(facts):
    seen = {}
    for node_id, entry in facts.items():
        for item in (*entry.fact, *entry.formula):
            if item.id in seen:
                raise DataError(
                    "Two facts have the same id.",
                    where=f"node {entry.section}",
                    got=item.id,
                    allowed="an id that no other fact or formula of the corpus has",
                    fix="rename one of them",
                )
            seen[item.id] = node_id
