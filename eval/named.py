"""Which of a row's classes a text names: what graders `class` and `label` read and compare.

A row's `options` are the classes there are, its `answer` one of them, or several joined by " + " where a signal is a
superposition. Capitals, hyphens and punctuation do not matter, a synonym counts as its class, and the longest name
counts ("AM-FM" names neither AM nor FM). A text that denies something ("not a ball fault") names nothing.
"""

import difflib
import re

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
DENIALS = re.compile(r"\b(?:not?|never|neither|nor|without|cannot)\b|n't\b")


def named(row: dict, text: str) -> str | None:
    """The classes that a text names, in the order of the options, joined by " + "; None where it names none."""
    left = re.sub(r"\bi am\b", "i", _plain(text))
    if DENIALS.search(text.casefold()):
        return None
    found = set()
    names = [(_plain(name), label) for label in row["options"] for name in (label, *SYNONYMS.get(label, ()))]
    for name, label in sorted(names, key=lambda pair: -len(pair[0])):
        left, count = re.subn(rf"\b{re.escape(name)}s?\b", "|", left)
        if count:
            found.add(label)
    return " + ".join(label for label in row["options"] if label in found) or None


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
