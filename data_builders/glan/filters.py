"""What may be taken out of answered questions, each filter off unless asked for; what goes is counted.

They look at what follows the reasoning: that is paid for by the word, and no reason to lose an answer.
"""

from collections import Counter

from data_builders.core.patterns import words
from data_builders.core.selection import SURPLUS
from data_builders.core.similar import near_duplicates
from data_builders.glan.coverage import ALIKE, repeats
from recipes.base.reply_form import visible

REFUSALS = tuple(
    f" {phrase} "
    for phrase in (
        "do not know", "don t know", "cannot answer", "can t answer", "unable to answer", "not able to answer",
        "cannot help", "can t help", "as an ai",
    )
)  # fmt: skip
SHORT = 40  # words; a longer answer says more than that it does not know


def is_refusal(answer):
    """Whether a short answer says that it does not know, in any case and punctuation."""
    said = words(answer)
    return len(said) <= SHORT and any(phrase in f" {' '.join(said)} " for phrase in REFUSALS)


def in_use(filters):
    """The names of the filters that are on, in the order in which they look at an answer."""
    settings = {
        "refusals": filters.refusals == "drop",
        "length": filters.shortest or filters.longest,
        "near duplicates": filters.near_duplicates,
        "quota": filters.quota,
    }
    return [name for name, on in settings.items() if on]


def filtered(written, filters, ledger):
    """(what stays of the answered questions, figures for the card); `written` holds agents.Written with answers."""
    ids, texts = [entry.pair.question_id for entry in written], [entry.pair.instruction for entry in written]
    found = repeats(texts, filters.near_duplicates or ALIKE)
    figures = {"refusals": sum(is_refusal(visible(entry.pair.response)) for entry in written), "repeats": found}
    alike = set()
    if filters.near_duplicates:
        threshold = filters.near_duplicates
        figures["similarity"] = {"threshold": threshold, "compared": len(written), "bins": found["bins"]}
        alike = {ids[removal.index] for removal in near_duplicates(ids, texts, threshold)[0]}
    kept, counts = [], Counter()
    for entry in written:
        answer, discipline = visible(entry.pair.response), entry.sample.discipline
        length = len(answer.split())
        if filters.refusals == "drop" and is_refusal(answer):
            reason = "refusal"
        elif length < filters.shortest:
            reason = "answer too short"
        elif filters.longest and length > filters.longest:
            reason = "answer too long"
        elif entry.pair.question_id in alike:
            reason = "near duplicate"
        elif filters.quota and counts[discipline] == filters.quota:
            reason = SURPLUS
        else:
            counts[discipline] += 1
            kept.append(entry)
            ledger.keep("filters")
            continue
        ledger.drop("filters", reason, entry.pair.question_id, entry.pair.instruction[:120])
    return kept, figures
