"""Keyword tables, and draws from them: q_i ~ p_i^(1/T) over the words of a domain (arXiv 2408.15545, appendix C).

The published table draws half of its words at T = 3 from those that were seen once: names, pieces of URLs, scanning
errors, single letters taken for elements. Here a word has to stand in several documents, and a word of one or two
letters counts only where the text writes it as the symbol of an element, capitals and all.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass

from data_builders.core.sentences import STOP

ELEMENTS = frozenset(
    re.findall(
        "[A-Z][a-z]?",
        """H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr
        Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt
        Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr""",
    )
)
# Symbols that English also writes as words of their own.
WORDS_TOO = frozenset({"I", "In", "As", "At", "He", "Be", "No", "Am", "So"})
WORD = re.compile(r"[^\W\d_]+")
RARE = 3  # a word that was counted at most so often is rare


@dataclass(frozen=True)
class Table:
    """The words of one domain with their counts, most frequent first; `removed` counts those left out by reason."""

    domain: str
    counts: dict[str, int]
    removed: dict[str, int]

    def weights(self, temperature):
        """[q_i] in the order of `counts`; they sum to 1."""
        raised = [count ** (1 / temperature) for count in self.counts.values()]
        return [value / sum(raised) for value in raised]

    def draw(self, count, temperature, rng):
        """`count` words, with replacement."""
        return tuple(rng.choices(list(self.counts), self.weights(temperature), k=count))

    def told(self, temperature):
        """For card and log: words, what was left out, and the mass of rare words before and after the temperature."""
        total = sum(self.counts.values())
        rare = [number for number, count in enumerate(self.counts.values()) if count <= RARE]
        weights, counts = self.weights(temperature), list(self.counts.values())
        return {
            "words": len(self.counts),
            "removed": self.removed,
            "rare_mass": round(sum(counts[number] for number in rare) / total, 4) if total else 0.0,
            "rare_mass_drawn": round(sum(weights[number] for number in rare), 4) if total else 0.0,
        }


def keyword_table(domain, texts, documents):
    """The `Table` of a domain; a word stays that stands in at least `documents` of the texts."""
    counts, within, removed = Counter(), Counter(), Counter()
    for text in texts:
        found = [term for word in WORD.findall(text) if (term := _term(word))]
        counts.update(found)
        within.update(set(found))
    for word in list(counts):
        if within[word] < documents:
            removed["in too few documents"] += 1
            del counts[word]
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return Table(domain, dict(ordered), dict(removed))


def _term(word):
    """The word as the table holds it, or None."""
    if word in ELEMENTS and word not in WORDS_TOO:
        return word
    return word.lower() if len(word) > 2 and word.lower() not in STOP else None


def jobs_rng(seed, *parts):
    """The source of one row's draws: the same for the same row, whatever else is drawn."""
    return random.Random(f"{seed} {parts}")
