"""Inspect: logs `.eval` (a zip) and `.json`, or a folder of them; one log is one task.

Source of the form: inspect_ai 0.3.285, log/_log.py and log/_recorders/eval.py. Newer logs are packed with Zstandard,
which Python reads from 3.14 on, or with the package zipfile-zstd.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.report.answers import Answers, Item, Model
from recipes.report.jsonfiles import read_json
from recipes.report.readers import Choice, hash_of, make_score

FORM = "an Inspect log (.eval or .json), or a folder of them"
WORDS = {"C": 1, "P": 0.5, "I": 0, "N": 0, "yes": 1, "true": 1, "no": 0, "false": 0}  # as inspect_ai maps them


def is_mine(path: Path) -> bool:
    return path.suffix in (".eval", ".json") or (path.is_dir() and bool(_list_logs(path)))


def _list_logs(folder: Path) -> list[Path]:
    """In the order of their names, which begin with the time; `results_*.json` are lm-eval's and lighteval's."""
    others = [file for file in folder.glob("*.json") if not file.name.startswith("results_")]
    return sorted([*folder.glob("*.eval"), *others])


def read(path: Path, model: Model, choice: Choice) -> dict[str, Answers]:
    """The newest log of each task; a score that was taken in several epochs is their mean."""
    found = {}
    for file in _list_logs(path) if path.is_dir() else [path]:
        log, samples = _open(file)
        task = str(log["eval"]["task"]).rsplit("/", 1)[-1]
        if not choice.wants(task):
            continue
        if log.get("status") != "success":
            raise RecipeError("This evaluation did not end well", where=str(file), got=f"status {log.get('status')}")
        found[task] = _make_answers(samples, model, log, choice, str(file))
    return found


def _open(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(header, samples) of one log."""
    try:
        if file.suffix == ".json":
            log = read_json(file)
            return {"eval": log["eval"]} | log, log.get("samples") or []
        if not hasattr(zipfile, "ZIP_ZSTANDARD"):
            with contextlib.suppress(ImportError):
                __import__("zipfile_zstd")  # teaches zipfile the method where it is installed
        with zipfile.ZipFile(file) as packed:
            names = [name for name in packed.namelist() if name.startswith("samples/")]
            return json.loads(packed.read("header.json")), [json.loads(packed.read(name)) for name in names]
    except NotImplementedError as error:
        raise RecipeError(
            "This log is packed with Zstandard, which this Python does not read",
            where=str(file),
            fix="`pip install zipfile-zstd`, or `inspect log convert --to json`",
        ) from error
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise RecipeError("This is no Inspect log", where=str(file), got=f"{type(error).__name__}: {error}") from error


def _make_answers(
    samples: list[dict[str, Any]], model: Model, log: dict[str, Any], choice: Choice, where: str
) -> Answers:
    epochs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in samples:
        epochs[str(sample["id"])].append(sample)
    scorer = choice.metric or next(iter(samples[0].get("scores") or {}), "") if samples else ""
    items = []
    for number, (name, drawn) in enumerate(sorted(epochs.items())):
        if len({sample["epoch"] for sample in drawn}) < len(drawn):
            raise RecipeError("An item was logged twice", where=where, got=name)
        scores = [_score(sample, scorer, f"{where}, sample {name}") for sample in drawn]
        first = drawn[0]
        asked = [[m["role"], m["content"]] for m in _before_reply(first.get("messages") or [])]
        doc = dict(first.get("metadata") or {})
        items.append(
            Item(
                doc_id=number,
                doc=doc | {"id": name, "options": first.get("choices") or []},
                question=first["input"] if isinstance(first["input"], str) else str(first["input"][-1].get("content")),
                gold=str(first["target"]),
                reply=str((first.get("output") or {}).get("completion") or ""),
                score=sum(scores) / len(scores),
                doc_hash=hash_of([_without_ids(first["input"]), first.get("choices")]),
                prompt_hash=hash_of(_without_ids(asked)),
                target_hash=hash_of(first["target"]),
                source=str(doc.get(choice.node) or "") if choice.node else "",
            )
        )
    about = log["eval"]
    return Answers(model, scorer, str(about.get("task_version", "")), {}, {}, tuple(items))


def _score(sample: dict[str, Any], scorer: str, where: str) -> float:
    if scorer not in (sample.get("scores") or {}):
        raise RecipeError("A sample has no score", where=where, got=str((sample.get("error") or {}).get("message", "")))
    value = sample["scores"][scorer]["value"]
    return make_score(WORDS.get(value, value) if isinstance(value, str) else value, where)


def _before_reply(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    replies = (place for place, message in enumerate(messages) if message["role"] == "assistant")
    return messages[: next(replies, len(messages))]


def _without_ids(value: Any) -> Any:
    """Messages and parts of them without the ids that Inspect draws for each run."""
    if isinstance(value, dict):
        return {key: _without_ids(inner) for key, inner in value.items() if key != "id"}
    return [_without_ids(inner) for inner in value] if isinstance(value, list) else value
