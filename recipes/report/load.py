"""Read artefacts: a stage's manifest, and an evaluation as tasks with the answers of every model.

An evaluate artefact holds manifest.json, models.json and lm_eval/<model>/ with lm-eval's own files (see answers.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.report.answers import Answers, Model, load_answers, load_results, together
from recipes.report.jsonfiles import read_json

KINDS = ("field", "general", "format", "control")


@dataclass(frozen=True)
class Manifest:
    """What the report needs of an artefact's manifest.json."""

    path: Path
    recipe: str
    profile: str
    stage: str
    fingerprint: str
    spec: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float | None
    peak_memory_bytes: int | None
    predicted: dict[str, float | None]  # empty when nothing was predicted
    provenance: dict[str, Any]
    peak_gpu_bytes: int | None = None  # absent where no GPU was used
    kind: str = ""  # of the step: the stage that carried it out
    title: str = ""  # of a step that trains
    logs: dict[str, list[str]] = field(default_factory=dict)  # key of training.jsonl -> title, unit; of its methods

    @property
    def seed(self) -> Any:
        return self.spec.get("seed")


@dataclass(frozen=True)
class Task:
    """One task with the answers of every model that was asked.

    Attributes:
        answers: by model, all to the same items with the same decoding; empty for a task without items.
        others: by model, of ways to answer that differ from those in decoding or items.
    """

    name: str
    kind: str
    answers: dict[str, Answers] = field(default_factory=dict)
    others: dict[str, Answers] = field(default_factory=dict)

    @property
    def first(self) -> Answers | None:
        return next(iter(self.answers.values()), None)

    @property
    def n(self) -> int:
        return len(self.first.items) if self.first else 0

    @property
    def guessing(self) -> float | None:
        """The score (0..1) of picking among the options at random, nothing elsewhere; None where no item has options.

        A base below it has yet to learn to pick: that much of a gain is no knowledge.
        """
        options = [item.doc.get("options") or [] for item in self.first.items] if self.first else []
        return sum(1 / len(found) for found in options if found) / len(options) if any(options) else None


@dataclass(frozen=True)
class Evaluation:
    """An evaluate artefact. All models of a task answered the same items, with the same prompts (loading checks)."""

    manifest: Manifest
    models: tuple[Model, ...]
    tasks: tuple[Task, ...]
    prompt: str
    decoding: str
    probes: dict[str, Any]  # label of a probe -> {"logs": {key: [title, unit]}, "values": {model: {key: value}}}
    versions: dict[str, str]
    date: float | None  # seconds since 1970

    @property
    def base_name(self) -> str:
        return str(self.manifest.spec.get("model", {}).get("name", "?"))

    @property
    def columns(self) -> list[Model]:
        """The models whose answers stand side by side in the tables: to all items, decoded alike."""
        return [m for m in self.models if any(m.name in task.answers for task in self.tasks) or not m.method]

    @property
    def chain(self) -> list[Model]:
        """The base and the models that lead to the last one, in order, all answering plainly."""
        return line_of(self.models)

    def label(self, task: str) -> str:
        """A task's name for readers: without the recipe's prefix, in words."""
        return task.removeprefix(f"{self.manifest.recipe}_").replace("_", " ")


def line_of(models: tuple[Model, ...]) -> list[Model]:
    """The base and the models that lead to the last plainly answering one, by `parent`, oldest first."""
    plain = {m.name: m for m in models if not m.method and m.stage != "rules"}
    line = [next(reversed(plain.values()))] if plain else []
    while line and line[0].parent in plain:
        line.insert(0, plain[line[0].parent])
    return line


def load_manifest(artefact: Path) -> Manifest:
    """Raises RecipeError where the folder is no finished artefact."""
    path = artefact / "manifest.json"
    if not path.is_file():
        raise RecipeError(
            "This folder is not a finished artefact",
            where=str(artefact),
            got="no manifest.json",
            allowed="a stage folder such as runs/<recipe>/<profile>/evaluate-1a2b3c4d",
            fix="run the recipe to its end, or name another folder",
        )
    raw = read_json(path)
    return Manifest(
        path=artefact,
        recipe=str(raw.get("recipe", "?")),
        profile=str(raw.get("profile", "?")),
        stage=str(raw.get("stage", "?")),
        fingerprint=str(raw.get("fingerprint", "")),
        spec=raw.get("spec") or {},
        metrics=raw.get("metrics") or {},
        seconds=raw.get("seconds"),
        peak_memory_bytes=raw.get("peak_memory_bytes"),
        predicted=raw.get("predicted") or {},
        provenance=raw.get("provenance") or {},
        peak_gpu_bytes=raw.get("peak_gpu_bytes"),
        kind=str(raw.get("kind") or raw.get("stage", "?")),
        title=str(raw.get("title", "")),
        logs=raw.get("logs") or {},
    )


def load_evaluation(artefact: Path) -> Evaluation:
    """Read an evaluate artefact. Raises RecipeError for unreadable files and for models that cannot be compared."""
    manifest = load_manifest(artefact)
    index = read_json(artefact / "models.json")
    models = tuple(
        Model(
            m["name"],
            m["model"],
            int(m["num_fewshot"]),
            artefact / m["dir"],
            m["method"],
            m["from"],
            m.get("cost") or {},
        )
        for m in index["models"]
    )
    results = {model.name: load_results(model.folder) for model in models}
    tasks = []
    for name, about in index["tasks"].items():
        found = {m.name: [load_answers(m, part, results[m.name]) for part in about.get("of", [name])] for m in models}
        whole = {m: [part for part in parts if part is not None] for m, parts in found.items() if all(parts)}
        answers = {model: together(parts) for model, parts in whole.items()}
        first = next(iter(answers.values()), None)
        others = {
            model: found
            for model, found in answers.items()
            if first is not None and found.model.method and found.identity != first.identity
        }
        same = {model: found for model, found in answers.items() if model not in others}
        _check_comparable(name, same, artefact)
        tasks.append(Task(name, _kind(name, about.get("kind"), artefact), same, others))
    first = next(iter(results.values()), {})
    return Evaluation(
        manifest=manifest,
        models=models,
        tasks=tuple(tasks),
        prompt=str(index.get("prompt", "")),
        decoding=str(index.get("decoding", "")),
        probes=index.get("probes") or {},
        versions={"lm-eval": str(first["lm_eval_version"])} if first.get("lm_eval_version") else {},
        date=first.get("date"),
    )


def _kind(task: str, declared: str | None, artefact: Path) -> str:
    """The role that a task has; format and control stand beside the verdict."""
    if declared not in KINDS:
        raise RecipeError(
            "Unknown kind of task",
            where=f"{artefact / 'models.json'}, task {task}",
            got=str(declared),
            allowed=", ".join(KINDS),
            fix="evaluate again",
        )
    return declared


def _check_comparable(task: str, answers: dict[str, Answers], artefact: Path) -> None:
    """Every model against the first: same items and scoring; and same prompts where they answer in the same way."""
    if not answers:
        return
    reference = next(iter(answers.values()))
    first_by_way: dict[tuple[str, int], Answers] = {}
    for name, current in answers.items():
        peer = first_by_way.setdefault((current.model.method, current.model.num_fewshot), current)
        if current.identity != reference.identity:
            differs, other = "items, gold answers, metric, task version or decoding", reference
        elif current.prompts != peer.prompts:
            differs, other = "prompts", peer
        else:
            continue
        raise RecipeError(
            f"Two models cannot be compared: {differs} differ",
            where=f"{artefact}, task {task}",
            got=f"{name}: task hash {current.identity}, prompt hash {current.prompts}, {len(current.items)} items; "
            f"{other.model.name}: {other.identity}, {other.prompts}, {len(other.items)} items",
            allowed="equal task and prompt hashes for all models of a task",
            fix="evaluate all models again in one run",
        )
