"""What the embedding check can tell: wordings of one fact of the shipped textbook against those of other facts.

    python -m benchmarks.paraphrases
    python -m benchmarks.paraphrases --encoder FOLDER       # with the package sentence-transformers

For several cosines: the share of wordings whose nearest other wording of the same fact is as like as that (found), and
whose nearest wording of another fact is (false).
"""

import argparse
import tomllib
from pathlib import Path

import numpy as np

from data_builders.core.embedding import embedder

CORPUS = Path(__file__).parents[1] / "data_builders" / "analogseeker" / "corpus"
COSINES = (0.5, 0.6, 0.7, 0.8, 0.9)


def wordings():
    """(questions, the id of the fact of each)."""
    files = [tomllib.loads(file.read_text(encoding="utf-8")) for file in sorted(CORPUS.glob("*.toml"))]
    facts = [fact for file in files for node in file["node"] for fact in node.get("fact", [])]
    pairs = [(text, fact["id"]) for fact in facts for text in fact["questions"]]
    return [text for text, _ in pairs], np.array([id for _, id in pairs])


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--encoder", default="", help="sentence encoder; default: hashed n-grams")
    texts, facts = wordings()
    vectors = embedder(options.parse_args().encoder)(texts)
    products = vectors @ vectors.T
    products = products if isinstance(products, np.ndarray) else products.toarray()
    np.fill_diagonal(products, -1)
    same = facts[:, None] == facts[None, :]
    own, other = np.where(same, products, -1).max(axis=1), np.where(same, -1, products).max(axis=1)
    print(f"{len(texts):,} wordings of {len(set(facts)):,} facts")
    for cosine in COSINES:
        print(f"cosine {cosine:.1f}   found {np.mean(own >= cosine):.2%}   false {np.mean(other >= cosine):.2%}")


if __name__ == "__main__":
    main()
