"""What the check of a repair lets through: passages that are restored or foreign, and changes of what is said.

    python -m benchmarks.repair_check --damage 0.06 --seed 0

For each chapter of the shipped textbook: the share of a passage's runs of letters that is found again where the chapter
was damaged (letters replaced at random), and in the next chapter, which says something else (corpus.repair.share_of).

For the pieces of the textbook: what comes of the clean text as the repair of the damaged one, where one of so many
letters and digits was replaced by another letter; and how many pieces are refused in which one number is made a
hundred times as large, or one negation is left out (corpus.repair.difference).
"""

import argparse
import random
import re
from collections import Counter
from pathlib import Path

from data_builders.core.leaks import squeezed
from data_builders.sources.repair import FOUND, GRAM, WINDOW, cut, difference, share_of

CORPUS = Path(__file__).parents[1] / "data_builders" / "analogseeker" / "corpus"
WORDS = 1024  # of a chapter, as one chunk has
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def shares(text, reply):
    known = {reply[at : at + GRAM] for at in range(len(reply) - GRAM + 1)}
    return [share_of(text[at : at + WINDOW], known) for at in range(0, len(text) - WINDOW, WINDOW)]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--damage", type=float, default=0.06, help="share of letters that are replaced")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    rng = random.Random(chosen.seed)
    texts = [
        squeezed(" ".join(file.read_text(encoding="utf-8").split()[:WORDS])) for file in sorted(CORPUS.glob("*.md"))
    ]
    damaged = [damage(text, chosen.damage, rng) for text in texts]
    own = [share for text, clean in zip(damaged, texts) for share in shares(text, clean)]
    other = [share for text, clean in zip(texts[1:], texts) for share in shares(text, clean)]
    print(f"runs of {GRAM} letters, passages of {WINDOW}, a passage counts as found from {FOUND:.2f}")
    for name, found in (("damaged", own), ("foreign", other)):
        told = f"{min(found):.2f} to {max(found):.2f}, mean {sum(found) / len(found):.2f}"
        print(f"{name}: {len(found)} passages, {sum(share >= FOUND for share in found)} found, shares {told}")
    for words in (150, WORDS):
        pieces = [
            body for file in sorted(CORPUS.glob("*.md")) for body, _ in cut(file.read_text(encoding="utf-8"), words)
        ]
        for rate in (0.0, 0.003, 0.01, chosen.damage):
            faults = Counter(difference(damage(piece, rate, rng), piece) or "accepted" for piece in pieces)
            print(f"{len(pieces)} pieces of {words} words, damage {rate:g}: {dict(faults.most_common())}")
        for name, pattern, put in (("number", r"(?<![\w.])[1-9]\d*(?![\w.])", r"\g<0>00"), ("negation", r" not\b", "")):
            found = [piece for piece in pieces if re.search(pattern, piece)]
            refused = sum(bool(difference(piece, re.sub(pattern, put, piece, count=1))) for piece in found)
            print(f"{len(found)} pieces of {words} words, one {name} changed: {refused} refused")


def damage(text, rate, rng):
    return "".join(rng.choice(LETTERS) if c.isalnum() and rng.random() < rate else c for c in text)


if __name__ == "__main__":
    main()
