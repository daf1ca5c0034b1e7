"""SciRIFF's nine scorers (arXiv 2406.07835, section 4), by rule, as its repository allenai/SciRIFF computes them.

Most sum up counts over all items; so an item gives its counts [common, stated, gold] for the published figure, and the
same score of the item alone as `acc`, which paired tests need.

    bioasq, multicite        `f1`: list F1, entries in lower case
    biored, scierc           `f1`: F1 over pairs of type and mention
    evidence_inference       `f1_overlap`: a stated tuple matches a gold one where each of the five has token F1 >= 0.3
    discomat                 `bleu4` of the corpus
    qasper                   `acc` token F1 of the answer, `f1_evidence` token F1 of the evidence
    scifact                  `f1_label` without NEI, `f1_evidence` over tokens; `acc` is the verdict alone
    mup                      `rougeL`

Where the authors let a model judge (mup, and qasper's answer) the figure here is another one. A reply without the JSON
that was asked for counts as an empty one, as theirs does. A field that neither of two tuples has, such as a comparator,
is the same here; there it is not, so that a gold answer would miss itself.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from eval.graders import overlap
from eval.graders.reply import MAX_CHARS
from recipes.base.reply_form import find_answers, visible

VERSION = 1

OVERLAP = 0.3  # token F1 from which two fields of a tuple are the same
Counts = list[int]  # common, stated, gold


def score_sciriff(doc: dict, replies: list[str]) -> dict:
    """acc and parsed of a reply, and what its task's published figure sums up."""
    score, empty = SCORERS[doc["kind"]]
    text = _answer(replies[0][-MAX_CHARS:])
    if empty is None:
        return {"parsed": float(bool(text.strip())), **score(text, doc["answer"])}
    stated = read_json(text, type(empty))
    return {
        "parsed": float(stated is not None),
        **score(empty if stated is None else stated, json.loads(doc["answer"])),
    }


def micro_f1(items: Sequence[Counts]) -> float:
    """F1 of the counts of all items together."""
    return _f1([sum(item[place] for item in items) for place in range(3)])


def read_json(text: str, kind: type) -> list | dict | None:
    """The first JSON list or object (`kind`) in a text; None where there is none."""
    decoder, mark = json.JSONDecoder(), "[" if kind is list else "{"
    place, tries = text.find(mark), 0
    while place >= 0 and tries < 50:
        try:
            found, _ = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            place, tries = text.find(mark, place + 1), tries + 1
        else:
            return found
    return None


def token_f1(stated: str, gold: str) -> float:
    """F1 of the words of two texts, as SQuAD counts them: no case, punctuation or articles."""
    return _f1(_token_counts(stated, gold))


def _answer(reply: str) -> str:
    blocks = find_answers(reply)
    return blocks[-1] if blocks else visible(reply)


def _f1(counts: Counts) -> float:
    common, stated, gold = counts
    return 2 * common / (stated + gold) if stated + gold else 1.0


def _token_counts(stated: str, gold: str) -> Counts:
    first, second = _tokens(stated), _tokens(gold)
    return [sum((Counter(first) & Counter(second)).values()), len(first), len(second)]


def _tokens(text: str) -> list[str]:
    bare = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return re.sub(r"\b(?:a|an|the)\b", " ", bare).split()


def _sets(stated: set, gold: set) -> Counts:
    return [len(stated & gold), len(stated), len(gold)]


def _flat(value: object) -> Iterable[object]:
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _flat(inner)
    else:
        yield value


def _entry(value: object) -> str:
    """An entry of a list as text: lower case, a float to two places, what is nested joined."""
    if isinstance(value, list):
        return " ".join(map(_entry, _flat(value)))
    if isinstance(value, float):
        return str(round(value, 2))
    return "" if value is None else str(value).strip().lower()


def _score_list(stated: list, gold: list) -> dict:
    counts = _sets(set(map(_entry, stated)), set(map(_entry, gold)))
    return {"acc": _f1(counts), "f1": counts}


def _score_entities(stated: dict, gold: dict) -> dict:
    counts = _sets(_mentions(stated), _mentions(gold))
    return {"acc": _f1(counts), "f1": counts}


def _mentions(found: dict) -> set:
    return {(kind, _entry(mention)) for kind, mentions in found.items() for mention in _flat(mentions)}


def _score_findings(stated: list, gold: list) -> dict:
    rows = stated if stated and isinstance(stated[0], list) else [stated]  # a single finding without its list
    found = [tuple(map(_entry, row)) for row in rows if isinstance(row, list) and len(row) == 5]
    free = [tuple(map(_entry, row)) for row in gold]
    known, common = len(free), 0
    for finding in found:
        match = next((other for other in free if _same(finding, other)), None)
        if match is not None:
            free = [other for other in free if other != match]
            common += 1
    counts = [common, len(found), known]
    return {"acc": _f1(counts), "f1_overlap": counts}


def _same(stated: tuple[str, ...], gold: tuple[str, ...]) -> bool:
    return all(said == right or (said and token_f1(said, right) >= OVERLAP) for said, right in zip(stated, gold))


def _score_table(stated: str, gold: str) -> dict:
    return {"acc": overlap.bleu4([[stated, gold]]), "bleu4": [stated, gold]}


def _score_summary(stated: str, gold: str) -> dict:
    found = overlap.rouge([gold], stated)["rougeL"]
    return {"acc": found, "rougeL": found}


def _score_answer(stated: dict, gold: dict) -> dict:
    said = stated.get("answer")
    answer = token_f1(" ".join(map(str, _flat(said))), gold["answer"]) if said is not None else 0.0
    evidence = token_f1(_joined(stated.get("evidence")), _joined(gold["evidence"]))
    return {"acc": answer, "f1_evidence": evidence}


def _joined(texts: object) -> str:
    return " ".join(str(text) for text in _flat(texts) if text is not None)


def _score_verdict(stated: dict, gold: dict) -> dict:
    said, right = stated.get("verdict") or "NEI", gold["verdict"]
    same = said == right
    return {
        "acc": float("verdict" in stated and same),
        "f1_label": [int(same and right != "NEI"), int(said != "NEI"), int(right != "NEI")],
        "f1_evidence": _token_counts(_joined(stated.get("evidence")), _joined(gold["evidence"])),
    }


SCORERS: dict[str, tuple[Callable[..., dict], list | dict | None]] = {  # how a task is scored, and its empty answer
    "bioasq_list_qa": (_score_list, []),
    "biored_ner": (_score_entities, {}),
    "discomat_te": (_score_table, None),
    "evidence_inference": (_score_findings, []),
    "multicite_intent_classification": (_score_list, []),
    "mup_single_document_summarization": (_score_summary, None),
    "qasper_abstractive_qa": (_score_answer, {}),
    "scierc_ner": (_score_entities, {}),
    "scifact_entailment": (_score_verdict, {}),
}
