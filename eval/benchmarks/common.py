"""Tasks of general ability for real bases, offline: facts, skills and sets from a folder; how they are scored.

A choice is asked by likelihood, as the published evaluations of ARC, MMLU and PubMedQA ask small models: the user turn
holds the question alone, and the model's own probability of each option as the reply decides (`acc`; `acc_norm` divides
the logarithm by the option's length in characters). A number is the last one of the reply ("flexible"). Other replies
are scored by rule.
"""

import re
from typing import Any

from eval.benchmarks.common_facts import FACTS
from eval.benchmarks.common_skills import SKILLS, keeps_rule
from eval.benchmarks.local_sets import FILES, read_local_set
from eval.graders.reply import MAX_CHARS
from eval.hooks import TaskDataError, as_dataset, spread
from recipes.base.options import LETTERS, option_of
from recipes.base.reply_form import find_answers, split_request, visible

VERSION = 1
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


def load_common(
    *, source: str, kind: str, sample: int | None = None, benchmarks: str | None = None, **_: object
) -> dict[str, Any]:
    """{"test": Dataset} of one kind; `sample` keeps an even choice, `benchmarks` is the folder of the public sets.

    Raises TaskDataError for an unknown kind, a missing folder, or a gold answer that its own rule refuses.
    """
    if kind in FILES:
        items = read_local_set(kind, benchmarks)
    elif kind in FACTS or kind in SKILLS:
        items = [item for item in (FACTS | SKILLS)[kind]() if item is not None]
    else:
        allowed = ", ".join((*FACTS, *SKILLS, *FILES))
        raise TaskDataError("unknown kind of common task", "dataset_kwargs.kind", kind, f"use {allowed}")
    rows = [make_row(kind, item) for item in items]
    wrong = [row["id"] for row in rows if not row["options"] and not keeps_gold(row)]
    if wrong:
        raise TaskDataError("a gold reply is scored wrong", kind, wrong[0], "correct the item or its rule")
    return {"test": as_dataset(spread(rows, sample))}


def make_row(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    """A document; of a choice the answer is its letter."""
    options = item.get("options")
    answer = LETTERS[options.index(item["answer"])] if options else item["answer"]
    named = {"instructions": "rule"}.get(kind, "choice" if options else "last number")
    return {
        "id": item["id"],
        "prompt": [{"role": "user", "content": item["question"]}],
        "answer": answer,
        "reply": item.get("reply", item["answer"]),
        "options": options,
        "aliases": item.get("aliases"),
        "grader": item.get("grader", named),
        "kind": kind,
        "level": item.get("level", ""),
    }


def keeps_gold(row: dict[str, Any]) -> bool:
    """Whether a row's own reply is right."""
    if row["grader"] == "overlap":
        return bool(row["reply"])
    score = score_rule if row["grader"] == "rule" else score_last_number
    return score(row, [row["reply"]])["acc"] == 1.0


def ask_bare(doc: dict[str, Any]) -> str:
    """The user turn of a choice without its lettered options and its request: options are told by their likelihood."""
    return split_request(doc["prompt"][0]["content"])[0]


def list_choices(doc: dict[str, Any]) -> list[str]:
    """The options as replies."""
    return list(doc["options"])


def find_gold(doc: dict[str, Any]) -> int:
    """Place of the right option. Raises ValueError where the answer is no letter of one."""
    option_of(doc["answer"], tuple(doc["options"]))
    return LETTERS.index(doc["answer"])


def score_last_number(doc: dict[str, Any], replies: list[str]) -> dict[str, float]:
    """acc and parsed of the last number of the answer block, or of the reply where there is none."""
    stated, gold = _last_number(read_said(replies[0])), _last_number(doc["answer"])
    right = stated is not None and gold is not None and abs(stated - gold) <= 1e-6 * max(1.0, abs(gold))
    return {"acc": float(right), "parsed": float(stated is not None)}


def score_rule(doc: dict[str, Any], replies: list[str]) -> dict[str, float]:
    """acc and parsed of a reply that has to keep a rule of form."""
    text = read_said(replies[0]).strip()
    return {"acc": float(keeps_rule(doc["answer"], text)), "parsed": float(bool(text))}


def read_said(reply: str) -> str:
    """The last answer block, else what stands behind the thinking: tuning to a reply form is no fault by itself."""
    reply = reply[-MAX_CHARS:]
    blocks = find_answers(reply)
    return blocks[-1] if blocks else visible(reply)


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
