"""HTML to parts under headings. Menus, heads and feet of pages, tables, code and scripts are left out and counted."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from data_builders.sources.document import Drop, Part
from data_builders.sources.latex import Renderer
from data_builders.sources.markdown import split_number
from data_builders.sources.markdown_text import CAPTION
from recipes.base.errors import RecipeError

HEADINGS = {f"h{level}": level for level in range(1, 7)}
LEFT_OUT = (
    "script,style,noscript,template,nav,header,footer,aside,form,button,select,iframe,object,svg,canvas,audio,video,"
    "table,pre,figure,img,sup.footnote-ref,[hidden],[aria-hidden=true],[role=navigation],[role=banner],"
    "[role=contentinfo],.toc,#toc"
)
BLOCKS = {
    *("address", "article", "blockquote", "body", "center", "dd", "details", "dialog", "div", "dl", "dt", "fieldset"),
    *("figcaption", "hr", "html", "li", "main", "ol", "p", "section", "summary", "ul"),
    *HEADINGS,
}
TEX = "annotation[encoding='application/x-tex']"
DEPTH = 500  # of nested tags; a book has perhaps thirty
MATH_SCRIPT = re.compile(r"\s*math/tex")


def parts_of(text: str, renderer: Renderer, drop: Drop, where: str) -> tuple[str, list[Part]]:
    """(title of the page, parts). Math is rendered from its TeX where the page has it.

    Raises RecipeError for tags nested deeper than DEPTH, which no document needs and which costs time without end.
    """
    check_depth(text, where)
    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    title = squeezed(title.text()) if title else ""
    root = tree.css_first("main") or tree.css_first("[role=main]") or tree.css_first("article") or tree.body
    if root is None:
        return title, []
    for node in tree.css("math"):
        source = node.css_first(TEX)
        tex = source.text() if source else node.attributes.get("alttext")
        shown = renderer.render(tex) if tex else squeezed(node.text(separator=" "))
        node.replace_with(f" {shown} ")
    for node in tree.css("script[type]"):
        if MATH_SCRIPT.match(node.attributes.get("type") or ""):
            node.replace_with(f" {renderer.render(node.text())} ")
    # a heading inside <header> is the title of what follows, not the head of the page
    for node in root.css("header"):
        if any(node.css_first(name) for name in HEADINGS):
            node.unwrap()
    left_out = {}
    for node in root.css(LEFT_OUT):
        left_out[node.tag] = left_out.get(node.tag, 0) + 1
        node.decompose()
    for tag, count in sorted(left_out.items()):
        drop(f"<{tag}>", f"{count} elements", count)
    return title, list(cut(root, renderer, drop))


def check_depth(text: str, where: str) -> None:
    """A look at the tags alone, in one pass, before a tree is built."""
    depth = 0
    for match in re.finditer(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)[^<>]*?(/?)>", text):
        if match.group(2).lower() in ("br", "hr", "img", "input", "meta", "link", "p", "li", "td", "tr", "dt", "dd"):
            continue  # these close by themselves
        if match.group(1):
            depth = max(0, depth - 1)
        elif not match.group(3):
            depth += 1
            if depth > DEPTH:
                raise RecipeError(
                    "The tags of an HTML file are nested too deep.",
                    where=where,
                    got=f"more than {DEPTH} open tags",
                    allowed=f"at most {DEPTH}",
                    fix="mend the file, or move it out of the corpus",
                )


def cut(root: LexborNode, renderer: Renderer, drop: Drop) -> Iterator[Part]:
    """Yields the parts of a tree, walked without recursion."""
    part, stack, place, text = Part(0, "", "", ()), [], 0, []
    item = False  # whether the text being gathered is a list item

    def paragraph() -> None:
        nonlocal place, item
        found = renderer_inline("".join(text), renderer)
        text.clear()
        was_item, item = item, False
        if not re.search(r"\w", found):
            return
        if CAPTION.match(found):
            drop("caption", found)
            return
        place = part.add("- " + found if was_item else found, place)

    for node, opens in walk(root):
        if node.tag == "-text":
            if opens:
                text.append(node.text_content or "")
        elif node.tag in HEADINGS:
            if opens:
                paragraph()
                continue
            title = renderer_inline("".join(text), renderer).rstrip("¶#§ ")
            text.clear()
            if not title:
                continue
            if part.title or part.paragraphs:
                yield part
            while stack and stack[-1].level >= HEADINGS[node.tag]:
                stack.pop()
            number, title = split_number(title)
            part = Part(HEADINGS[node.tag], title, number, tuple(above.title for above in stack))
            part.span = (place, place + len(title))
            place += len(title) + 1
            stack.append(part)
        elif node.tag in BLOCKS:
            paragraph()
            item = opens and node.tag == "li"
        elif node.tag == "br":
            text.append(" ")
        elif opens and node.tag in ("b", "strong", "dfn") and (term := squeezed(node.text())) and 3 <= len(term) <= 60:
            part.terms.append(term)
    paragraph()
    if part.title or part.paragraphs:
        yield part


def walk(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """(node, True) when a node opens and (node, False) when it closes, in document order."""
    pending = [(root, True)]
    while pending:
        node, opens = pending.pop()
        yield node, opens
        if opens:
            pending.append((node, False))
            child, children = node.first_child, []
            while child is not None:
                children.append((child, True))
                child = child.next
            pending += reversed(children)


def renderer_inline(text: str, renderer: Renderer) -> str:
    """Text with TeX in \\( \\), \\[ \\] and $$ $$ rendered, white space squeezed."""
    text = re.sub(
        r"\\\(((?:(?!\\\().){1,2000}?)\\\)|\\\[((?:(?!\\\[).){1,2000}?)\\\]|\$\$([^$]{1,2000})\$\$",
        lambda match: renderer.render(next(group for group in match.groups() if group is not None)),
        text,
        flags=re.S,
    )
    return squeezed(text)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\xad", "")).strip()
