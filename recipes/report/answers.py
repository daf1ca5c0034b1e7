"""lm-eval's native results and samples of one model, as answers to items.

Source of the form: lm-eval 0.4.5 to 0.4.13, evaluator.py, loggers/evaluation_tracker.py and result_schema.py.
Files: results_<date>.json and samples_<task>_<date>.jsonl, possibly one folder below the model's own. A sample holds
doc_id, doc, target, arguments, resps, filtered_resps, filter, metrics, doc_hash, prompt_hash, target_hash and one value
per metric; before 0.4.8 the filter and the names of the metrics are missing. The first metric is the task's score; of
several filters the first counts. What a metric comes to over all items (a mean, or something like macro-F1 that items
do not have) is in the results under "metric,filter".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.report.jsonfiles import read_json, read_rows


@dataclass(frozen=True)
class Model:
    """One evaluated model, answering in one way.

    Attributes:
        stage: the step that left it; "base" for the base and "rules" for replies without a language model.
        num_fewshot: examples in the prompt.
        folder: of lm-eval's files.
        method: label of the way to answer; "" for plain answers.
        parent: the model that it was made from, by name; "" for the base.
        cost: task of lm-eval -> {"prompt_tokens", "reply_tokens", "seconds"} of one answer; see recipes.models.costs.
    """

    name: str
    stage: str
    num_fewshot: int
    folder: Path
    method: str = ""
    parent: str = ""
    cost: dict[str, dict[str, float | None]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Item:
    """One reply to one test item."""

    doc_id: int
    doc: dict[str, Any]
    question: str
    gold: str
    reply: str
    score: float  # 0..1
    doc_hash: str
    prompt_hash: str
    target_hash: str
    source: str = ""  # what the item was made from, where that is not its learning node

    @property
    def cluster(self) -> str:
        """The source of the item: its learning node, or the item itself where it has none."""
        node = self.source or self.doc.get("node_id")
        return f"node {node}" if node else f"item {self.doc_id}"


@dataclass(frozen=True)
class Answers:
    """One model's replies on one task, in the order of doc ids; at least one."""

    model: Model
    metric: str
    version: Any
    decoding: dict[str, Any]
    measures: dict[str, float]  # the task's further metrics, over all items
    items: tuple[Item, ...]

    @cached_property
    def scores(self) -> list[float]:
        return [item.score for item in self.items]

    @cached_property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores)

    @cached_property
    def clusters(self) -> list[str]:
        return [item.cluster for item in self.items]

    @cached_property
    def identity(self) -> str:
        """Hash of what was asked and how it was scored: documents, gold answers, metric, task version, decoding."""
        asked = [(item.doc_id, item.doc_hash, item.target_hash) for item in self.items]
        return _digest([asked, self.metric, str(self.version), self.decoding])

    def restrict_to(self, wanted: Answers) -> Answers | None:
        """These answers on the items of `wanted`, in their order; None where one of those is missing."""
        by_id = {item.doc_id: item for item in self.items}
        items = tuple(by_id[item.doc_id] for item in wanted.items if item.doc_id in by_id)
        same = len(items) == len(wanted.items) and all(
            (mine.doc_hash, mine.target_hash) == (other.doc_hash, other.target_hash)
            for mine, other in zip(items, wanted.items, strict=True)
        )
        return replace(self, items=items) if same and self.metric == wanted.metric else None

    @cached_property
    def prompts(self) -> str:
        """Hash of the rendered prompts, in order."""
        return _digest([item.prompt_hash for item in self.items])


def load_answers(model: Model, task: str, results: dict[str, Any]) -> Answers | None:
    """The newest samples of a task; None where the model was not asked or the task has no items.

    Raises RecipeError for samples that lm-eval did not write this way.
    """
    files = [f for f in model.folder.rglob("samples_*.jsonl") if f.name[len("samples_") :].rsplit("_", 1)[0] == task]
    if not files:
        return None
    return read_samples(max(files, key=lambda f: f.name), model, task, results)


def read_samples(
    file: Path, model: Model, task: str, results: dict[str, Any], metric: str = "", node: str = ""
) -> Answers | None:
    """The answers in one samples file, scored by `metric` (default: the task's first); None for an empty file.

    `node` names the field of the document that says which source an item was made from. Raises RecipeError for samples
    that lm-eval did not write, and for scores that are not numbers from 0 to 1.
    """
    samples = list(read_rows(file))
    if not samples:
        return None
    totals = results.get("results", {}).get(task, {})
    try:
        metric = metric or _first_metric(samples[0], totals)
        kept = _keep_first_filter(samples)
        items = tuple(_item(s, metric, node) for s in sorted(kept, key=lambda s: s["doc_id"]))
        outside = next((item for item in items if not 0 <= item.score <= 1), None)
        if outside:
            raise ValueError(f"{metric} of item {outside.doc_id} is {outside.score}")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise RecipeError(
            "A sample does not have lm-eval's form",
            where=str(file),
            got=f"{type(error).__name__}: {error}",
            allowed="samples as lm-eval 0.4.5 to 0.4.13 logs them, and a metric with one number from 0 to 1 an item",
            fix="evaluate again with --log_samples, or name another metric",
        ) from error
    decoding = results.get("configs", {}).get(task, {}).get("generation_kwargs") or {}
    measures = _measures(totals, metric, samples[0].get("filter", "none"))
    return Answers(model, metric, results.get("versions", {}).get(task), decoding, measures, items)


def _first_metric(sample: dict[str, Any], totals: dict[str, Any]) -> str:
    """Named in the sample, or, before lm-eval 0.4.8, the first of the results that the sample has a value of."""
    if "metrics" in sample:
        return sample["metrics"][0]
    return next(name for name in (key.partition(",")[0] for key in totals) if name in sample)


def _keep_first_filter(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples of the first filter; without names of filters each writes all documents, one filter after another.

    Raises ValueError where a document was logged twice by one filter, as by two runs into one file.
    """
    if "filter" in samples[0]:
        kept = [s for s in samples if s["filter"] == samples[0]["filter"]]
    else:
        rounds = [s["doc_id"] for s in samples].count(samples[0]["doc_id"])
        kept = samples[: len(samples) // rounds]
    if len({s["doc_id"] for s in kept}) < len(kept):
        raise ValueError("an item was logged twice")
    return kept


def together(parts: list[Answers]) -> Answers:
    """The answers to the tasks of a group as those to one task; its further measures are not told.

    Raises RecipeError for parts that are not scored alike.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if others := {part.metric for part in parts} - {first.metric}:
        raise RecipeError(
            "The tasks of a group are not scored alike",
            where=str(first.model.folder),
            got=", ".join(sorted({first.metric, *others})),
            allowed="one metric in all tasks of a group",
            fix="name the tasks themselves in the recipe, and evaluate again",
        )
    items = [item for part in parts for item in part.items]
    items = tuple(replace(item, doc_id=number) for number, item in enumerate(items))
    versions = sorted({str(part.version) for part in parts})
    return Answers(first.model, first.metric, ", ".join(versions), first.decoding, {}, items)


def _measures(found: dict[str, Any], metric: str, filter_name: str) -> dict[str, float]:
    """What lm-eval's results hold of a task beside its score, without errors and names."""
    names = {key: key.removesuffix(f",{filter_name}") for key in found if key.endswith(f",{filter_name}")}
    return {
        name: float(found[key])
        for key, name in names.items()
        if name != metric and not name.endswith("_stderr") and isinstance(found[key], (int, float))
    }


def load_results(folder: Path) -> dict[str, Any]:
    """The newest results file below a folder. Raises RecipeError where there is none."""
    files = sorted(folder.rglob("results_*.json"), key=lambda f: f.name)
    if not files:
        raise RecipeError(
            "lm-eval results are missing",
            where=str(folder),
            got="no results_*.json",
            allowed="the files that lm-eval writes",
            fix="evaluate again with --fresh",
        )
    return read_json(files[-1])


def _item(sample: dict[str, Any], metric: str, node: str) -> Item:
    doc = sample["doc"] if isinstance(sample["doc"], dict) else {"text": str(sample["doc"])}
    return Item(
        doc_id=int(sample["doc_id"]),
        doc=doc,
        question=_question(doc, sample),
        gold=str(doc.get("answer", sample["target"])),
        reply=_reply(sample),
        score=float(sample[metric]),
        doc_hash=sample["doc_hash"],
        prompt_hash=sample["prompt_hash"],
        target_hash=sample["target_hash"],
        source=str(doc[node]) if node and doc.get(node) is not None else "",
    )


def _question(doc: dict[str, Any], sample: dict[str, Any]) -> str:
    if isinstance(doc.get("prompt"), list) and doc["prompt"]:
        return str(doc["prompt"][-1].get("content", ""))
    for key in ("question", "prompt"):
        if isinstance(doc.get(key), str):
            return doc[key]
    return str(sample["arguments"]["gen_args_0"]["arg_0"])


def _reply(sample: dict[str, Any]) -> str:
    """The generated text (the first, where several were drawn), or the choice with the highest log-likelihood."""
    choices = sample["filtered_resps"]
    if len(choices) > 1 and isinstance(choices[0], list):
        best = max(range(len(choices)), key=lambda i: float(choices[i][0]))
        return str(sample["arguments"][f"gen_args_{best}"]["arg_1"]).strip()
    drawn = sample["resps"][0]
    return str(drawn[0] if isinstance(drawn, list) else drawn)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
