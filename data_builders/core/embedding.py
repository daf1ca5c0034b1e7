"""Texts as vectors of length 1, so that their products are cosines.

Without a model: hashed word and letter n-grams, by scikit-learn. They see shared words and parts of words, in any
order, and nothing of meaning. With one: a sentence encoder by name, where the package sentence-transformers is there.
"""

from collections.abc import Callable, Sequence
from typing import Any

from data_builders.core.table import Need
from recipes.base.errors import RecipeError

FEATURES = 2**16  # of each of the two kinds of n-grams
Embed = Callable[[Sequence[str]], Any]  # texts to vectors [n, d]: a sparse matrix of scipy, or an array
BATCH = 2_000  # texts at once: bounds the memory beside the vectors


def needs(name: str) -> list[Need]:
    """The `Need`s of an embedder of that name."""
    return [Need("sentence_transformers", "pip install sentence-transformers", f"embeds with {name}")] if name else []


def embedder(name: str = "") -> Embed:
    """A function from texts to vectors [n, d], float32: sparse rows (scipy) for "", else a dense array.

    `name` is a folder or hub id of a sentence encoder. Raises RecipeError where it cannot be loaded.
    """
    return _encoder(name) if name else _hashed()


def _hashed() -> Embed:
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    settings = {"n_features": FEATURES, "norm": "l2", "dtype": "float32"}
    letters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **settings)
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **settings)

    def embed(texts: Sequence[str]) -> Any:
        return hstack([letters.transform(texts), words.transform(texts)], format="csr") / 2**0.5

    return embed


def _encoder(name: str) -> Embed:
    try:
        from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]  not installed by us

        model = SentenceTransformer(name)
    except (ImportError, OSError, ValueError) as error:
        raise RecipeError(
            "The sentence encoder cannot be loaded.",
            where="encoder",
            got=f"{name!r}: {str(error).splitlines()[0]}",
            allowed="the name of a sentence encoder, with the package sentence-transformers installed; or nothing",
            fix="pip install sentence-transformers, correct the name, or leave it out for hashed n-grams",
        ) from None

    def embed(texts: Sequence[str]) -> Any:
        return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    return embed
