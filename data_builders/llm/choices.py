"""Multiple choice as teachers answer it: which option a reply names."""

import re
from collections.abc import Sequence

from recipes.base.options import LETTERS, letter_of, option_of

CHOICES = 4  # options of a question that a teacher is asked for


def clean_option(option: str) -> str:
    """An option in one line, without the letter that some models put in front all the same."""
    return re.sub(rf"^\(?[{LETTERS[:CHOICES]}][).:]\s+", "", " ".join(option.split()), flags=re.I)


def read_letter(answer: str, options: Sequence[str]) -> str | None:
    """The letter that an answer names, by letter or by an option's own words; None where it names none."""
    text = " ".join(re.sub(r"[*_`$]", "", answer).split())
    same = [option for option in options if option.casefold() == text.casefold()]
    if same:
        return letter_of(same[0], options)
    letters = LETTERS[: len(options)]
    match = re.fullmatch(rf"(?:option\s+)?\(?([{letters}])\)?[.:)]?(?:\s+(.*))?", text, re.I)
    if match is None:
        return None
    letter = match[1].upper()
    return letter if not match[2] or match[2].casefold() == option_of(letter, options).casefold() else None
