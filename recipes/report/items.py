"""What changed item by item, and where a wrong answer comes from."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.report.jsonfiles import read_rows
from recipes.report.load import Evaluation

EXAMPLES = 3  # training rows shown for each missed fact
BUCKETS = {
    "regressed": "Regressions",
    "improved": "Improvements",
    "wrong": "No change, still wrong",
    "right": "No change, still right",
}


@dataclass(frozen=True)
class Answer:
    """What one model said to an item."""

    model: str
    reply: str
    score: float


@dataclass(frozen=True)
class Entry:
    """One test item with every model's answer; `wrong` is about the final model."""

    task: str
    bucket: str
    wrong: bool
    doc_id: int
    id: str
    question: str
    gold: str
    node_id: str
    fact_id: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class TrainingRow:
    """A training row as question and answer, and the stage that it trains."""

    stage: str
    question: str
    answer: str


@dataclass(frozen=True)
class Fact:
    """A fact of a node: how often it is missed, and the training rows made from it, a few of them in full."""

    fact_id: str
    wrong: int
    asked: int
    training_rows: int
    examples: tuple[TrainingRow, ...]


@dataclass(frozen=True)
class Node:
    """A learning node that wrong answers come from, with its missed facts, most often missed first."""

    node_id: str
    title: str
    family: str
    excerpt: str
    wrong: int
    asked: int
    training_rows: int
    facts: tuple[Fact, ...]

    def training_rows_on(self, fact_id: str) -> int:
        return next((fact.training_rows for fact in self.facts if fact.fact_id == fact_id), 0)


def sort_items(evaluation: Evaluation) -> list[Entry]:
    """Every item of every domain and general task that base and final model answered, worst news first."""
    if len(evaluation.chain) < 2:
        return []
    base, final = evaluation.chain[0].name, evaluation.chain[-1].name
    entries = []
    for task in evaluation.tasks:
        if task.kind not in ("field", "general") or not {base, final} <= task.answers.keys():
            continue
        for place, item in enumerate(task.answers[final].items):
            said = {model: answers.items[place] for model, answers in task.answers.items()}
            entries.append(
                Entry(
                    task=task.name,
                    bucket=_bucket(said[base].score, item.score),
                    wrong=item.score < 1,
                    doc_id=item.doc_id,
                    id=str(item.doc.get("id", item.doc_id)),
                    question=item.question,
                    gold=item.gold,
                    node_id=str(item.doc.get("node_id") or ""),
                    fact_id=str(item.doc.get("fact_id") or ""),
                    answers=tuple(Answer(m, i.reply, i.score) for m, i in said.items()),
                )
            )
    return sorted(entries, key=lambda e: list(BUCKETS).index(e.bucket))


def trace(entries: list[Entry], data: Path | None) -> dict[str, Node]:
    """The nodes behind wrong answers of the final model, most often missed first; empty without a data artefact."""
    sourced = [e for e in entries if e.node_id]
    wrong = Counter(e.node_id for e in sourced if e.wrong)
    if data is None or not wrong:
        return {}
    about = {str(row.get("node_id")): row for row in read_rows(data / "nodes.jsonl")}
    rows: dict[tuple[str, str], list[TrainingRow]] = defaultdict(list)
    for stage in ("sft", "rl"):
        for row in read_rows(data / f"{stage}.jsonl"):
            if row.get("node_id") in wrong:
                rows[row["node_id"], str(row.get("fact_id") or "")].append(_training_row(row, stage))
    asked = Counter((e.node_id, e.fact_id) for e in sourced)
    missed = Counter((e.node_id, e.fact_id) for e in sourced if e.wrong)
    nodes = {}
    for node_id, count in wrong.most_common():
        facts = tuple(
            Fact(fact, times, asked[node, fact], len(rows[node, fact]), tuple(rows[node, fact][:EXAMPLES]))
            for (node, fact), times in missed.most_common()
            if node == node_id
        )
        row = about.get(node_id, {})
        nodes[node_id] = Node(
            node_id=node_id,
            title=f"{row.get('number', '')} {(row.get('path') or [node_id])[-1]}".strip(),
            family=str(row.get("family", "")),
            excerpt=str(row.get("text", "")),
            wrong=count,
            asked=sum(times for (node, _), times in asked.items() if node == node_id),
            training_rows=sum(len(found) for (node, _), found in rows.items() if node == node_id),
            facts=facts,
        )
    return nodes


def _bucket(before: float, after: float) -> str:
    if after != before:
        return "improved" if after > before else "regressed"
    return "right" if after == 1 else "wrong"


def _training_row(row: dict[str, Any], stage: str) -> TrainingRow:
    completion = row.get("completion")
    answer = completion[-1]["content"] if completion else row.get("reply") or row.get("answer", "")
    return TrainingRow(stage, str(row["prompt"][-1]["content"]), str(answer))
