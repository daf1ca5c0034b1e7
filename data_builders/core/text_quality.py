"""A learned cut of a corpus by quality: a teacher scores some texts, a head on an embedding scores all, the best stay.

    cut = quality_cut(table, [(id, text), …], seed, replies, bar, say)
    kept = [row for row in rows if row["id"] in cut.kept]

The order of things is that of arXiv 2408.15545, section 3.1.2: scores from 0 to 5 by an additive rubric
(prompts/text_quality.md), a regression head, then the best share. The embedding is `embedding.embedder`. A label that
cannot be read is left out and counted, not taught as 0; micro and macro F1 are both told, on texts held out of
training.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_builders.core.embedding import BATCH, embedder, needs
from data_builders.core.patterns import GARBLED, words
from data_builders.core.schema import order
from data_builders.core.table import Share
from data_builders.llm.bill import bill
from data_builders.llm.chat import Chat
from data_builders.llm.prompts import prompt, quote_text
from data_builders.llm.survey import survey
from data_builders.llm.table import Teacher
from recipes.base.errors import RecipeError
from recipes.base.table import runtime_field

PROMPT = Path(__file__).parent / "prompts" / "text_quality.md"
EXCERPT = 400  # words of a text that teacher and head read, about 512 tokens
HELD = 10  # every tenth label is held out
FEWEST = 30  # labels that a head is trained on
ALPHAS = (0.03, 0.1, 0.3, 1.0, 3.0)  # of the ridge regression, of which five-fold cross-validation takes one


class TextQuality(Teacher):
    """A table that says how a corpus is cut; the teacher (expert: rules) scores `labels` of its texts."""

    where: ClassVar = "data.quality"

    labels: int = Field(
        default=50_000, ge=FEWEST, description="texts that the teacher scores; all where there are fewer"
    )
    encoder: str = Field(
        default="", description="sentence encoder (folder or hub id); empty: hashed n-grams, without a model"
    )
    by: Literal["texts", "words"] = Field(default="texts", description="what `share` is counted in")
    share: Share = Field(default=0.75, gt=0, description="share of the corpus that stays, the best first")
    least: float | None = Field(
        default=None, ge=0, le=5, description="instead of a share: the score from which on a text stays"
    )
    threshold: int = Field(default=3, ge=1, le=5, description="score from which on a text counts as good, for F1")
    reply_tokens: int = runtime_field(60, "tokens of one label, for the bill of `plan`", ge=1)

    @property
    def needs(self):
        return super().needs + needs(self.encoder)

    @model_validator(mode="after")
    def _one_cut(self):
        if self.least is not None and {"share", "by"} & self.model_fields_set:
            raise ValueError("give `share` or `least`, not both")
        return self


class Label(BaseModel):
    """The reply of the teacher about one text."""

    model_config = ConfigDict(extra="forbid")

    why: str
    score: int = Field(ge=0, le=5)


@dataclass(frozen=True)
class Cut:
    """`kept` are the ids of the texts that stay; `scores` by id, for all; `labels` by id; `report` is for the card:
    labels and unread ones with reasons, the head's F1, the cut, how many stay. `spent` is what the teacher cost.
    """

    kept: frozenset
    scores: dict
    labels: dict
    report: dict
    spent: dict


def quality_cut(table, texts, seed, path, bar, say):
    """The `Cut` of `texts`, which are (id, text). `path` is the file of stored replies.

    Raises RecipeError where the teacher ends the run, or gave too few labels or all the same.
    """
    chosen = sorted(texts, key=lambda pair: order(seed, "label", pair[0]))[: table.labels]
    labels, unread, spent = labelled(table, chosen, path, bar, say)
    pairs = [(id, text) for id, text in chosen if id in labels]
    head, told = trained(pairs, labels, embedder(table.encoder), table.threshold, seed)
    scores = dict(zip([id for id, _ in texts], head([text for _, text in texts])))
    if table.least is not None:
        kept, how_cut = {id for id, score in scores.items() if score >= table.least}, f"score {table.least:g} or more"
    else:
        sizes = {id: len(text.split()) if table.by == "words" else 1 for id, text in texts}
        kept, how_cut = best(scores, sizes, table.share), f"best {table.share:.0%} of {table.by}"
    report = {"labels": dict(sorted(Counter(labels.values()).items())), "unread": dict(sorted(unread.items()))}
    report |= {"head": told, "cut": how_cut, "texts": len(texts), "kept": len(kept)}
    return Cut(frozenset(kept), scores, labels, report, spent)


def labelled(table, texts, path, bar, say):
    """({id: score from 0 to 5}, {reason: unread labels}, what the replies cost)."""
    if table.kind == "expert":
        return {id: rule_score(excerpt(text)) for id, text in texts}, Counter(), {}

    async def work(asker, pair):
        return await asker.ask(label_chat(pair[1], asker.model))

    answers, spent = survey(table, path, texts, work, bar, say, "labels", "texts")
    unread = Counter(answer.dropped for answer in answers if answer.dropped)
    return {id: a.value.score for (id, _), a in zip(texts, answers) if not a.dropped}, unread, spent


def label_bill(table, texts, lengths):
    """The bill of the labels of a corpus, its texts given alone."""
    if table.kind == "expert":
        return bill(table, 0, 0, 0)
    share = min(1.0, table.labels / max(1, len(texts)))
    count = min(table.labels, len(texts))
    sent = round(share * sum(label_chat(text, "").size for text in texts))
    return bill(table, count, sent, count * lengths.of("label", table.model, table.reply_tokens))


def label_chat(text: str, model: str) -> Chat:
    source = prompt(PROMPT)
    user = source.fill("user", document=quote_text(excerpt(text)))
    settings = {"temperature": 0.0, "max_tokens": 400}
    return Chat("label", model, source.fill("system"), user, Label, **settings, prompt_version=source.id)


def excerpt(text: str) -> str:
    """The first EXCERPT words of a text, with its lines as they are."""
    found = re.match(rf"\s*(?:\S+\s*){{0,{EXCERPT}}}", text)
    return found.group().strip() if found else ""


def trained(texts, labels, embed, threshold, seed):
    """(function from texts to scores, float64 [n]; what held-out labels say of it).

    `texts` are (id, text), each with its label. The second is {"trained_on", "held_out", "good": share of the held out
    with a label of `threshold` or more, "micro_f1", "macro_f1" of good against not, "rank_correlation": Spearman's,
    "alpha"}. The head has not seen the held-out labels.
    """
    import numpy as np
    from scipy.stats import spearmanr
    from sklearn.linear_model import Ridge
    from sklearn.metrics import f1_score
    from sklearn.model_selection import GridSearchCV, KFold

    if len(texts) < FEWEST or len(set(labels[id] for id, _ in texts)) < 2:
        raise RecipeError(
            "The teacher's labels are too few, or all the same, to learn from.",
            where="the text-quality table",
            got=f"{len(texts)} labels, scores {sorted({labels[id] for id, _ in texts})}",
            allowed=f"{FEWEST} labels or more, with two scores or more",
            fix="label more texts, or cut by rules",
        )
    # Sorted by label, so that each score has its share of the held-out texts.
    ordered = sorted(texts, key=lambda pair: (labels[pair[0]], order(seed, "held", pair[0])))
    held = ordered[HELD // 2 :: HELD]
    kept = [pair for number, pair in enumerate(ordered) if number % HELD != HELD // 2]
    kept.sort(key=lambda pair: order(seed, "fold", pair[0]))
    vectors = embed([excerpt(text) for _, text in kept])
    known = np.array([labels[id] for id, _ in kept], dtype=float)
    solver = "auto" if isinstance(vectors, np.ndarray) else "sparse_cg"
    search = GridSearchCV(Ridge(solver=solver), {"alpha": ALPHAS}, cv=KFold(5), scoring="neg_mean_squared_error")
    head = search.fit(vectors, known).best_estimator_

    def score(many):
        parts = [many[start : start + BATCH] for start in range(0, len(many), BATCH)]
        found = [head.predict(embed([excerpt(text) for text in part])) for part in parts]
        return np.concatenate(found).round(6) if found else np.zeros(0)

    truth, guess = np.array([labels[id] for id, _ in held]), score([text for _, text in held])
    good = {"y_true": truth >= threshold, "y_pred": guess >= threshold, "zero_division": 0.0}
    told = {"trained_on": len(kept), "held_out": len(held), "good": round(float(np.mean(truth >= threshold)), 4)}
    told |= {f"{kind}_f1": round(float(f1_score(**good, average=kind)), 4) for kind in ("micro", "macro")}
    ranks: Any = spearmanr(truth, guess) if len(set(truth)) > 1 and len(set(guess)) > 1 else None
    rank = round(float(ranks.statistic), 4) if ranks is not None else 0.0
    return score, told | {"rank_correlation": rank, "alpha": search.best_params_["alpha"]}


def best(scores, sizes, share):
    """The ids with the best scores that come to `share` of all sizes, the last of them included; ties by id.

    With sizes of 1 these are exactly ⌈share · N⌉.
    """
    wanted, kept, taken = share * sum(sizes.values()), set(), 0
    wanted = math.ceil(round(wanted, 6))
    for id in sorted(scores, key=lambda id: (-scores[id], id)):
        if taken >= wanted:
            break
        kept.add(id)
        taken += sizes[id]
    return kept


CONNECTIVES = {"because", "therefore", "thus", "hence", "since", "which", "so", "if", "then", "when", "where", "but"}


def rule_score(text: str) -> int:
    """A score from 0 to 5 by form: one point each for clean characters, prose, whole sentences, no debris, reasons."""
    tokens, lines = words(text), [line for line in text.splitlines() if line.strip()]
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]
    if len(tokens) < 10:
        return 0
    letters = sum(character.isalpha() or character.isspace() for character in text) / len(text)
    whole = [part for part in sentences if part[:1].isupper() and part[-1:] in ".!?" and 4 <= len(part.split()) <= 40]
    short = sum(len(token) <= 1 or token[0].isdigit() for token in tokens) / len(tokens)
    points = (
        letters > 0.85,
        len(tokens) / max(1, len(sentences)) >= 6 and len(set(tokens)) / len(tokens) > 0.3,
        len(whole) >= 0.7 * len(sentences),
        short < 0.15 and not GARBLED.search(text) and len(set(lines)) == len(lines),
        sum(token in CONNECTIVES for token in tokens) >= len(tokens) / 60,
    )
    return sum(points)
