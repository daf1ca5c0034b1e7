"""Multiple choice as teachers ask and answer it: how options are shown, and which one a reply names."""

import re

LETTERS = "ABCD"


def shown(question, options):
    lines = [f"{letter}) {option}" for letter, option in zip(LETTERS, options or ())]
    return "\n".join([question, *lines])


def letter_of(answer, options):
    """The letter that an answer names, by letter or by an option's own words; None where it names none."""
    text = " ".join(re.sub(r"[*_`$]", "", answer).split())
    match = re.fullmatch(r"(?:option\s+)?\(?([A-D])\)?[.:)]?(?:\s+(.*))?", text, re.I)
    same = [letter for letter, option in zip(LETTERS, options) if option.casefold() == text.casefold()]
    if same:
        return same[0]
    if match and (not match[2] or match[2].casefold() == options[LETTERS.index(match[1].upper())].casefold()):
        return match[1].upper()
    return None
