"""What may be taken out of answered questions, each filter off unless asked for; what goes is counted."""

from collections import Counter

from data_builders.glan.coverage import ALIKE, repeats
from data_builders.quality.gates import words
from data_builders.quality.selection import SURPLUS
from data_builders.quality.similar import near_duplicates

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


def filtered(pairs, discipline_of, filters, ledger):
    """(the pairs that stay, figures for the card). `discipline_of` maps a question's id to its discipline."""
    found = repeats([pair.instruction for pair in pairs], filters.near_duplicates or ALIKE)
    figures = {"refusals": sum(is_refusal(pair.response) for pair in pairs), "repeats": found}
    alike = set()
    if filters.near_duplicates:
        threshold = filters.near_duplicates
        figures["similarity"] = {"threshold": threshold, "compared": len(pairs), "bins": found["bins"]}
        ids, texts = [pair.question_id for pair in pairs], [pair.instruction for pair in pairs]
        removals, _ = near_duplicates(ids, texts, filters.near_duplicates)
        alike = {pairs[removal.index].question_id for removal in removals}
    kept, counts = [], Counter()
    for pair in pairs:
        length, discipline = len(pair.response.split()), discipline_of[pair.question_id]
        if filters.refusals == "drop" and is_refusal(pair.response):
            reason = "refusal"
        elif length < filters.shortest:
            reason = "answer too short"
        elif filters.longest and length > filters.longest:
            reason = "answer too long"
        elif pair.question_id in alike:
            reason = "near duplicate"
        elif filters.quota and counts[discipline] == filters.quota:
            reason = SURPLUS
        else:
            counts[discipline] += 1
            kept.append(pair)
            ledger.keep("filters")
            continue
        ledger.drop("filters", reason, pair.question_id, pair.instruction[:120])
    return kept, figures
