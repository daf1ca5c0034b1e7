"""Which sentences of a node can stand alone, and which technical terms a corpus uses."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data_builders.core.patterns import BOOK, GARBLED
from data_builders.core.quantities import find_quantities
from data_builders.core.schema import Node

ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|ca|vs|approx|resp|incl|etc|nom|typ|w\.c|cf|Fig|Eq|Dr|Mr|St|al|No)\.)$")
END = re.compile(r"(?<=[.!?])[\"”)]?\s+(?=[\"“(`]?[A-Z0-9`])")
OPENERS = re.compile(
    r"^(?:However|Further|Furthermore|Moreover|Hence|Thus|Therefore|Also|Unfortunately|Luckily|In addition|Additionally"
    r"|As a result|Clearly|Obviously|Likewise|Consequently|Actually|In summary|In conclusion|Overall|For example"
    r"|In contrast|On the other hand|In fact|In any case|Note also|In other words|And|So|But|Yet|Finally|First|Second"
    r"|Interestingly|Intuitively|Similarly|In essence),?\s+"
    r"|^(?:please )?(?:note|remember|recall|keep in mind|realize|be aware) (?:also )?that\s+"
    r"|^(?:as|from) [\w ]{2,40}, (?:one|we|you) (?:can )?see that\s+|^as (?:one|we|you) can (?:clearly )?see,?\s+"
    r"|^(?:when )?(?:inspecting |looking at )?[\w ]{0,40}?(?:we|one|you) (?:can )?(?:further |then |also |now |again )?"
    r"(?:see|find|realize|note|notice|learn|know|remember|conclude|observe) that\s+"
    r"|^it (?:is|has been) (?:also )?(?:important|instructive|interesting|noteworthy|realized|clear|well known)"
    r"(?: to (?:note|realize|see))? that\s+",
    re.I,
)
DANGLING = re.compile(  # words that point outside the sentence, speak to the reader, or lost a reference
    r"\bwe\b(?! (?:can|could|have to|need|should|must|might|may|usually|often|increase|reduce|lower|keep|lose|choose"
    r"|select|get)\b)"
    r"|\b(?:our|ours|us|you|your|I|me|my|please|let|let's|here|this|these|those|now|next|shown|following|follows"
    r"|previous(?:ly)?|earlier|later|lecture|course|students?|exercises?|notebooks?|testbench(?:es)?|document|reader"
    r"|chapter|sections?|aforementioned|therefore|thus|hence|again|respectively|exemplary|such|latter|former|example"
    r"|depicted|highlighted|plots?|figures?|derivation|as well|reference is)\b"
    r"|\b(?:in|by|from|under|see|and|of|to|with|the)\s*[.,;:)]|\b(?:in|by) (?:and|or)\b|\(\s*\)"
    r"|^(?:It|They|Its|Their|He|There|Both|That|As|Where|Which|With|And)\b"
    r"|\b[MRQXCAS]\d(?:,?\d)*\b|\b[MRC]\d?,?\d?[A-Z]?\b(?=,\d)|\?|:$|--|\s[:;]",
    re.I,
)
VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|can|cannot|will|would|should|must|may|might|does|do|gets?|becomes?|means?|leads?"
    r"|results?|gives?|sets?|makes?|keeps?|uses?|provides?|needs?|shows?|forms?|acts?|flows?|causes?|allows?|reduces?"
    r"|limits?|defines?|determines?|increases?|decreases?|requires?|depends?|contains?|describes?|controls?|connects?"
    r"|introduces?|creates?|adds?|runs?|performs?|saturates?|generates?|operates?|improves?|corresponds?|equals?|grows?"
    r"|falls?|rises?|drops?|helps?|avoids?|indicates?|models?|dominates?)\b"
)
LIKE_VERB = re.compile(r"(?<=[a-z] )[a-z]{2,}(?:s|ed)\b(?= )")  # "opens at", "rated at": words no list has
STOP = frozenset((Path(__file__).parent / "stopwords.txt").read_text(encoding="utf-8").split())


FEWEST_WORDS, FEWEST_WITH_QUANTITY, MOST_WORDS = 8, 6, 36


@dataclass(frozen=True)
class Sentence:
    """A sentence of a node, cleaned. `start` and `end` are its place in the node's text."""

    text: str
    start: int
    end: int


def split(text):
    """(start, end) of the sentences of one paragraph."""
    start = 0
    for match in END.finditer(text):
        if not ABBREVIATION.search(text[start : match.start()].rstrip('"”)')):
            yield start, match.start()
            start = match.end()
    yield start, len(text)


def examine(node: Node) -> list[tuple[Sentence, str | None]]:
    """(sentence, None) of each sentence of a node that can stand alone, in order; (sentence, why not) of the others."""
    found, place = [], 0
    for paragraph in node.text.split("\n"):
        skip = 2 if paragraph.startswith("- ") else 0
        for start, end in split(paragraph[skip:]):
            raw = paragraph[skip:][start:end]
            text = _plain(raw)
            if skip and text and text[-1] not in ".:?!" and find_quantities(text):
                text += "."  # items of a list that state something need no full stop
            found.append(
                (Sentence(text or raw.strip(), place + skip + start, place + skip + end), _lack(text or raw.strip()))
            )
        place += len(paragraph) + 1
    return found


def _plain(raw):
    text = raw.strip()
    if not text[:1].isupper() and text[:1] not in "`0123456789":
        return ""
    while (shorter := OPENERS.sub("", text)) != text:
        text = shorter[:1].upper() + shorter[1:] if shorter[1:2].islower() or shorter[1:2] == " " else shorter
    return re.sub(r"\s*\((?:[^()]|\([^()]*\)){25,}\)", "", text).replace("`", "")


def _lack(text):
    """Why a text cannot stand alone, or None. One that states a quantity may be shorter, and needs no known verb."""
    if re.search(r"[=≈]", text) and not text.endswith("."):
        return "an equation"
    if not text.endswith(".") or not (text[0].isupper() or text[0].isdigit()):
        return "no whole sentence"
    if text.count("(") != text.count(")") or text.count('"') % 2:
        return "brackets or quotes without their other half"
    if GARBLED.search(text):
        return "garbled markup or math"
    size, states = len(text.split()), bool(find_quantities(text))
    if size > MOST_WORDS:
        return f"sentence of more than {MOST_WORDS} words"
    if size < (FEWEST_WITH_QUANTITY if states else FEWEST_WORDS):
        return f"sentence of fewer than {FEWEST_WITH_QUANTITY if states else FEWEST_WORDS} words"
    if VERB.search(text) is None and not (states and LIKE_VERB.search(text)):
        return "no verb"
    if DANGLING.search(text) or BOOK.search(text):
        return "sentence leans on its neighbours or on a place in the book"
    return None


def technical_terms(nodes, marked):
    """The terms of a corpus as their authors mostly write them: runs of two to four content words that come back.

    A run counts with three uses in two nodes, or one use in bold. `marked` holds the bold terms by node id.
    """
    counts, homes, shapes = Counter(), {}, {}
    bold = {term.casefold() for names in marked.values() for term in names}
    for node in nodes:
        for run in re.split(r"[^\w\s'/-]|\s-\s|\n|/", node.text):
            tokens = run.split()
            for start in range(len(tokens)):
                for size in (2, 3, 4):
                    words = tokens[start : start + size]
                    if len(words) < size or not _content(words[-1]):
                        break
                    if all(map(_content, words)) and "-" not in words[-1] and not words[-1].endswith(("ed", "ing")):
                        term = " ".join(words).casefold()
                        counts[term] += 1
                        homes.setdefault(term, set()).add(node.node_id)
                        shapes.setdefault(term, Counter())[" ".join(words)] += 1
    kept = {term for term, count in counts.items() if (count >= 3 and len(homes[term]) >= 2) or term in bold}
    longer = Counter()
    for term in kept:
        words = term.split()
        for size in range(2, len(words)):
            for start in range(len(words) - size + 1):
                longer[" ".join(words[start : start + size])] += counts[term]
    return {
        min(shapes[term], key=lambda shape: (-shapes[term][shape], shape)): counts[term]
        for term in sorted(kept)
        if longer[term] < 0.8 * counts[term]
    }


def _content(word):
    """Whether a word may be part of a term: letters, no function word, no verb, and no symbol such as VGS or gm."""
    low = word.casefold()
    return (
        re.fullmatch(r"[A-Za-z][a-z'-]{2,}|[A-Z]{3,6}s?", word) is not None
        and low not in STOP
        and not VERB.fullmatch(low)
        and not low.endswith("ly")
        and not re.fullmatch(r"[VICRGL](?:[A-Z]{1,3}|[a-z]{2,3})", word)
    )
