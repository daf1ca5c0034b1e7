"""What the lm-eval tasks call: load the rows, show the question, score the reply with the graders.

lm-eval hands `load` the task's `dataset_kwargs` and the metadata of the run, from `TaskManager(metadata={...})` or from
the command line's `--metadata '{...}'` (there with the model arguments mixed in). Metadata keys:

data      folder of a data artefact: test.jsonl is evaluated, sft.jsonl gives the few-shot examples
general   JSONL file of general test rows; by default the one beside the embedded model
amsbench  JSON file of AMSBench-TQA, or a folder with the files of all its parts; by default fetched from the hub
sciriff   JSONL file of SciRIFF's validation rows; by default they are fetched from the hub
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from eval.benchmarks.amsbench import amsbench_rows
from eval.benchmarks.sciriff import DATASET as SCIRIFF
from eval.benchmarks.sciriff import rows as sciriff_rows
from eval.errors import NoTestRows, TaskDataError
from eval.graders import grade, is_readable
from eval.graders.reply import extract_answer, format_score
from recipes.base.places import GENERAL_TEST

VERSION = 1
Parsed = TypeVar("Parsed", dict, list)

SHOTS = 256  # few-shot examples are drawn from this many training rows, spread evenly over the file

IMAGE = "<image>"  # where lm-eval shows an image of a document

# Fields of a document, in the order in which lm-eval hashes them, with their column types.
FIELDS = {
    **dict.fromkeys(
        ("id", "answer", "reply", "grader", "kind", "unit", "level", "node_id", "fact_id", "family"), "str"
    ),
    **{"prompt": "turns", "options": "strs", "aliases": "strs", "tolerance": "float", "difficulty": "int"},
}
SEEN = FIELDS | {"images": "strs"}  # of documents some of which have images, as paths from the data artefact


def load(
    *,
    source: str,
    kind: str | None = None,
    sample: int | None = None,
    grader: str | None = None,
    shots: Iterable[str] = (),
    data: str | None = None,
    general: str | None = None,
    amsbench: str | None = None,
    sciriff: str | None = None,
    part: str = "tqa",
    prompt: str = "ours",
    **_: object,
) -> dict:
    """The task's rows as {"test": Dataset, "train": Dataset}; "train" holds the few-shot examples and may be empty.

    source is "recipe" (test.jsonl), "general", "amsbench" or "sciriff"; `kind` keeps the rows of one kind, `sample` an
    even choice of at most so many, `grader` replaces the rows' own, `shots` names the kinds of training rows to draw
    from; `part` and `prompt` are those of AMSBench. Raises NoTestRows when no row is left, and TaskDataError when a
    file is missing or malformed, a gold reply is graded wrong, or a few-shot example is a test row.
    """
    folder = Path(data) if data else None
    if source == "recipe":
        path = _existing(folder and folder / "test.jsonl", "data", "a data artefact's folder, with test.jsonl")
        rows = _test_rows(path)
    elif source == "general":
        path = _existing(Path(general) if general else GENERAL_TEST, "general", "a JSONL file of general test rows")
        rows = _test_rows(path)
    elif source == "amsbench":
        path, rows = Path(amsbench or "AMSBench"), amsbench_rows(amsbench, part, prompt)
    elif source == "sciriff":
        path, rows = Path(sciriff or SCIRIFF), sciriff_rows(sciriff)
    else:
        raise TaskDataError("unknown source", "dataset_kwargs", source, "use recipe, general, amsbench or sciriff")
    chosen = [row | ({"grader": grader} if grader else {}) for row in rows if kind in (None, row["kind"])]
    if not chosen:
        kinds = ", ".join(f"{count} {name}" for name, count in Counter(row["kind"] for row in rows).items())
        raise NoTestRows(
            f"no test row of kind {kind!r}", path, kinds or "no rows", "build the data again or leave this task out"
        )
    train = _train_rows(folder / "sft.jsonl", set(shots)) if folder and shots else []
    _refuse_leaks(train, rows, path)
    return {"test": as_dataset(spread(chosen, sample)), "train": as_dataset(spread(train, SHOTS))}


def question(doc: dict) -> str:
    """The user turn of a row, behind one placeholder for each of its images."""
    return IMAGE * len(doc.get("images") or ()) + doc["prompt"][0]["content"]


def score(doc: dict, replies: list[str]) -> dict[str, float]:
    """Metrics of a reply: acc (the grade), parsed (an answer was read), and acc_<level> where the row has a level."""
    (reply,) = replies
    if doc["grader"] == "format":
        return {"acc": format_score(reply), "parsed": float(extract_answer(reply) is not None)}
    right = grade(doc, reply)
    by_level = {f"acc_{doc['level'].lower().replace(' ', '_')}": right} if doc["level"] else {}
    return {"acc": right, "parsed": float(is_readable(doc, reply)), **by_level}


def _existing(path: Path | None, key: str, meaning: str) -> Path:
    if path is None or not path.is_file():
        fix = f'give {meaning}: metadata {{"{key}": "PATH"}}, or --metadata \'{{"{key}": "PATH"}}\' on the command line'
        raise TaskDataError("the rows of an evaluation task are not there", f"metadata key {key!r}", path, fix)
    return path


def _test_rows(path: Path) -> list[dict]:
    """The rows of a test, each graded once a process, however many tasks and models they are read for."""
    stat = path.stat()
    return list(_proven_rows(path, stat.st_ino, stat.st_size, stat.st_mtime_ns))


@cache
def _proven_rows(path: Path, inode: int, size: int, changed: int) -> tuple[dict, ...]:
    rows = []
    for where, row in json_lines(path):
        if missing := {"id", "prompt", "answer", "reply", "grader", "kind"} - row.keys():
            raise TaskDataError(
                "a test row lacks fields", where, f"no {', '.join(sorted(missing))}", "build the data again"
            )
        _single_turn(where, row)
        lost = [image for image in row.get("images", ()) if not (path.parent / image).is_file()]
        if lost:
            raise TaskDataError("an image of a test row is not there", where, lost[0], "build the data again")
        kept: dict[str, Any] = {field: row.get(field) for field in SEEN}
        try:
            gold = grade(kept, kept["reply"])
        except ValueError as error:
            raise TaskDataError("a test row cannot be graded", where, error, "correct the row") from error
        if gold != 1.0:
            raise TaskDataError(
                "a gold reply is graded wrong", where, kept["reply"], "correct the row's answer or reply"
            )
        rows.append(kept)
    return tuple(rows)


def _train_rows(path: Path, kinds: set[str]) -> list[dict]:
    """Training rows of the given kinds as few-shot examples; none when the artefact has no sft.jsonl."""
    rows = []
    for where, row in json_lines(path) if path.is_file() else ():
        if row["kind"] in kinds:
            _single_turn(where, row)
            rows.append(
                {
                    "id": row["id"],
                    "prompt": row["prompt"],
                    "reply": row["completion"][0]["content"],
                    "kind": row["kind"],
                }
            )
    return rows


def _refuse_leaks(train: list[dict], test: list[dict], path: Path) -> None:
    ids, questions = {row["id"] for row in test}, {question(row) for row in test}
    leaks = [row["id"] for row in train if row["id"] in ids or question(row) in questions]
    if leaks:
        got = f"{len(leaks)} few-shot rows are in the evaluated split, the first is {leaks[0]}"
        raise TaskDataError("training rows leak into the test", path, got, "build the data again with the leak gate on")


def json_lines(path: Path) -> Iterator[tuple[str, dict]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{path}:{number}", _parsed(line, f"{path}:{number}", dict)


def _parsed(text: str, where: str, kind: type[Parsed]) -> Parsed:
    """The JSON object or list in the text."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise TaskDataError("not JSON", where, error, "build or download the data again") from error
    if not isinstance(value, kind):
        raise TaskDataError(f"expected a JSON {kind.__name__}", where, text[:80], "build or download the data again")
    return value


def _single_turn(where: str, row: dict) -> None:
    roles = [turn["role"] for turn in row["prompt"]]
    if roles != ["user"]:
        raise TaskDataError(
            "lm-eval shows one user turn a row", where, f"turns {roles}", "make the prompt one user turn"
        )


def spread(rows: list[dict], limit: int | None) -> list[dict]:
    """At most `limit` rows at even distances, so that every kind and node has its share."""
    return rows if limit is None or len(rows) <= limit else [rows[i * len(rows) // limit] for i in range(limit)]


def as_dataset(rows: list[dict]):
    from datasets import Dataset, Features, List, Value

    types = {"str": Value("string"), "strs": List(Value("string")), "int": Value("int64"), "float": Value("float64")}
    types["turns"] = List({"role": Value("string"), "content": Value("string")})
    fields = SEEN if any(row.get("images") for row in rows) else FIELDS
    features = Features({field: types[type_name] for field, type_name in fields.items()})
    return Dataset.from_dict({field: [row.get(field) for row in rows] for field in fields}, features=features)
