"""SciRIFF's nine held-out tasks (arXiv 2406.07835) as rows: its validation split, with contexts of 4,096 tokens.

Asked zero-shot, as its authors do (SciLitLLM shows one example for evidence_inference); scored as
eval/benchmarks/sciriff_scores.py says.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VERSION = 2

DATASET, CONFIG, SPLIT = "allenai/SciRIFF", "4096", "validation"
TASKS = (
    "bioasq_list_qa",
    "biored_ner",
    "discomat_te",
    "evidence_inference",
    "multicite_intent_classification",
    "mup_single_document_summarization",
    "qasper_abstractive_qa",
    "scierc_ner",
    "scifact_entailment",
)


def rows(file: str | None) -> list[dict]:
    """Rows of the nine tasks, their `kind` the task's name; from a JSONL file of the dataset's rows, or the hub."""
    found: Iterable[Any]
    if file:
        found = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").split("\n") if line]
    else:
        from datasets import load_dataset

        found = load_dataset(DATASET, CONFIG, split=SPLIT)
    return [_row(item) for item in found if item["_instance_id"].split(":")[0] in TASKS]


def _row(item: dict) -> dict:
    return {
        "id": item["_instance_id"],
        "prompt": [{"role": "user", "content": item["input"]}],
        "answer": item["output"],
        "reply": item["output"],
        "grader": "sciriff",
        "kind": item["_instance_id"].split(":")[0],
        "node_id": item["_instance_id"],
    }
