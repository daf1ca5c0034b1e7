"""How much of a gold text a reply says: ROUGE, BLEU-4, CIDEr and recall of content words.

ROUGE (Lin, ACL workshop "Text Summarization Branches Out", 2004) is rouge_score's, with Porter stems; BLEU-4
(Papineni et al., ACL 2002) is sacrebleu's. Where there are several references the best one counts, as in SciTLDR.

CIDEr (Vedantam, Zitnick and Parikh, CVPR 2015, equations 1 to 3), over stems as its authors say:

    CIDEr(c, S) = 1/4 sum over n = 1..4 of  1/m sum over s in S of  g_n(c) . g_n(s) / (|g_n(c)| |g_n(s)|)
    g_n holds, for each n-gram, its count times log(items / items with it in a reference)

It lies in [0, 1]; their code multiplies by 10. A gold text of fewer than four words cannot reach 1, and with one item
every weight is 0. Measures of a whole corpus take the pairs that `measures` leaves for each item.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

VERSION = 1

LONGEST = 2000  # words of a reply that are compared: the last ones
GOLD = 2000  # words that a gold text may have; time grows with the product of the two
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about above after again all also an and any are as at be because been before being below between both but
    by can could did do does doing down during each few for from had has have having he her here hers him his how i if
    in into is it its itself may me might more most must my of off on once only or other our out over own per same shall
    she should so some such than that the their them then there these they this those through to too under until up
    upon us very was we were what when where which while who whom why will with within without would you your""",
    )
)


@cache
def _tokenizer():
    from rouge_score.tokenizers import DefaultTokenizer

    return DefaultTokenizer(use_stemmer=True)


@cache
def _scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_tokenizer())


def words(text: str) -> list[str]:
    """Stemmed words and numbers in lower case, as ROUGE sees a text; of a long one the last LONGEST."""
    return _tokenizer().tokenize(_cut(text))


def _cut(text: str) -> str:
    pieces = text.split()
    return text if len(pieces) <= LONGEST else " ".join(pieces[-LONGEST:])


def references(row: dict) -> list[str]:
    """The gold text and its alternatives. Raises ValueError where one has no word, or too many."""
    golds = [row["answer"], *(row.get("aliases") or ())]
    for gold in golds:
        if not re.search("[a-z0-9]", gold.lower()) or len(gold.split()) > GOLD:
            raise ValueError(
                f"row {row.get('id')}: a gold text must have 1 to {GOLD} words, in Latin letters or digits; "
                f"got {gold[:80]!r}"
            )
    return golds


def rouge(golds: Sequence[str], reply: str) -> dict[str, float]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L, each against the gold text that it likes best."""
    found = _scorer().score_multi(golds, _cut(reply))
    return {name: score.fmeasure for name, score in found.items()}


def rouge_l(row: dict, reply: str) -> float:
    """What grader `overlap` gives for a reply's text: ROUGE-L F1 in [0, 1]."""
    return rouge(references(row), reply)["rougeL"]


def word_recall(golds: Sequence[str], reply: str) -> float:
    """Share of a gold text's distinct content words that the reply has, the best over the gold texts.

    A text of function words alone is recalled by the same words.
    """
    said = set(words(reply))
    return max(len(wanted & said) / len(wanted) for wanted in map(_content, golds))


def _content(gold: str) -> set[str]:
    kept = " ".join(word for word in re.findall(r"[^\W_]+", gold.lower()) if word not in FUNCTION_WORDS)
    return set(words(kept)) or set(words(gold))


def measures(row: dict, text: str) -> dict:
    """One item's metrics: numbers, and for BLEU-4 and CIDEr what `bleu4` and `cider` sum up over a corpus."""
    golds = references(row)
    pair = [_cut(text), *golds]
    return rouge(golds, text) | {"word_recall": word_recall(golds, text), "bleu4": pair, "cider": pair}


def bleu4(pairs: Sequence[Sequence[str]]) -> float:
    """BLEU-4 of a corpus in [0, 1]; a pair is [reply, gold text, ...]."""
    from sacrebleu import corpus_bleu

    most = max(len(golds) for _, *golds in pairs)
    # None where an item has fewer gold texts: sacrebleu leaves those out, though its types do not say so.
    streams: list[list[Any]] = [
        [golds[place] if place < len(golds) else None for _, *golds in pairs] for place in range(most)
    ]
    return min(1.0, corpus_bleu([reply for reply, *_ in pairs], streams).score / 100)


def cider(pairs: Sequence[Sequence[str]]) -> float:
    """CIDEr of a corpus in [0, 1]; a pair is [reply, gold text, ...]."""
    golds = [[_grams(gold) for gold in golds] for _, *golds in pairs]
    seen = Counter(gram for texts in golds for gram in set().union(*texts))
    weight = {gram: math.log(len(pairs) / count) for gram, count in seen.items()}
    unseen = math.log(len(pairs))
    total = 0.0
    for (reply, *_), texts in zip(pairs, golds):
        said = _vectors(_grams(reply), weight, unseen)
        total += sum(_likeness(said, _vectors(text, weight, unseen)) for text in texts) / len(texts)
    return total / len(pairs)


def _grams(text: str) -> Counter:
    """Counts of a text's n-grams, n = 1..4."""
    tokens = words(text)
    return Counter(tuple(tokens[at : at + n]) for n in range(1, 5) for at in range(len(tokens) - n + 1))


def _vectors(grams: Counter, weight: dict, unseen: float) -> list[dict]:
    parts: list[dict] = [{}, {}, {}, {}]
    for gram, count in grams.items():
        parts[len(gram) - 1][gram] = count * weight.get(gram, unseen)
    return parts


def _likeness(first: list[dict], second: list[dict]) -> float:
    """Mean cosine over the four lengths; 0 for a length that one of the texts lacks."""
    total = 0.0
    for a, b in zip(first, second):
        size = math.hypot(*a.values()) * math.hypot(*b.values())
        total += sum(value * b.get(gram, 0.0) for gram, value in a.items()) / size if size else 0.0
    return total / 4
