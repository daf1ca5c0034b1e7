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

KINDS = ("domain", "general", "format", "sampled", "control")


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

    @property
    def seed(self) -> Any:
        return self.spec.get("seed")


@dataclass(frozen=True)
class Task:
    """One task with the answers of every model that was asked; `answers` is empty for a task without items."""

    name: str
    kind: str
    answers: dict[str, Answers] = field(default_factory=dict)

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
    observed: dict[str, Any]  # model -> drift from the base and routing, see recipes/methods/probe/observe.py
    versions: dict[str, str]
    date: float | None  # seconds since 1970

    @property
    def base_name(self) -> str:
        return str(self.manifest.spec.get("model", {}).get("name", "?"))

    @property
    def chain(self) -> list[Model]:
        """The base and what each training stage made of it, in order, all without examples in the prompt."""
        return [m for m in self.models if m.num_fewshot == 0 and m.stage != "rules"]

    def setting(self, key: str, default: float) -> float:
        """A number of the spec's [eval] table."""
        return float(self.manifest.spec.get("eval", {}).get(key, default))

    def label(self, task: str) -> str:
        """A task's name for readers: without the recipe's prefix, in words."""
        return task.removeprefix(f"{self.manifest.recipe}_").replace("_", " ")


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
    )


def load_evaluation(artefact: Path) -> Evaluation:
    """Read an evaluate artefact. Raises RecipeError for unreadable files and for models that cannot be compared."""
    manifest = load_manifest(artefact)
    index = read_json(artefact / "models.json")
    models = tuple(
        Model(m["name"], m["stage"], int(m.get("num_fewshot", 0)), artefact / m["dir"]) for m in index["models"]
    )
    results = {model.name: load_results(model.folder) for model in models}
    tasks = []
    for name, about in index["tasks"].items():
        found = {m.name: [load_answers(m, part, results[m.name]) for part in about.get("of", [name])] for m in models}
        answers = {model: together(parts) for model, parts in found.items() if all(parts)}
        _check_comparable(name, answers, artefact)
        tasks.append(Task(name, _kind(name, about.get("kind"), artefact), answers))
    first = next(iter(results.values()), {})
    return Evaluation(
        manifest=manifest,
        models=models,
        tasks=tuple(tasks),
        prompt=str(index.get("prompt", "")),
        decoding=str(index.get("decoding", "")),
        observed=index.get("observed") or {},
        versions={"lm-eval": str(first["lm_eval_version"])} if first.get("lm_eval_version") else {},
        date=first.get("date"),
    )


def _kind(task: str, declared: str | None, artefact: Path) -> str:
    """The kind that the evaluation gave a task; sampled, format and control repeat items: not in the verdict."""
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
    """Every model against the first: same items and scoring; and same prompts at the same number of shots."""
    reference = next(iter(answers.values()), None)
    first_by_shots: dict[int, Answers] = {}
    for name, current in answers.items():
        peer = first_by_shots.setdefault(current.model.num_fewshot, current)
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
