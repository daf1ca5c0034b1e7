"""A folder of documents becomes learning nodes with their facts; every dropped piece is counted.

Formats: Markdown, Quarto, plain text, HTML, LaTeX, JSONL with a text field, PDF. A node is the text under one heading:
in Markdown and plain text numbered headings of at least two levels where a file numbers its headings, else every
heading, titled callouts included. What has no headings is cut at paragraph ends. Beside `NAME.md` a sidecar
`NAME.toml` may state facts and formulas.

Two passes over the files: the first takes macros and section titles, which are shared, the second reads one document
after the other, in several processes where that pays. What is kept in memory does not grow with the corpus.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_builders.core.ledger import Ledger
from data_builders.core.read_cache import read_once
from data_builders.core.schema import Node
from data_builders.sources import latex, markdown, markdown_text, pool, sources
from data_builders.sources.document import Limits, Settings, Shared, read_text, without_long_lines
from data_builders.sources.facts import SidecarNode
from data_builders.sources.nodes import size_of
from recipes.base.errors import RecipeError

BRACES, LABEL = re.compile(r"\{[^{}]*\}"), re.compile(r"#(sec-[\w-]+)")
SHOWN = 8  # documents that cannot be read, in the words of the error


@dataclass(frozen=True)
class Corpus:
    """`nodes` in reading order, `facts` by node id (only nodes with a sidecar entry), `terms` by node id."""

    nodes: tuple[Node, ...]
    facts: dict[str, SidecarNode]
    terms: dict[str, tuple[str, ...]]


def count_tokens(text: str) -> int:
    """Words, numbers and signs: a stand-in for a tokenizer that needs none."""
    return size_of(text)


def read_corpus(folder: Path, min_tokens: int, max_tokens: int, ledger: Ledger, **settings: Any) -> Corpus:
    """Read a corpus whole, once a process for the same content.

    `ledger` takes every dropped piece; `settings` are those of `stream`. Raises RecipeError for a missing, empty or
    broken corpus.
    """

    def read(entries: Ledger) -> Corpus:
        return _read_whole(folder, min_tokens, max_tokens, entries, **settings)

    return read_once(read, folder, ledger, "corpus", (min_tokens, max_tokens, *sorted(settings.items())))


def _read_whole(folder: Path, min_tokens: int, max_tokens: int, ledger: Ledger, **settings: Any) -> Corpus:
    nodes, facts, terms, documents = [], {}, {}, 0
    for found in stream(folder, min_tokens, max_tokens, ledger, **settings):
        documents += 1
        nodes += found.nodes
        facts |= found.facts
        terms |= found.terms
    if not any(not node.flags for node in nodes):
        empty = ledger.totals().get("pages", {"dropped": 0})["dropped"]
        raise RecipeError(
            "The corpus gave no learning node.",
            where=str(folder),
            got=f"{documents} documents, {len(nodes)} flagged nodes"
            + (f", {empty} pages without text" if empty else ""),
            allowed=f"sections of {min_tokens} to {max_tokens} tokens under headings",
            fix="run the PDF files through text recognition first"
            if empty
            else "add headings and text, or lower data.min_tokens",
        )
    _check_unique(facts)
    return Corpus(tuple(nodes), facts, terms)


def stream(
    folder: Path,
    min_tokens: int,
    max_tokens: int,
    ledger: Ledger,
    text_field: str = "text",
    unreadable: str = "stop",
    limits: Limits | None = None,
    workers: int | None = None,
) -> Iterator[Corpus]:
    """Yields a `Corpus` for each document (for JSONL: for some lines), in the order of the files' names.

    `text_field` names the field of JSONL rows that holds the text, read as Markdown. A document that cannot be read
    (encoding, damage, password, limits) is left out and counted where `unreadable` is "leave out"; else RecipeError
    names all of them after the last document. `workers` is the number of processes; None: one for each core where
    there is enough to read. The order, and every node, are the same for any number.
    """
    limits = limits or Limits()
    paths = sources.find(folder, ledger)
    shared = _shared(folder, paths, limits)
    settings = Settings(str(folder), min_tokens, max_tokens, text_field, limits, sources.books(folder, paths))
    unknown, faults = {}, sources.find_unread(folder)
    for unit, reply in pool.read(sources.units(folder, paths), settings, shared, workers):
        for row in reply.drops:
            ledger.drop(*row)
        for step, count in reply.kept.items():
            ledger.keep(step, count)
        for name, count in reply.unknown.items():
            unknown[name] = unknown.get(name, 0) + count
        if reply.error is not None:
            ledger.drop("documents", "cannot be read", unit.name, f"{reply.error.what} {reply.error.got}")
            faults.append(reply.error)
            continue
        yield Corpus(reply.nodes, reply.facts, reply.terms)
    for name, count in sorted(unknown.items()):
        text = f"used {count} times, written as its name where it is a symbol"
        ledger.drop("pieces", "macro without a definition", f"\\{name}", text)
    if faults and unreadable == "stop":
        raise _together(faults)


def _together(faults: list[RecipeError]) -> RecipeError:
    if len(faults) == 1:
        return faults[0]
    shown = [f"{fault.where}: {fault.what} {fault.got}" for fault in faults[:SHOWN]]
    return RecipeError(
        f"{len(faults)} documents of the corpus cannot be read.",
        where="data.corpus",
        got="\n".join(shown + ["…"] * (len(faults) > SHOWN)),
        allowed="documents that can be read",
        fix='mend them or move them away, or set data.unreadable = "leave out"',
    )


def _shared(folder: Path, paths: list[Path], limits: Limits) -> Shared:
    """Macros and section titles of the whole corpus."""
    macros, labels = {}, {}
    for path in sources.macro_files(folder) + [
        path for path in paths if path.suffix.lower() in (".tex", *sources.TEXT)
    ]:
        try:
            text = without_long_lines(read_text(path, limits), limits, lambda *_: None)
        except RecipeError:
            continue  # it is told where the document is read
        marked = "\\" in text and latex.DEFINITION.search(text)
        if path.suffix.lower() in sources.TEXT and (marked or "{#sec-" in text or "#sec-" in text):
            text = markdown.without_code(text, lambda *_: None)
            labels |= _labels(text)
        if marked:
            macros |= latex.definitions(text)[0]
    renderer = latex.Renderer(macros)
    titles = {label: markdown_text.inline(title, renderer, {}, lambda *_: None) for label, title in labels.items()}
    return Shared(macros, titles)


def _labels(text: str) -> dict[str, str]:
    """{label: title} of the headings of a Markdown text that have one, `# Title {#sec-label}`."""
    found = {}
    for title in markdown.headings(text):
        for braces in BRACES.finditer(title):
            if label := LABEL.search(braces[0]):
                found[label[1]] = " ".join(title[: braces.start()].split())
                break
    return found


def _check_unique(facts: dict[str, SidecarNode]) -> None:
    seen = {}
    for node_id, entry in facts.items():
        for item in (*entry.fact, *entry.formula):
            if item.id in seen:
                raise RecipeError(
                    "Two facts have the same id.",
                    where=f"node {entry.section}",
                    got=item.id,
                    allowed="an id that no other fact or formula of the corpus has",
                    fix="rename one of them",
                )
            seen[item.id] = node_id
