"""Which option a reply chooses: the letter of the answer block, the option's own words, or a letter stated as final.

And of a closed question, whose options are words such as yes, no and maybe, which of the words it states as its answer.
"""

import re

from recipes.base.options import LETTERS
from recipes.base.reply_form import before_thinking, find_answers, visible, without_marks

_BARE = re.compile(
    r"(?:(?:the )?(?:final |correct |right )?(?:answer|option|choice)(?: is)?:? ?)?"
    rf"[(\[]?([{LETTERS}])[)\]]?[.:]?",
    re.IGNORECASE,
)
_LABELLED = re.compile(rf"[(\[]?([{LETTERS}])(?:[)\]]|[.:](?= )| -(?= )) ?(.+)", re.IGNORECASE)
_LABEL = re.compile(rf"(?<!\w)[{LETTERS}][).:](?!\w)", re.IGNORECASE)
# "A" before a lower-case word is the article: "the answer is A larger current" names no letter.
_STATED = re.compile(
    r"(?i:\b(?:answer|(?:correct|right) (?:option|choice))(?:\sis:?|:))\s?(?i:(?:option|choice)\s)?"
    rf"[(\[]?(?!A [a-z])([{LETTERS}])(?![\w'])"
)
_RIGHT = re.compile(
    rf"(?<![\w'])(?i:(?:option|choice|answer)\s)?[(\[]?([{LETTERS}])[)\]]?\.?\sis\s(?:the\s)?"
    r"(?:(?:correct|right|best)(?:\s(?:answer|option|choice))?|(?:answer|option|choice))\b"
)
_ANSWER = re.compile(r"\b(?:answer|(?:correct|right) (?:option|choice))(?:\sis:?|:)\s?(.+)", re.IGNORECASE)
_LEAD = r"(?:so|thus|hence|therefore)?,? ?(?:(?:the|my) )?(?:(?:final|correct|right) )?"
_OPENING = re.compile(
    rf"\s*{_LEAD}(?:(?:answer|conclusion|decision|statement|claim|it)(?: is|'s|:)|answer)?:? ?", re.IGNORECASE
)
_SAID = re.compile(r"\b(?:answer|conclusion|decision)(?:\sis:?|:)", re.IGNORECASE)
_HEDGE = {"or", "and", "but", "both", "either", "neither", "nor", "perhaps", "possibly", "also"}
_SUBJECTS = {"it", "they", "this", "that", "these", "there", "we", "the"}  # "Yes it does" states yes
_BOLD = re.compile(rf"(?:\*\*|\\boxed\{{)[(\[]?([{LETTERS}])[)\].:]{{0,2}}(?:\*\*|\}})")


def read_choice(row: dict, reply: str) -> str | None:
    allowed = LETTERS[: len(row["options"] or [])]
    if len(row["answer"]) != 1 or row["answer"] not in allowed:
        raise ValueError(
            f"row {row.get('id')}: the answer of a choice row must be the letter of one of its options; "
            f"got {row['answer']!r} for {len(allowed)} options"
        )
    blocks = set(find_answers(reply))
    if blocks:
        letters = set().union(*(_letters_of_block(block, row["options"]) or {"?"} for block in blocks))
    else:
        letters = _letters_stated(visible(reply), row["options"])
    return letters.pop() if len(letters) == 1 and letters <= set(allowed) else None


def _letters_of_block(block: str, options: list[str]) -> set[str]:
    """Letters an answer block stands for; several when it contradicts itself, none when it names none."""
    text = _unmarked(block)
    named = _letters_of_text(text, options)
    if (bare := _BARE.fullmatch(text)) and bare[1].upper() in LETTERS[: len(options)]:
        # "C" where one option reads "C" and another is labelled C stands for both, and so for neither.
        return {bare[1].upper()} | named
    if named:
        return named
    labelled = _LABELLED.fullmatch(text)
    if not labelled or _LABEL.search(labelled[2]):
        return set()
    return {labelled[1].upper()} | _letters_of_text(labelled[2], options)


def _letters_of_text(text: str, options: list[str]) -> set[str]:
    pairs = zip(LETTERS, options, strict=False)
    return {letter for letter, option in pairs if _unmarked(option).casefold() == text.rstrip(".").casefold()}


def _letters_stated(visible: str, options: list[str]) -> set[str]:
    """Letters that a reply without an answer block states as its final answer.

    Only where none is stated by its letter, an option's own words count: behind "the answer is", as the whole last
    line, or in the one line of the reply that reads like an option ("B) plant"); a list of options says nothing.
    """
    lines = [_unmarked(line) for line in before_thinking(visible).splitlines() if line.strip()]
    plain = re.sub(r"[*_`$]", "", before_thinking(visible))
    last = _BARE.fullmatch(lines[-1]) if lines else None
    stated = {*_STATED.findall(plain), *_RIGHT.findall(plain), *_BOLD.findall(before_thinking(visible))}
    stated |= {last[1]} if last else set()
    if stated or not lines:
        return stated
    said = [match[1] for line in lines for match in _ANSWER.finditer(line)]
    worded = set().union(*(_letters_of_text(text, options) for text in [lines[-1], *map(_unmarked, said)]))
    labelled = [match for line in lines if (match := _LABELLED.fullmatch(line))]
    if len(labelled) == 1:
        worded |= {labelled[0][1].upper()} & _letters_of_text(labelled[0][2], options)
    return worded


def read_word(row: dict, reply: str) -> str | None:
    """The one option that a closed question is answered with: the first words of the answer block, of the reply or of
    its last line, or what is stated as the answer. "Yes, it does" states yes; "no difference" and "yes or no" nothing.

    Raises ValueError where the row's answer is none of its options.
    """
    if row["answer"] not in row["options"]:
        raise ValueError(
            f"row {row.get('id')}: the answer of a closed question must be one of its options; "
            f"got {row['answer']!r} for {list(row['options'])}"
        )
    words = {option.casefold(): option for option in row["options"]}
    blocks = set(find_answers(reply))
    if blocks:
        stated = set().union(*(_words_stated(block, words) or {"?"} for block in blocks))
    else:
        text = without_marks(before_thinking(visible(reply)))
        lines = [line for line in text.splitlines() if line.strip()]
        said = [piece for line in lines for piece in _SAID.split(_unmarked(line))[1:]]
        stated = set().union(*(_words_stated(line, words) for line in [*lines[:1], *lines[-1:], *said]))
    return words.get(stated.pop()) if len(stated) == 1 else None


def _words_stated(text: str, words: dict[str, str]) -> set[str]:
    """The options that a text begins with, and those that stand in it for themselves: two for "yes, or no"."""
    text = _unmarked(text)
    pieces = re.findall(r"[^,.;:!?()/–—]+", _OPENING.sub("", text, count=1).casefold())
    found, first = set(), pieces[0].split() if pieces else []
    if first and first[0] in words and (len(first) == 1 or first[1] in _HEDGE | _SUBJECTS):
        found.add(first[0])
    for piece in pieces:
        own = piece.split()
        if own and all(word in words or word in _HEDGE for word in own):
            found |= {word for word in own if word in words}
    return found


def _unmarked(text: str) -> str:
    """Text without Markdown and LaTeX marks, with single spaces, without a final full stop."""
    return " ".join(re.sub(r"\\(?:boxed|text|mathrm|mathbf)|[*_`$\\{}]", "", text).split()).rstrip(".")


def is_letter(row: dict, letter: str) -> bool:
    return letter == row["answer"]
