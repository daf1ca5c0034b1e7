"""Which of a row's classes a text names: what graders `class` and `label` read and compare.

A row's `options` are the classes there are, its `answer` one of them, or several joined by " + " where a signal is a
superposition. Capitals, hyphens and punctuation do not matter, a synonym counts as its class, and the longest name
counts ("AM-FM" names neither AM nor FM). Names that share words count when the shared ones are said once: "inner or
outer race fault" names both. What a text denies ("not a ball fault") it does not name.
"""

import difflib
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

VERSION = 1

WORDS = 12  # a label needs no more
NEAR = 0.8  # likeness from which a text is a label with a slip in it


def _damaged(*parts: str) -> tuple[str, ...]:
    words = ("fault", "defect", "damage")
    ways = [f"{word} {place} the {part}" for word in words for part in parts for place in ("of", "on", "in", "at")]
    return tuple(ways + [f"{part} {word}" for word in words for part in parts])


SYNONYMS = {
    "single harmonic": ("pure tone", "single tone", "sine wave", "sinusoid"),
    "multi harmonic": ("multiharmonic", "multiple harmonic", "harmonic series", "multi tone"),
    "AM": ("amplitude modulation", "amplitude modulated"),
    "FM": ("frequency modulation", "frequency modulated"),
    "AM-FM": ("amplitude and frequency modulation", "amplitude and frequency modulated", "am and fm"),
    "periodic impulse": ("impulse train", "periodic impact"),
    "outer race fault": _damaged("outer race", "outer ring", "outer raceway"),
    "inner race fault": _damaged("inner race", "inner ring", "inner raceway"),
    "ball fault": _damaged("ball", "rolling element"),
    "gear fault": _damaged("gear", "gear tooth"),
    "chirp": ("sweep", "swept sine"),
    "healthy": ("normal", "sound machine", "good condition"),
}
# In a text whose names are marked: a mark; a verb that denies the name before it; a word that denies the names behind
# it until its clause ends; the end of a clause.
SAID = re.compile(
    r"(?P<mark><\d+>)(?P<denied> (?:(?:is|are|was|does|can|could|would) not|cannot)\b)?"
    r"|(?P<denial>\b(?:not?|never|neither|nor|without|cannot)\b)"
    r"|(?P<end>\|(?! (?:or|nor|and)\b)|\b(?:but|so|hence|thus|therefore|because|instead)\b)"
)
JOINED = re.compile(r"\s*(\||\b(?:or|and|nor)\b)\s*")
OPENING = re.compile(r"(?:(?:an?|the|of|on|in|at|neither|either|maybe|perhaps|possibly)\s+)*")


def named(row: dict, text: str) -> str | None:
    """The classes that a text names, in the order of the options, joined by " + "; None where it names none."""
    options = tuple(row["options"])
    known = _names(options)
    left = re.sub(r"\bi am\b", "i", _plain(re.sub(r"n['’]t\b", " not", text.casefold())))
    left = known.whole.sub(lambda match: known.mark(match[1]), left)
    found, hinted, denying = set(), [], False
    for said in SAID.finditer(_with_parts(left, known)):
        if said["mark"] is None:
            denying = said["denial"] is not None
        elif not denying and not said["denied"]:
            classes = known.classes[int(said["mark"][1:-1])]
            found |= classes if len(classes) == 1 else set()
            hinted += [classes]
    for classes in hinted:
        found |= classes if found and found.isdisjoint(classes) else set()
    return " + ".join(label for label in options if label in found) or None


@dataclass(frozen=True)
class Names:
    """The names of some classes, as `_plain` writes them, and parts of names that stand for the whole in a list.

    A part is what is left of a name without the words that it shares with a name of another class: "inner" of "inner
    race fault". `classes` are those that each text may stand for; a name has one, a part may have several.
    """

    texts: dict[str, int]
    classes: list[frozenset[str]]
    whole: re.Pattern
    parts: frozenset[str]
    last: re.Pattern | None  # a part at the end of a text

    def mark(self, text: str) -> str:
        return f"<{self.texts[text]}>"


@lru_cache(maxsize=64)
def _names(options: tuple[str, ...]) -> Names:
    names = {_plain(name): label for label in options for name in (label, *SYNONYMS.get(label, ()))}
    cuts = [(name.split(), at, label) for name, label in names.items() for at in range(1, len(name.split()))]
    sharing = defaultdict(set)
    for words, at, label in cuts:
        sharing["end", *words[at:]].add(label)
        sharing["start", *words[:at]].add(label)
    parts = {" ".join(words[:at]) for words, at, _ in cuts if len(sharing["end", *words[at:]]) > 1}
    parts |= {" ".join(words[at:]) for words, at, _ in cuts if len(sharing["start", *words[:at]]) > 1}
    parts -= names.keys()
    classes = {name: frozenset([label]) for name, label in names.items()} | {
        part: frozenset(label for name, label in names.items() if f" {part} " in f" {name} ") for part in sorted(parts)
    }
    longest = sorted(classes, key=len, reverse=True)
    whole, last = ("|".join(re.escape(text) for text in longest if text in of) for of in (names, parts))
    return Names(
        {text: at for at, text in enumerate(classes)},
        list(classes.values()),
        re.compile(rf"\b({whole})s?\b"),
        frozenset(parts),
        re.compile(rf"(?:^|\s)({last})$") if last else None,
    )


def _with_parts(left: str, known: Names) -> str:
    """`left` with a mark for each part of a name that is joined to a name: before it, or alone behind it."""
    pieces, joined = JOINED.split(left), False
    for at in range(len(pieces) - 1, -1, -2):
        item = pieces[at]
        core = OPENING.sub("", item, count=1)
        if core.startswith("<"):
            joined = True
        elif joined and known.last and (part := known.last.search(item)):
            pieces[at] = item[: part.start(1)] + known.mark(part[1])
            joined = part[1] == core
        elif item:
            joined = False
    joined = False
    for at in range(0, len(pieces), 2):
        item = pieces[at]
        core = OPENING.sub("", item, count=1)
        if joined and core in known.parts:
            pieces[at] = known.mark(core)
        elif item:
            joined = item.endswith(">")
    return " ".join(piece for piece in pieces if piece)


def is_class(row: dict, stated: str) -> float:
    """1.0 iff exactly the gold class is stated, or exactly the gold classes."""
    return float(stated == gold_of(row))


def gold_of(row: dict) -> str:
    """The row's answer as `named` gives it. Raises ValueError where its parts are not all options."""
    parts = row["answer"].split(" + ")
    if not set(parts) <= set(row["options"] or ()):
        raise ValueError(
            f"row {row.get('id')}: the answer of a class row must be one of its options, or some joined by ' + '; "
            f"got {row['answer']!r} for {list(row['options'] or ())}"
        )
    return " + ".join(label for label in row["options"] if label in parts)


def label_reward(row: dict, text: str) -> float:
    """The shaped reward of a label in [0, 1]: naming exactly the gold class, in exactly its words, briefly.

        0.6 [exactly the gold class is named] + 0.4 [the text is the label]
        + 0.2 likeness [no class is named, the text is nearly the label] - 0.2 [more than 12 words]

    Synonyms, likeness and a bonus for the exact label are those of VSLLaVA (arXiv 2409.07482); the weights are ours.
    """
    gold, plain = gold_of(row), _plain(text)
    stated, brief = named(row, text), len(re.findall(r"\w+", text[: 40 * WORDS])) <= WORDS and len(text) <= 40 * WORDS
    score = 0.6 * (stated == gold) + 0.4 * (plain == _plain(row["answer"]))
    if stated is None and brief:
        score += 0.2 * _nearness(row, plain)
    return min(1.0, max(0.0, score - 0.2 * (not brief)))


def _nearness(row: dict, plain: str) -> float:
    """How like the label the text is, 0 to 1, if it is that label with a slip in its letters; 0 for any other text.

    It has as many words as the label, is NEAR it at least, and is less like every other class. Without this, any text
    of letters that the label has would be worth something.
    """

    def like(label: str) -> float:
        label = _plain(label)
        same = len(label.split()) == len(plain.split())
        return difflib.SequenceMatcher(None, plain, label, autojunk=False).ratio() if same else 0.0

    found = like(row["answer"])
    near = found >= NEAR and all(found > like(label) for label in row["options"] if label != row["answer"])
    return found if near else 0.0


def _plain(text: str) -> str:
    """Lower case, words of a hyphenated name apart, any other punctuation between two words as a bar."""
    text = re.sub(r"[-_\s]+", " ", text.casefold())
    return re.sub(r"\s*[^\w\s]+\s*", " | ", text).strip(" |")
