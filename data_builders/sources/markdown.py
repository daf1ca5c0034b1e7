"""Markdown and Quarto to sections of clean prose. Whatever is left out is counted through `drop(reason, detail)`.

Code and comments are masked, not cut out, so that a line's place in the file stays known: masked characters are
COMMENT or CODE, which no text holds after `document.clean_controls`.
"""

import re
from dataclasses import dataclass, field

# None of these may try a run of spaces from each of its places: a line of spaces would take quadratic time.
HEADING = re.compile(r"^(#{1,6})\s+(.*)$")
NUMBERED = re.compile(r"^(\d+(?:\.\d+)*)\.?\s+(?=\S)(.*)$")
PLAIN_HEADING = re.compile(r"^\d+(?:\.\d+)*\.?\s+[A-Z][^.!?]{2,80}$")
FENCE = re.compile(r"^\s*(```+|~~~+)")
DIV = re.compile(r"^\s*:::+(.*)$")
ATTRIBUTES = re.compile(r"\{[^{}]*\}$")
TITLE = re.compile(r'title="((?:[^"\\]|\\.)*)"')
DISPLAY = re.compile(r"\$\$(.+?)\$\$[ \t]*(\{#[^}]*\})?|\\\[((?:(?!\\\[).)+?)\\\]", re.S)
COMMENTS = re.compile(r"<!--(?:(?!<!--).)*?-->", re.S)  # the guard keeps a file of openings linear
COMMENT, CODE = "\x00", "\x01"
INLINE = re.compile(r"(?<![\\$])\$(?!\s)((?:[^$\\]|\\.)+?)(?<!\s)\$(?!\d)")
CAPTION = re.compile(r"^\s*(?::\s|(?:\*\*|_|\*)?(?:Figure|Fig\.|Table|Listing)\s*\d+[^a-z]{0,4}[:.\s])")
REFERENCE = re.compile(r"@(fig|eq|sec|tbl|lst|nte|imp|tip|wrn|cau|thm|exm)-[\w-]*\w")
KINDS = {"fig": "the figure", "eq": "the equation", "tbl": "the table", "lst": "the listing", "sec": "the section"}
ASIDE = re.compile(r"(?<!\s)\s*\((?:[^()@]{0,60}?)(?:\[?-?@[\w:.-]+[^()]{0,80})\)")
CITATION = re.compile(r"(?<!\s)\s*\[[^\[\]]*?@[\w:.-]+[^\[\]]*?\]")
BOLD = re.compile(r"\*\*([^*\n]{3,60}?)\*\*")


@dataclass
class Section:
    """One heading with the raw lines below it; `parents` are the titles above, [start, end) its place in the file."""

    level: int
    title: str
    number: str
    parents: tuple[str, ...]
    start: int = 0
    end: int = 0
    lines: list[str] = field(default_factory=list)


def split_number(title):
    match = NUMBERED.match(title)
    return (match.group(1), match.group(2)) if match else ("", title)


def without_code(text, drop):
    """The text, as long as before, with front matter, comments and fenced code (computed chunks included) masked."""
    text = re.sub(r"\A---\n.*?\n---\n", lambda match: COMMENT * (len(match.group()) - 1) + "\n", text, flags=re.S)
    text, count = COMMENTS.subn(lambda match: COMMENT * len(match.group()), text)
    if count:
        drop("comment", f"{count} comments", count)
    kept, fence, masked = [], None, 0
    for line in text.split("\n"):
        match = FENCE.match(line)
        if fence is None and match:
            fence, masked = match.group(1), len(line)
            drop("code block", line.strip())
        elif fence is not None:
            masked += 1 + len(line)
            if match and match.group(1).startswith(fence) and not line.strip().strip("`~"):
                kept.append(CODE * masked)
                fence = None
        else:
            kept.append(line)
    if fence is not None:
        kept.append(CODE * masked)
    return "\n".join(kept)


def lines_of(text):
    """(place in the text, line without masked characters) for every line that is not masked code."""
    place = 0
    for line in text.split("\n"):
        if not line or line.strip(CODE):
            yield place, line.replace(COMMENT, "").replace(CODE, "") if line and min(line) < "\t" else line
        place += len(line) + 1


def sections(lines, plain, drop):
    """The sections of one file in order, from (place, line) pairs.

    Titled callouts become sections of their own below the heading around them.
    """
    found = [Section(0, "", "", ())]
    stack, divs, heading = [], [], found[0]

    def open_section(level, title, place):
        number, title = split_number(ATTRIBUTES.sub("", " ".join(title.split())).strip())
        found.append(Section(level, title, number, tuple(item.title for item in stack), place, place))
        return found[-1]

    for place, line in lines:
        hidden = "hidden" in divs
        div, match = DIV.match(line), HEADING.match(line)
        if div:
            attributes = div.group(1).strip()
            if not attributes:
                if divs and isinstance(divs.pop(), Section):
                    continue
            elif "content-hidden" in attributes or "tbl-" in attributes or "fig-" in attributes:
                divs.append("hidden")
                drop("hidden block", attributes)
            else:
                title = TITLE.search(attributes) if "callout" in attributes else None
                divs.append(open_section(7, title.group(1), place) if title and not hidden else "open")
        elif hidden:
            continue
        elif match or (plain and PLAIN_HEADING.match(line)):
            title = match.group(2).rstrip().rstrip("#") if match else line
            number, _ = split_number(title)
            level = len(match.group(1)) if match else 1 + number.count(".")
            while stack and stack[-1].level >= level:
                stack.pop()
            heading = open_section(level, title, place)
            stack.append(heading)
        else:
            owner = next((item for item in reversed(divs) if isinstance(item, Section)), heading)
            owner.lines.append(line)
            if line.strip():
                owner.end = max(owner.end, place + len(line))
    return found


def prose(lines, renderer, titles, drop, longest=20_000):
    """(clean paragraphs, key terms) of a section's raw lines. `titles` maps section labels to their titles.

    A paragraph of more than `longest` characters is no prose: it is dropped and counted.

    A list item is a paragraph marked "- "; inline code keeps its backquotes; an equation is a paragraph of its own.
    """
    text = "\n".join(lines)
    text = DISPLAY.sub(lambda match: _display(match, renderer, drop), text)
    text, count = re.subn(r"!\[(?:[^\[\]]|\[[^\[\]]*\])*\]\([^()]*\)(?:\{[^{}]*\})?", "", text)
    if count:
        drop("image", f"{count} images", count)
    paragraphs, current = [], []

    def close():
        if current:
            paragraphs.append(" ".join(current))
            current.clear()

    skip_note = False
    for line in text.split("\n"):
        bare = line.strip()
        if not bare:
            close()
            skip_note = False
        elif skip_note and line[:1].isspace():
            continue
        elif re.match(r"\[\^[^\]]+\]:", bare):
            drop("footnote", bare)
            skip_note = True
        elif bare.startswith("|") or re.fullmatch(r"[|:+=\- ]{4,}", bare):
            close()
            drop("table line", bare)
        elif CAPTION.match(line):
            close()
            drop("caption", bare)
        elif re.match(r"\{\{<", bare):
            close()
            drop("shortcode", bare)
        elif re.match(r"([-*+]|\d+[.)]|[a-z]\))\s+", bare):
            close()
            current.append("- " + re.sub(r"^([-*+]|\d+[.)]|[a-z]\))\s+", "", bare))
        else:
            current.append(bare.removeprefix("> "))
    close()
    for paragraph in paragraphs:
        if len(paragraph) > longest:
            drop(f"paragraph of more than {longest:,} characters", paragraph)
    paragraphs = [paragraph for paragraph in paragraphs if len(paragraph) <= longest]
    terms = [term for paragraph in paragraphs for term in BOLD.findall(paragraph)]
    clean = [inline(paragraph, renderer, titles, drop) for paragraph in paragraphs]
    return [part for part in clean if re.search(r"\w", part)], [inline(term, renderer, titles, drop) for term in terms]


def _display(match, renderer, drop):
    shown = renderer.render((match.group(1) or match.group(3)).strip()).rstrip(".,; ")
    if "[…]" in shown:
        drop("equation without a plain form", match.group(0)[:80])
        shown = ""
    return f"\n\n{shown}\n\n"


def inline(text, renderer, titles, drop):
    """One paragraph without inline markup: math rendered, references named, citations and notes removed."""
    codes = []

    def keep_code(match):
        codes.append(match.group(2).strip())
        return f"\x00{len(codes) - 1}\x00"

    text = re.sub(r"(`+)(.+?)\1", keep_code, text)
    text = INLINE.sub(lambda match: renderer.render(match.group(1)), text)
    for pattern, reason in ((ASIDE, "reference aside"), (CITATION, "citation")):
        text, count = pattern.subn("", text)
        if count:
            drop(reason, text[:60], count)
    text = REFERENCE.sub(lambda match: _reference(match, titles), text)
    text = re.sub(r"\[\^[^\]]+\]|\^\[[^\]]*\]|(?<![\w.])@[\w:-]+", "", text)
    text = re.sub(r"\[([^\[\]]*)\]\([^()]*(?:\([^()]*\)[^()]*)*\)(?:\{[^{}]*\})?", r"\1", text)
    text = re.sub(r"\[([^\[\]]*)\]\{[^{}]*\}", r"\1", text)
    text = re.sub(r"<(?:https?://|mailto:)[^>]*>|https?://\S+", "", text)
    text = re.sub(r"</?[A-Za-z][^<>]*>|\{[#.][^{}]*\}|\{\{<.*?>\}\}", "", text)
    text = re.sub(r"\*\*|__", "", text)
    text = re.sub(r"(?<!\w)([*_])(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2", text)
    text = re.sub(r"(\w)~(\w+)~", r"\1\2", text)
    text = re.sub(r"\\([^\w\s])", r"\1", text).replace("&nbsp;", " ").replace("\\ ", " ")
    text = re.sub(r"-{2,3}", " - ", text) if re.search(r"\w---?\w|\s---?\s", text) else text.replace("--", "-")
    text = re.sub(r"\s+", " ", text).replace(" ,", ",").replace(" .", ".").replace("( ", "(").replace(" )", ")").strip()
    return re.sub("\x00(\\d+)\x00", lambda match: "`" + codes[int(match.group(1))] + "`", text)


def _reference(match, titles):
    title = titles.get(match.group(0)[1:])
    return f"the section on {title}" if title else KINDS.get(match.group(1), "the note")
