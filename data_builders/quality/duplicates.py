"""Duplicates: the same prompt twice, and different facts that ask almost the same for the same answer."""

from data_builders.quality.gates import words

SHINGLE = 3
SIMILAR = 0.8


def shingles(text):
    tokens = words(text)
    return {tuple(tokens[index : index + SHINGLE]) for index in range(max(1, len(tokens) - SHINGLE + 1))}


def right_option(record):
    return record.options["ABCD".index(record.answer)] if record.options else record.answer


def without_duplicates(records, ledger):
    """The records in order without exact repeats (question and options), and without near repeats of other facts.

    Near means: another fact, the same kind and right answer, and a Jaccard similarity of word triples of at least
    SIMILAR. Wordings of one fact are alike on purpose and stay; calculations differ in their numbers and are compared
    exactly.
    """
    seen, kept, alike = set(), [], {}
    for record in records:
        exact = (record.split, record.question, record.options)
        if exact in seen:
            ledger.drop("records", "exact duplicate", record.id, record.question[:120])
            continue
        seen.add(exact)
        if record.kind != "calc" and record.operations == 0:
            group = alike.setdefault((record.kind, " ".join(words(right_option(record)))), {})
            own = shingles(record.question)
            if any(
                fact != record.fact_id and len(own & other) / len(own | other) >= SIMILAR
                for fact, others in group.items()
                for other in others
            ):
                ledger.drop("records", "near duplicate", record.id, record.question[:120])
                continue
            group.setdefault(record.fact_id, []).append(own)
        ledger.keep("records")
        kept.append(record)
    return kept
