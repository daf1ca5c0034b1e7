"""Write a run's report: index.html, report.md and report.json, a pure function of its artefacts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.report import review, sections
from recipes.report.items import BUCKETS, Entry, sort_items, trace
from recipes.report.load import Evaluation, load_evaluation, load_manifest
from recipes.report.render import render
from recipes.report.verdict import ALPHA, MARGIN, Comparison, Verdict, judge

SHOWN_ITEMS = 200  # of one task and one kind of change on the page; report.json names all
SHOWN_RIGHT = 20  # of the items that were right all along
GROUPS = {  # kind of task -> heading
    "field": "What the recipe teaches",
    "control": "Controls: what is there to be read is taken away",
    "format": "Form of the reply",
    "general": "General ability, retained within {}?",
}


def write_report(run_dirs: dict[str, Path], out: Path, context: dict[str, Any]) -> str:
    """Write the three files into `out` and return the verdict's sentence.

    `run_dirs` maps names of steps to artefact folders; only an evaluation is needed. `context` may hold "command", the
    line that makes the run again, "summary", the recipe's, "toml", its resolved table, and "alpha" and "margin" as the
    recipe says now. Raises RecipeError for artefacts that cannot be read and for models that cannot be compared.
    """
    manifests = {stage: load_manifest(folder) for stage, folder in run_dirs.items()}
    evaluation = load_evaluation([m.path for m in manifests.values() if m.kind == "evaluate"][-1])
    data = next((m.path for m in reversed(manifests.values()) if m.kind in ("data", "rows")), None)
    verdict = judge(
        evaluation,
        float(context.get("alpha", ALPHA)),
        float(context.get("margin", MARGIN)),
        sections.list_titles(manifests),
        sections.list_idle(manifests),
    )
    about, entries = evaluation.manifest, sort_items(evaluation)
    head = f"{about.recipe} · profile {about.profile} · base {evaluation.base_name} · seed {about.seed}"
    values = {
        "title": f"{about.recipe} · {about.profile}",
        "head": head,
        "question": "Was the tuning worth it?",
        "groups": GROUPS,
        "origin": f"lm-eval's own results and samples lie in {about.path.name}/lm_eval. This page is made from them "
        "and from the manifests alone.",
        "notes": [],
        "noise": {},
        "laboratory": evaluation.base_name == "embedded",
        "summary": str(context.get("summary", "")),
        "nodes": trace(entries, data),
        "curves": sections.curves(manifests),
        "remarks": sections.list_remarks(manifests),
        "data": sections.data_section(data, manifests),
        "review": review.kept(data),
        "costs": sections.costs(manifests.values()),
        "provenance": sections.provenance(evaluation, manifests),
        "command": sections.command(evaluation, context),
        "toml": str(context.get("toml", "")),
    }
    write_pages(evaluation, verdict, entries, values, out)
    return verdict.sentence


def write_pages(
    evaluation: Evaluation,
    verdict: Verdict,
    entries: list[Entry],
    about: dict[str, Any],
    out: Path,
    shown_items: int = SHOWN_ITEMS,
) -> None:
    """Write the three files of a report. `about` holds what is not in the answers: see `write_report`."""
    values = about | {
        "evaluation": evaluation,
        "verdict": verdict,
        "tasks": list(evaluation.tasks),
        "scores": {(s.task, s.model): s for s in verdict.scores},
        "headline": {c.task: c for c in verdict.comparisons if _is_headline(c, verdict, evaluation)},
        "pairs": _by_pair(verdict),
        "others": _other_measures(evaluation),
        "levels": _levels(evaluation),
        "buckets": _by_bucket(entries, evaluation),
        "entries": entries,
        "methods": sections.list_methods(evaluation),
        "answer_costs": sections.list_answer_costs(evaluation),
        "measures": sections.list_measures(evaluation),
        "shown": {bucket: SHOWN_RIGHT if bucket == "right" else shown_items for bucket in BUCKETS},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(_as_json(values), indent=1, ensure_ascii=False), encoding="utf-8")
    (out / "report.md").write_text(render("report.md.jinja", **values), encoding="utf-8")
    (out / "index.html").write_text(render("index.html.jinja", **values), encoding="utf-8")


def _is_headline(comparison: Comparison, verdict: Verdict, evaluation: Evaluation) -> bool:
    """The final model against the base."""
    return (comparison.model, comparison.against) == (verdict.final, evaluation.chain[0].name)


def _by_pair(verdict: Verdict) -> dict[tuple[str, str], list[Comparison]]:
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in verdict.comparisons:
        pairs.setdefault((comparison.model, comparison.against), []).append(comparison)
    return pairs


def _by_bucket(entries: list[Entry], evaluation: Evaluation) -> dict[str, dict[str, list[Entry]]]:
    """Kind of change -> task -> items, in the order of BUCKETS and of the tasks."""
    return {
        bucket: {
            task.name: found
            for task in evaluation.tasks
            if (found := [e for e in entries if e.bucket == bucket and e.task == task.name])
        }
        for bucket in BUCKETS
    }


def _other_measures(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The further metrics of the tasks, such as the share of replies that could be read, or macro-F1."""
    rows = []
    for task in evaluation.tasks:
        for metric in sorted({name for answers in task.answers.values() for name in answers.measures}):
            values = {m: a.measures[metric] for m, a in task.answers.items() if metric in a.measures}
            rows.append({"task": task.name, "metric": metric, "values": values})
    return rows


def _levels(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Scores by the level that a task's items state; items without one get their own row."""
    rows = []
    for task in evaluation.tasks:
        levels = [str(item.doc.get("level") or "no level") for item in task.first.items] if task.first else []
        for level in sorted(set(levels)) if set(levels) - {"no level"} else ():
            places = [i for i, found in enumerate(levels) if found == level]
            means = {m: sum(a.scores[i] for i in places) / len(places) for m, a in task.answers.items()}
            rows.append({"task": task.name, "level": level, "n": len(places), "means": means})
    return rows


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """The report as data: everything on the page but the replies, which stay in lm-eval's samples files."""
    evaluation, verdict = values["evaluation"], values["verdict"]
    return {
        "schema": 1,
        "recipe": evaluation.manifest.recipe,
        "profile": evaluation.manifest.profile,
        "fingerprint": evaluation.manifest.fingerprint,
        "laboratory": values["laboratory"],
        "verdict": asdict(verdict),
        "tasks": [
            {"name": t.name, "kind": t.kind, "n": t.n, "metric": t.first.metric, "hash": t.first.identity}
            if t.first
            else {"name": t.name, "kind": t.kind, "n": 0}
            for t in evaluation.tasks
        ],
        "other_measures": values["others"],
        "levels": values["levels"],
        "items": [
            {"task": e.task, "doc_id": e.doc_id, "id": e.id, "change": e.bucket, "node_id": e.node_id}
            | {"scores": {a.model: a.score for a in e.answers}}
            for e in values["entries"]
        ],
        "nodes_missed": [
            {"node_id": n.node_id, "title": n.title}
            | {"wrong": n.wrong, "asked": n.asked, "training_rows": n.training_rows}
            for n in values["nodes"].values()
        ],
        "methods": [asdict(row) for row in values["methods"]],
        "probes": evaluation.probes,
        "data": asdict(values["data"]) if values["data"] else None,
        "review": asdict(values["review"]) | {"sentence": values["review"].sentence} if values["review"] else None,
        "remarks": values["remarks"],
        "costs": [asdict(cost) for cost in values["costs"]],
        "provenance": values["provenance"],
        "prompt": evaluation.prompt,
        "command": values["command"],
        "notes": values["notes"],
        "noise": {task: asdict(test) for task, test in values["noise"].items()},
    }
