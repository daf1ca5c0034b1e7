"""The parts of a report that are neither scores nor answers: training curves, data, cost, provenance."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_builders.core.ledger import unbalanced
from recipes.report import stats
from recipes.report.charts import Curve
from recipes.report.jsonfiles import read_json, read_rows
from recipes.report.load import Evaluation, Manifest

TEXT = ("documents", "pages", "pieces", "nodes")  # steps of the ledger that count pieces of text, each of its own kind
ROWS = ("replies", "records", "judge", "sft", "rl", "knowledge", "calculation", "transfer", "decontamination")
STEP_NAMES = {
    "documents": "documents read",
    "pages": "pages of PDF",
    "pieces": "pieces of text",
    "nodes": "learning nodes",
    "replies": "replies of the teacher, through the gates",
    "records": "records, without duplicates",
    "judge": "records that the judge lets pass",
    "sft": "chosen for supervised tuning",
    "rl": "chosen for reinforcement",
    "knowledge": "chosen for the knowledge test",
    "calculation": "chosen for the calculation test",
    "transfer": "chosen for the transfer test",
    "decontamination": "training rows, without items of other test sets",
}
QUANTITIES = {  # key of training.jsonl -> title, note, is a share
    "loss": ("Loss", "per trained token", False),
    "reward": ("Reward", "mean of a step", False),
    "frac_reward_zero_std": ("Groups without spread", "% of groups", True),
    "completion_length": ("Reply length", "tokens", False),
    "kl": ("KL to the start", "nats per token", False),
    "own_share": ("Own rows on their experts", "% of router weight", True),
    "general_share": ("General rows on theirs", "% of router weight", True),
}


@dataclass(frozen=True)
class MethodRow:
    """A model answering in another way beside its own plain answers, on the items that both answered."""

    task: str
    model: str  # "sft · self_consistency"
    plain: float
    score: float
    test: stats.Paired  # this way - plain


@dataclass(frozen=True)
class AnswerCost:
    """What one answer takes, as a mean: tokens of the prompt and of the reply, and seconds where it was asked now."""

    task: str
    model: str
    prompt_tokens: float
    reply_tokens: float
    seconds: float | None


@dataclass(frozen=True)
class Measure:
    """One quantity that a probe measured of the models.

    Attributes:
        labels: columns, such as kinds of text; [""] for a single number.
        numbers: model -> its numbers, beside `labels`.
        maps: model -> row -> for each label its numbers, for quantities that are tables themselves.
    """

    probe: str
    title: str
    unit: str
    labels: list[str]
    numbers: dict[str, list[float]]
    maps: dict[str, dict[str, list[list[float]]]]

    def top(self, model: str) -> float:
        """The largest number of a model's table, for the scale of shades."""
        return max((value for line in self.maps[model].values() for cells in line for value in cells), default=1.0)


@dataclass(frozen=True)
class Step:
    """One step of the data's way: what came in, what was kept, and how much was dropped for which reason.

    `scale` is the most that came into a step of the same unit: the full width of the step's bar.
    """

    name: str
    came: int
    kept: int
    reasons: dict[str, int]
    scale: int
    rows: bool  # counts rows, as the steps beside it do; else pieces of text of its own kind


@dataclass(frozen=True)
class DataSection:
    """The data artefact: its card, the ledger's steps, and what the leak gate found.

    `faults` says what does not add up in the ledger, a sentence each, and `handed_on` whether the builder says which
    step hands on to which, so that this was looked at too. `similarity` is the card's:
    threshold, number of records compared, and their number by the similarity of the nearest; empty where there is none.
    """

    card: dict[str, str]
    steps: list[Step]
    leaks: dict[str, Any]  # leaks.json as it is; empty where there is none
    faults: list[str]
    handed_on: bool
    similarity: dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """Predicted and actual time and memory of one stage; None where unknown."""

    stage: str
    seconds: float | None
    predicted_seconds: float | None
    memory: int | None
    predicted_memory: float | None
    gpu: int | None
    predicted_gpu: float | None
    tokens: int | None


def curves(manifests: dict[str, Manifest]) -> dict[str, list[Curve]]:
    """Stage title -> curves, for every training stage that left a training.jsonl."""
    found = {}
    for name, manifest in manifests.items():
        if not manifest.title:
            continue
        rows = list(read_rows(manifest.path / "training.jsonl"))
        drawn = [
            Curve(name, note, points, share)
            for key, (name, note, share) in (QUANTITIES | quantities_of(manifest.logs)).items()
            if len(points := tuple(_points(rows, key))) > 1
        ]
        if drawn:
            found[manifest.title if name == manifest.kind else f"{manifest.title}: {name}"] = drawn
    return found


def quantities_of(logs: dict[str, list[str]]) -> dict[str, tuple[str, str, bool]]:
    """What methods say of their own quantities, in the form of QUANTITIES; where that has the key it counts."""
    return {key: (title, unit, unit.startswith("%")) for key, (title, unit) in logs.items() if key not in QUANTITIES}


def list_titles(manifests: dict[str, Manifest]) -> dict[str, str]:
    """{step: what it does, as a sentence says}; a step that is not called as its kind says its name too."""
    return {
        name: m.title[:1].lower() + m.title[1:] if name == m.kind else f"{m.title[:1].lower() + m.title[1:]} ({name})"
        for name, m in manifests.items()
        if m.title
    }


def list_idle(manifests: dict[str, Manifest]) -> dict[str, str]:
    """{step: why there was nothing that it could learn}."""
    return {name: str(m.metrics["nothing_learnt"]) for name, m in manifests.items() if m.metrics.get("nothing_learnt")}


def list_remarks(manifests: dict[str, Manifest]) -> dict[str, list[str]]:
    """{title of a step that trains: sentences about it}."""
    idle, found = list_idle(manifests), {}
    for name, manifest in manifests.items():
        told = [f"Nothing could be learnt: {idle[name]}."] if name in idle else []
        if told := told + [str(text) for text in manifest.metrics.get("remarks") or []]:
            found[list_titles(manifests).get(name, name)] = told
    return found


def list_measures(evaluation: Evaluation) -> list[Measure]:
    """Everything that probes measured, with the titles and units that they declare; quantities without are left out."""
    found = []
    for probe, about in evaluation.probes.items():
        for key, (title, unit) in about["logs"].items():
            values = {model: value[key] for model, value in about["values"].items() if key in value}
            if values:
                found.append(_make_measure(probe, title, unit, values))
    return found


def _make_measure(probe: str, title: str, unit: str, values: dict[str, Any]) -> Measure:
    """Numbers, numbers by label, or tables: row -> label -> numbers."""
    first = next(iter(values.values()))
    if not isinstance(first, dict):
        return Measure(probe, title, unit, [""], {model: [float(value)] for model, value in values.items()}, {})
    if not isinstance(next(iter(first.values()), None), dict):
        numbers = {model: [float(value[label]) for label in first] for model, value in values.items()}
        return Measure(probe, title, unit, list(first), numbers, {})
    labels = list(next(iter(first.values())))
    maps = {
        model: {short_name(row): [cells[label] for label in labels] for row, cells in value.items()}
        for model, value in values.items()
    }
    return Measure(probe, title, unit, labels, {}, maps)


def short_name(layer: str) -> str:
    """The name of a layer without what all of them have in common."""
    return layer.removeprefix("model.layers.").replace(".mlp.", " ").replace(".self_attn.", " ")


def list_methods(evaluation: Evaluation) -> list[MethodRow]:
    """Every way to answer that differs from plain answers in decoding or items, beside those of the same model."""
    plain = {m.stage: m.name for m in evaluation.models if not m.method}
    rows = []
    for task in evaluation.tasks:
        for name, answers in task.others.items():
            own = task.answers.get(plain.get(answers.model.stage, ""))
            twin = own.restrict_to(answers) if own else None
            if twin is not None:
                test = stats.paired(answers.scores, twin.scores, answers.clusters)
                rows.append(MethodRow(evaluation.label(task.name), name, twin.mean, answers.mean, test))
    return rows


def list_answer_costs(evaluation: Evaluation) -> list[AnswerCost]:
    """What one answer to a task of the field takes, of every model and way to answer that writes replies."""
    return [
        AnswerCost(
            evaluation.label(task.name), model.name, found["prompt_tokens"], found["reply_tokens"], found["seconds"]
        )
        for task in evaluation.tasks
        if task.kind == "field"
        for model in evaluation.models
        if (found := model.cost.get(task.name))
    ]


def data_section(folder: Path | None, manifests: dict[str, Manifest] | None = None) -> DataSection | None:
    """From card.json, whose `ledger` holds in, kept and reasons of every step, and leaks.json, and from what the
    `manifests` of training say of rows that were too long; None for None."""
    if folder is None:
        return None
    card, leaks = (read_json(folder / f) if (folder / f).is_file() else {} for f in ("card.json", "leaks.json"))
    ledger = card.get("ledger", {}) | _count_lengths(manifests or {})
    order = {name: place for place, name in enumerate((*TEXT, *ROWS))}
    most = max((ledger[name]["in"] for name in ledger if name not in TEXT), default=0)
    steps = [
        Step(
            str(STEP_NAMES.get(name, name)),
            ledger[name]["in"],
            ledger[name]["kept"],
            ledger[name]["reasons"],
            ledger[name]["in"] if name in TEXT else most,
            name not in TEXT,
        )
        for name in sorted(ledger, key=lambda name: (order.get(name, len(order)), name))
    ]
    shown = flatten({k: v for k, v in card.items() if k not in ("ledger", "flow", "leaks", "similarity")})
    flow = card.get("flow", [])
    return DataSection(shown, steps, leaks, unbalanced(ledger, flow), bool(flow), card.get("similarity", {}))


def _count_lengths(manifests: dict[str, Manifest]) -> dict[str, dict[str, Any]]:
    """{step of the ledger: counts} of the rows that a training step left out or cut."""
    found = {name: manifest.metrics["lengths"] for name, manifest in manifests.items() if "lengths" in manifest.metrics}
    return {
        f"{name}: rows as long as max_length" + (f" ({counts['cut']} cut)" if counts["cut"] else ""): counts
        for name, counts in found.items()
    }


def costs(manifests: Iterable[Manifest]) -> list[Cost]:
    return [
        Cost(
            stage=m.stage,
            seconds=m.seconds,
            predicted_seconds=m.predicted.get("seconds"),
            memory=m.peak_memory_bytes,
            predicted_memory=m.predicted.get("memory_bytes"),
            gpu=m.peak_gpu_bytes,
            predicted_gpu=m.predicted.get("gpu_bytes"),
            tokens=m.metrics.get("tokens"),
        )
        for m in manifests
    ]


def provenance(evaluation: Evaluation, manifests: dict[str, Manifest]) -> dict[str, str]:
    """What a reader needs to know where the numbers come from, as label -> text."""
    about = evaluation.manifest.provenance
    model = evaluation.manifest.spec.get("model", {})
    versions = {**about.get("versions", {}), **evaluation.versions}
    commit = str(about.get("git_commit") or "unknown")
    rows = {
        "Base model": " ".join(str(model[k]) for k in ("name", "revision", "dtype") if model.get(k)),
        "Models": ", ".join(f"{m.name} ({m.num_fewshot}-shot)" if m.num_fewshot else m.name for m in evaluation.models),
        "Decoding": evaluation.decoding,
        "Seed": str(evaluation.manifest.seed),
        "Commit": commit + (" with local changes" if about.get("git_dirty") else ""),
        "Device": str(about.get("device", "")),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Evaluated": str(about.get("finished", "")),
    }
    rows |= {f"Artefact {stage}": f"{m.path.name}, fingerprint {m.fingerprint}" for stage, m in manifests.items()}
    return {label: text for label, text in rows.items() if text}


def command(evaluation: Evaluation, context: dict[str, Any]) -> str:
    """The command that makes this run again: the caller's, else from the manifest's argv."""
    if context.get("command"):
        return str(context["command"])
    arguments = [str(a) for a in evaluation.manifest.provenance.get("argv", [])][1:]
    if not arguments:
        arguments = ["run", evaluation.manifest.recipe, "--profile", evaluation.manifest.profile]
    return shlex.join(["python", "-m", "recipes", *arguments])


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested tables as 'a.b' -> text, lists of plain values joined; the order is kept."""
    flat: dict[str, str] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict):
            flat |= flatten(inner, f"{name}.")
        elif isinstance(inner, list):
            flat[name] = ", ".join(" ".join(map(str, v.values())) if isinstance(v, dict) else str(v) for v in inner)
        elif inner is not None and inner != "":
            flat[name] = f"{inner:,}" if isinstance(inner, int) and not isinstance(inner, bool) else str(inner)
    return flat


def _points(rows: list[dict[str, Any]], key: str) -> Iterable[tuple[float, float]]:
    for row in rows:
        value = row.get(key)
        if isinstance(value, (int, float)) and value == value and abs(value) != float("inf"):
            yield float(row.get("step", 0)), float(value)
