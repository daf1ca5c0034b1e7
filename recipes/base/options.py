"""Lettered options of a multiple-choice question: their letters, the lines that list them, the option of a letter."""

from collections.abc import Sequence

LETTERS = "ABCDEFGHIJ"  # of the options, in order; a question has at most so many


def list_options(options: Sequence[str]) -> str:
    """`A) first`, `B) second` …, one line each. Raises ValueError for more options than there are letters."""
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options, at most {len(LETTERS)} have a letter")
    return "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options))


def option_of(letter: str, options: Sequence[str]) -> str:
    """The option that a letter stands for. Raises ValueError for what is not the letter of one of them."""
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise ValueError(f"{letter!r} is not the letter of one of {len(options)} options")
    return options[LETTERS.index(letter)]


def letter_of(option: str, options: Sequence[str]) -> str:
    """The letter of an option. Raises ValueError where it is none of them."""
    return LETTERS[options.index(option)]
