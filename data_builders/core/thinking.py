"""Reasoning that a model was paid for, made fit to be learnt: never a reason to lose the record that it belongs to.

A model that is shown a document speaks of it in its reasoning, and writes mathematics in LaTeX; R1, QwQ and Qwen3 do so
on nearly every line. What points to the document is put in other words or left out, marks of the reply form and signs
that are no text go, and all else, LaTeX before all, stays letter by letter.
"""

import re

TEXT = r"(?:provided |given |supplied |above )?(?:document|passage|excerpt|textbook|text)"
SAYS = (
    r"(?:says|states|mentions|explains|notes|tells(?: us| me)?|describes|points out|specifies|indicates|shows|reads"
    r"|discusses|emphasi[sz]es|gives)"
)
PLACE = (
    r"(?:figures?|figs?\.|tables?|tab\.|equations?|eqs?\.|sections?|sec\.|chapters?)"
    r"\s*[(\[]?\d[\d.\-\u2013a-z]*(?<!\.)[)\]]?"
)
REWRITES = (
    (re.compile(rf"[ \t]*\((?:see|cf\.|from|as in|in)?\s*(?:the )?{PLACE}\)", re.I), ""),
    (
        re.compile(
            rf"\b(?:according to|based on|as (?:stated|said|given|mentioned|described|noted|explained|shown) in|from|in"
            rf"|per|by) (?:the|this|that) {TEXT}\b(?! of| line| file)\s*,?[ \t]*",
            re.I,
        ),
        "",
    ),
    (
        re.compile(
            rf"\b(?:the|this|that) {TEXT} (?:also |clearly |explicitly |even |only )?{SAYS}(?: that)?[:,]?[ \t]+", re.I
        ),
        "",
    ),
    (re.compile(rf"\b(?:the|this|that) {TEXT}\b(?! of| line| file)", re.I), "what is known"),
    (re.compile(rf"\b(?:the )?{PLACE}", re.I), "the relation"),
)
TAGS = re.compile(r"</?\s*(?:think|answer)\b[^<>\n]{0,20}>?", re.I)
NO_TEXT = re.compile(r"[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
BLANK = re.compile(r"\n{3,}")


def clean_thinking(text: str) -> str:
    """Reasoning, or a worked solution, without marks of the form, broken signs and references to a document or a book.

    Lines and LaTeX stay as they are. Empty only where nothing else was there.
    """
    text = NO_TEXT.sub("", TAGS.sub("", text.replace("\r\n", "\n")))
    return BLANK.sub("\n\n", "\n".join(map(_clean_line, text.split("\n")))).strip()


def _clean_line(line: str) -> str:
    for pattern, words in REWRITES:
        found, end = [], 0
        for match in pattern.finditer(line):
            before = line[: match.start()].rstrip()
            begins = not before or before[-1] in ".!?:*-#>"
            found += [line[end : match.start()], words[:1].upper() + words[1:] if begins else words]
            end = match.end()
            if begins and not words and end < len(line):  # what follows now begins the sentence
                found.append(line[end].upper())
                end += 1
        line = "".join(found) + line[end:]
    return line.rstrip()
