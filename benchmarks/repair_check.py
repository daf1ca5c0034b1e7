"""How far apart restored and foreign passages lie in the check of a repair (corpus.repair.share_of).

    python -m benchmarks.repair_check --damage 0.06 --seed 0

For each chapter of the shipped textbook: the share of a passage's runs of letters that is found again where the chapter
was damaged (letters replaced at random), and in the next chapter, which says something else.
"""

import argparse
import random
from pathlib import Path

from data_builders.corpus.repair import FOUND, GRAM, WINDOW, share_of
from data_builders.quality.leaks import squeezed

CORPUS = Path(__file__).parents[1] / "data_builders" / "analogseeker" / "corpus"
WORDS = 1024  # of a chapter, as one chunk has


def shares(text, reply):
    known = {reply[at : at + GRAM] for at in range(len(reply) - GRAM + 1)}
    return [share_of(text[at : at + WINDOW], known) for at in range(0, len(text) - WINDOW, WINDOW)]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--damage", type=float, default=0.06, help="share of letters that are replaced")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    rng = random.Random(chosen.seed)
    texts = [squeezed(" ".join(file.read_text().split()[:WORDS])) for file in sorted(CORPUS.glob("*.md"))]
    letters = "abcdefghijklmnopqrstuvwxyz"
    damaged = ["".join(rng.choice(letters) if rng.random() < chosen.damage else c for c in text) for text in texts]
    own = [share for text, clean in zip(damaged, texts) for share in shares(text, clean)]
    other = [share for text, clean in zip(texts[1:], texts) for share in shares(text, clean)]
    print(f"runs of {GRAM} letters, passages of {WINDOW}, a passage counts as found from {FOUND:.2f}")
    for name, found in (("damaged", own), ("foreign", other)):
        told = f"{min(found):.2f} to {max(found):.2f}, mean {sum(found) / len(found):.2f}"
        print(f"{name}: {len(found)} passages, {sum(share >= FOUND for share in found)} found, shares {told}")


if __name__ == "__main__":
    main()
