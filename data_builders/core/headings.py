"""What headings say of the text below them, apart from their place in the book."""

import re

from data_builders.core.patterns import BOOK, GARBLED

PLACE = re.compile(
    r"^(?:(?:chapter|section|sec\.|part|unit|lesson|lecture|module|volume|appendix|annex|kapitel|abschnitt|teil)\s+"
    r"(?:\d+(?:\.\d+)*|[IVXLC]+|[A-Z])\b|§\s*\d+(?:\.\d+)*)[\s.:–—-]*",
    re.I,
)


def name_subjects(path: tuple[str, ...]) -> tuple[str, ...]:
    """The headings of a path without "Chapter 1", "Appendix B:" and their like; those that say nothing else are left
    out, as are such that point to a place in the book. Empty where none is left.
    """
    names = [PLACE.sub("", name.strip()).strip() for name in path]
    return tuple(
        name for name in names if re.search(r"[^\W\d]", name) and not (BOOK.search(name) or GARBLED.search(name))
    )
