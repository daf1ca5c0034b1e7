"""PubMedQA and SciTLDR as their authors publish them: training rows and test items.

PubMedQA (arXiv 1909.06146): ori_pqal.json, 1,000 questions on abstracts labelled yes, no or maybe by experts. The ids
in test_ground_truth.json are the official test; the others are trained on, with the abstract's own conclusion as the
reasoning. SciTLDR (arXiv 2004.15011): train, dev and test.jsonl with an abstract's sentences and one or several
one-sentence summaries; of a test item each counts as right.
"""

import json
from dataclasses import dataclass
from typing import Any

from data_builders.core.schema import order
from data_builders.core.selection import SURPLUS
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id
from recipes.base.jsonl import read_jsonl
from recipes.base.reply_form import Exchange, render_messages
from recipes.base.rows import GradedRow, SftRow

SETS = ("pubmedqa", "scitldr")
ANSWERS = ("yes", "no", "maybe")


@dataclass(frozen=True)
class Example:
    """One published example: `answers` are the accepted ones, the first is shown in training."""

    set: str
    id: str
    split: str
    context: str
    question: str
    reasoning: str
    answers: tuple[str, ...]


def sets_in(folder):
    """Which published sets a source folder holds, by the names of their folders."""
    return [name for name in SETS if (folder / name).is_dir()]


def read(folder):
    """The examples of every published set under a folder. Raises RecipeError for files of another form."""
    readers = {"pubmedqa": _pubmedqa, "scitldr": _scitldr}
    return [example for name in sets_in(folder) for example in readers[name](folder / name)]


def _pubmedqa(folder):
    try:
        items, tested = (_json(folder / name) for name in ("ori_pqal.json", "test_ground_truth.json"))
        for id, item in items.items():
            answer = item["final_decision"]
            if answer not in ANSWERS or tested.get(id, answer) != answer:
                raise ValueError(f"{id}: final_decision {answer!r}, in the ground truth {tested.get(id)!r}")
            yield Example(
                "pubmedqa",
                f"pubmedqa-{id}",
                "test" if id in tested else "train",
                " ".join(item["CONTEXTS"]),
                item["QUESTION"],
                item["LONG_ANSWER"],
                (answer,),
            )
        if missing := tested.keys() - items.keys():
            raise ValueError(f"{len(missing)} official test ids have no question, such as {min(missing)}")
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise _malformed(folder, error, "ori_pqal.json and test_ground_truth.json of pubmedqa/pubmedqa") from None


def _scitldr(folder):
    try:
        for split, file in (("train", "train.jsonl"), ("train", "dev.jsonl"), ("test", "test.jsonl")):
            if split == "train" and not (folder / file).is_file():
                continue
            for row in read_jsonl(folder / file):
                targets = tuple(" ".join(target.split()) for target in row["target"] if target.strip())
                yield Example(
                    "scitldr",
                    f"scitldr-{row['paper_id']}",
                    split,
                    " ".join(row["source"]),
                    "Summarise in one sentence:",
                    "",
                    targets,
                )
    except (KeyError, TypeError, OSError) as error:
        raise _malformed(folder, error, "train.jsonl and test.jsonl of allenai/scitldr, SciTLDR-A") from None


def _json(path):
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _malformed(folder, error, allowed):
    return RecipeError(
        "A published set has another form.",
        where=str(folder),
        got=f"{type(error).__name__}: {error}",
        allowed=allowed,
        fix="download it again, or take its folder out of data.source",
    )


def rows(examples, spec, seed, ledger):
    """(training rows, test rows), at most so many of each set as the spec says, in an order drawn by the seed."""
    sft, tests = [], []
    for name in SETS:
        own = sorted((e for e in examples if e.set == name), key=lambda e: order(seed, "published", e.id))
        for split, most, into in (("train", spec.published_rows, sft), ("test", spec.tests.published, tests)):
            usable = []
            for example in (e for e in own if e.split == split):
                if fault := _fault(example):
                    ledger.drop("published", fault, example.id, example.question[:120])
                else:
                    usable.append(example)
            for example in usable[most:]:
                ledger.drop("published", SURPLUS, example.id, example.question[:120])
            ledger.keep("published", len(usable[:most]))
            make = sft_row if split == "train" else test_row
            into += [make(example, spec.context_words) for example in usable[:most]]
    return sft, tests


def _fault(example):
    if not example.answers:
        return "no answer"
    return None if example.context.split() else "no abstract"


def texts(examples):
    """(id, abstract) of the examples that are not tested, to pre-train on."""
    return [(example.id, example.context) for example in examples if example.split == "train" and example.context]


def sft_row(example: Example, words: int) -> SftRow:
    """A training row that shows so many words of the abstract."""
    return SftRow(**_fields_of(example, words))


def test_row(example: Example, words: int) -> GradedRow:
    """A test row; every answer that the authors accept counts as right."""
    fields = _fields_of(example, words)
    prompt, _ = render_messages(Exchange(**{name: fields[name] for name in ("question", "context")}))
    return GradedRow(
        id=stable_id(example.set, prompt, example.answers),
        grader="text" if example.set == "pubmedqa" else "overlap",
        aliases=example.answers[1:],
        **fields,
    )


def _fields_of(example: Example, words: int) -> dict[str, Any]:
    context, answer = example.context.split(), example.answers[0]
    closed, summary = example.set == "pubmedqa", example.set == "scitldr"
    reasoned = example.split == "train" and example.reasoning and not summary
    return {
        "kind": example.set,
        "question": example.question + (" (yes, no or maybe)" if closed else ""),
        "context": " ".join(context[:words]) + (" …" if len(context) > words else ""),
        "options": ANSWERS if closed else None,
        "options_as": "unlisted",
        "thinking": example.reasoning if reasoned else None,
        "solution": None if summary else f"So: {answer}.",
        "answer": answer,
        "node_id": example.id,
        "fact_id": example.id,
        "family": example.set,
        "lineage": {"record": example.id, "filters": ["form"]},
    }
