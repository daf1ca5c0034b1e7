"""LaTeX documents to parts under headings: parsed by pylatexenc, math written by `latex.Renderer`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pylatexenc import latexwalker, macrospec
from pylatexenc.latex2text import (
    EnvironmentTextSpec,
    LatexNodes2Text,
    MacroTextSpec,
    get_default_latex_context_db,
)

from data_builders.sources.document import Drop, Part
from data_builders.sources.latex import UNREADABLE, Renderer, definitions
from recipes.base.errors import RecipeError

LEVELS = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5, "paragraph": 6}
INPUT = re.compile(r"(?<!\\)\\(?:input|include|subfile)\s*\{([^{}\n]{1,200})\}")
DOCUMENT = re.compile(r"\\begin\s*\{document\}|\\(?:chapter|section)\b")
LEFT_OUT = [
    "figure",
    "figure*",
    "table",
    "table*",
    "tabular",
    "tabular*",
    "longtable",
    "tikzpicture",
    "circuitikz",
    "picture",
    "verbatim",
    "lstlisting",
    "minted",
    "thebibliography",
    "filecontents",
    "comment",
    "algorithm",
    "algorithmic",
]
MATH = [
    "equation",
    "equation*",
    "align",
    "align*",
    "gather",
    "gather*",
    "multline",
    "multline*",
    "eqnarray",
    "eqnarray*",
    "displaymath",
    "math",
]
BREAK, ITEM = "\n\n", "\n\n- "
NESTING = 200  # braces inside braces; pylatexenc descends once for each
REFERENCES = ("eqref", "autoref", "cref", "Cref", "ref", "pageref")
REFERENCE = "\x02"  # stands where a reference stood, until its paragraph is squeezed
NAMED = {"fig": "the figure", "tab": "the table", "eq": "the equation", "sec": "the section", "ch": "the chapter"}
TO_NAMED = re.compile(r"(?:the\s+)?\b(fig|tab|eq|sec|ch)\w*\.?\s*\(?" + REFERENCE + r"\)?", re.I)


def is_document(text: str) -> bool:
    """Whether a .tex file is text to be read, not only macros."""
    return DOCUMENT.search(text) is not None


def inputs(text: str) -> list[str]:
    """The files that a LaTeX text puts in, as it names them."""
    return [match.group(1).strip() for match in INPUT.finditer(text)]


def parts_of(text: str, renderer: Renderer, drop: Drop, where: str) -> tuple[str, list[Part]]:
    """(title, parts) of a LaTeX text whose inputs are put in and whose macros `renderer` knows.

    Raises RecipeError where braces are nested deeper than NESTING.
    """
    check_nesting(text, where)
    _, text = definitions(text)
    title = re.search(r"\\title\s*\{([^{}]{1,300})\}", text)
    start = re.search(r"\\begin\s*\{document\}", text)
    end = re.search(r"\\end\s*\{document\}", text)
    first, last = (start.end() if start else 0), (end.start() if end else len(text))
    converter = to_text(renderer, drop)
    try:
        nodes, _, _ = latexwalker.LatexWalker(
            text[first:last], latex_context=PARSING, tolerant_parsing=True
        ).get_latex_nodes()
        parts = list(cut(nodes, converter, first))
    except RecursionError:
        raise too_deep(where) from None
    return (squeezed(title.group(1)) if title else ""), parts


def check_nesting(text: str, where: str) -> None:
    depth = 0
    for match in re.finditer(r"\\.|[{}]|\\begin\b|\\end\b", text, re.S):
        depth = max(0, depth + {"{": 1, "}": -1}.get(match.group(), 0))
        if depth > NESTING:
            raise too_deep(where)
    depth = 0
    for match in re.finditer(r"\\(begin|end)\b", text):
        depth = max(0, depth + (1 if match.group(1) == "begin" else -1))
        if depth > NESTING:
            raise too_deep(where)


def too_deep(where: str) -> RecipeError:
    return RecipeError(
        "Braces or environments of a LaTeX file are nested too deep.",
        where=where,
        got=f"more than {NESTING} open ones",
        allowed=f"at most {NESTING}",
        fix="mend the file, or move it out of the corpus",
    )


def cut(nodes: list[Any], converter: Converter, offset: int) -> Iterator[Part]:
    """Yields the parts of a parsed text; `offset` is where it begins in the file."""
    part, stack, gathered = Part(0, "", "", ()), [], []

    def close(end: int) -> None:
        for text in re.split(r"\n\s*\n", converter.nodelist_to_text(gathered)):
            if re.search(r"\w", text) and squeezed(text) != "-":
                part.paragraphs.append(squeezed(text))
        part.span = (part.span[0], end)
        gathered.clear()

    part.span = (offset, offset)
    for node in flat(nodes):
        name = node.macroname if isinstance(node, latexwalker.LatexMacroNode) else None
        if name not in LEVELS:
            gathered.append(node)
            if name in ("textbf", "emph", "term") and node.nodeargd and node.nodeargd.argnlist:
                term = squeezed(converter.nodelist_to_text([node.nodeargd.argnlist[-1]]))
                if name != "emph" and 3 <= len(term) <= 60:
                    part.terms.append(term)
            continue
        close(offset + (node.pos or 0))
        if part.title or part.paragraphs:
            yield part
        while stack and stack[-1].level >= LEVELS[name]:
            stack.pop()
        title = squeezed(converter.nodelist_to_text([node.nodeargd.argnlist[-1]])) if node.nodeargd else ""
        part = Part(LEVELS[name], title, "", tuple(above.title for above in stack))
        part.span = (offset + (node.pos or 0), offset + (node.pos or 0))
        stack.append(part)
    close(offset + ((nodes[-1].pos or 0) + (nodes[-1].len or 0) if nodes else 0))
    if part.title or part.paragraphs:
        yield part


def flat(nodes: Iterable[Any]) -> Iterator[Any]:
    """Nodes with those of environments that only wrap text put in their place, so that headings inside are found."""
    for node in nodes:
        if isinstance(node, latexwalker.LatexEnvironmentNode) and holds_heading(node):
            yield from flat(node.nodelist)
        elif node is not None:
            yield node


def holds_heading(node: Any) -> bool:
    return re.search(r"\\(?:" + "|".join(LEVELS) + r")\b", node.latex_verbatim()) is not None


def to_text(renderer: Renderer, drop: Drop) -> Converter:
    """A converter of nodes to text: math by `renderer`, floats and code left out and counted."""
    context = get_default_latex_context_db()

    def left_out(node: Any, l2tobj: Any) -> str:
        drop(f"environment {node.environmentname}", node.latex_verbatim()[:80])
        return BREAK

    def display(node: Any, l2tobj: Any) -> str:
        inner = re.sub(
            r"\\(?:label|tag|nonumber|notag)\b\s*(?:\{[^{}]*\})?",
            "",
            "".join(n.latex_verbatim() for n in node.nodelist if n),
        )
        shown = renderer.render(inner.strip()).rstrip(".,; ")
        if shown == UNREADABLE:
            drop("equation without a plain form", inner[:80])
            return BREAK
        return BREAK + shown + BREAK

    def note(node: Any, l2tobj: Any) -> str:
        drop("footnote", node.latex_verbatim()[:80])
        return ""

    def item(node: Any, l2tobj: Any) -> str:
        optional = node.nodeargd.argnlist[0] if node.nodeargd and node.nodeargd.argnlist else None
        return ITEM + (l2tobj.nodelist_to_text([optional]) + ": " if optional is not None else "")

    macros = [
        MacroTextSpec("item", simplify_repl=item),
        MacroTextSpec("footnote", simplify_repl=note),
        *(MacroTextSpec(name, simplify_repl=REFERENCE) for name in REFERENCES),
        *(
            MacroTextSpec(name, simplify_repl="")
            for name in [
                "cite",
                "citep",
                "citet",
                "label",
                "index",
                "vspace",
                "hspace",
                "includegraphics",
                "caption",
                "maketitle",
                "tableofcontents",
                "bibliography",
                "bibliographystyle",
            ]
        ),
        MacroTextSpec("href", simplify_repl="%(2)s"),
        MacroTextSpec("url", simplify_repl=""),
    ]
    environments = [
        *(EnvironmentTextSpec(name, simplify_repl=left_out) for name in LEFT_OUT),
        *(EnvironmentTextSpec(name, simplify_repl=display) for name in MATH),
        *(
            EnvironmentTextSpec(name, simplify_repl=BREAK + "%(body)s" + BREAK)
            for name in ["itemize", "enumerate", "description", "quote", "center"]
        ),
    ]
    context.add_context_category("recipes", macros=macros, environments=environments, prepend=True)
    return Converter(renderer, drop, latex_context=context, math_mode="verbatim", strict_latex_spaces=False)


class Converter(LatexNodes2Text):
    """pylatexenc's converter with our own way to write math."""

    def __init__(self, renderer: Renderer, drop: Drop, **settings: Any) -> None:
        super().__init__(**settings)
        self.renderer, self.drop = renderer, drop

    def math_node_to_text(self, node: Any) -> str:
        inner = "".join(child.latex_verbatim() for child in node.nodelist if child is not None)
        shown = self.renderer.render(inner.strip())
        if node.displaytype != "display":
            return shown
        if shown == UNREADABLE:
            self.drop("equation without a plain form", inner[:80])
            return BREAK
        return BREAK + shown.rstrip(".,; ") + BREAK


def squeezed(text: str) -> str:
    """One line without references: named ones become "the figure" and the like."""
    text = re.sub(r"\s+", " ", text.replace("\xa0", " "))
    text = TO_NAMED.sub(lambda match: NAMED[match.group(1).lower()], text)
    text = re.sub(r"\s*\(\s*(?:see\s*)?" + REFERENCE + r"\s*\)", "", text).replace(REFERENCE, "the equation")
    return re.sub(r"\s+([.,;:)])", r"\1", text).strip()


def _macro(name: str, arguments: str) -> macrospec.MacroSpec:
    return macrospec.MacroSpec(name, macrospec.MacroStandardArgsParser(arguments))


PARSING = latexwalker.get_default_latex_context_db()
PARSING.add_context_category(
    "recipes",
    macros=[
        *(_macro(name, "*[{") for name in LEVELS),
        _macro("footnote", "[{"),
        _macro("href", "{{"),
        *(_macro(name, "{") for name in (*REFERENCES, "url", "index")),
    ],
    prepend=True,
)
