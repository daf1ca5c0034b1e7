"""What the lm-eval tasks call: load the rows, show the question, score the reply with the graders.

lm-eval hands `load` the task's `dataset_kwargs` and the metadata of the run, from `TaskManager(metadata={...})` or from
the command line's `--metadata '{...}'` (there with the model arguments mixed in). Metadata keys:

data      folder of a data artefact: test.jsonl is evaluated, sft.jsonl gives the few-shot examples
general   JSONL file of general test rows; by default the one beside the embedded model
amsbench  JSON file of AMSBench-TQA; by default it is fetched from the hub
sciriff   JSONL file of SciRIFF's validation rows; by default they are fetched from the hub
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from eval.benchmarks.sciriff import DATASET as SCIRIFF
from eval.benchmarks.sciriff import rows as sciriff_rows
from eval.graders import grade, is_readable
from eval.graders.reply import extract_answer, format_score
from recipes.base.options import LETTERS
from recipes.base.places import GENERAL_TEST
from recipes.base.reply_form import Exchange, render_prompt, render_reply

VERSION = 1
Parsed = TypeVar("Parsed", dict, list)

AMSBENCH = "wwhhyy/AMSBench"
AMSBENCH_ITEMS = 1257
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

log = logging.getLogger(__name__)


class TaskDataError(ValueError):
    """The data of a task is missing, malformed or leaks: what is wrong, where, what was got, what to do."""

    def __init__(self, what: str, where: object, got: object, fix: str):
        super().__init__(f"{what}\n  where: {where}\n  got:   {got}\n  fix:   {fix}")


class NoTestRows(TaskDataError):
    """The data is sound but holds no row of the task's kind: a corpus without formulas has no calculations."""


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
    **_: object,
) -> dict:
    """The task's rows as {"test": Dataset, "train": Dataset}; "train" holds the few-shot examples and may be empty.

    source is "recipe" (test.jsonl), "general", "amsbench" or "sciriff"; `kind` keeps the rows of one kind, `sample` an
    even choice of at most so many, `grader` replaces the rows' own, `shots` names the kinds of training rows to draw
    from. Raises NoTestRows when no row is left, and TaskDataError when a file is missing or malformed, a gold reply is
    graded wrong, or a few-shot example is a test row.
    """
    folder = Path(data) if data else None
    if source == "recipe":
        path = _existing(folder and folder / "test.jsonl", "data", "a data artefact's folder, with test.jsonl")
        rows = _test_rows(path)
    elif source == "general":
        path = _existing(Path(general) if general else GENERAL_TEST, "general", "a JSONL file of general test rows")
        rows = _test_rows(path)
    elif source == "amsbench":
        path = Path(amsbench) if amsbench else _fetch_amsbench()
        rows = _amsbench_rows(_existing(path, "amsbench", "the JSON file of AMSBench-TQA"))
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


def _amsbench_rows(path: Path) -> list[dict]:
    items = _parsed(path.read_text(encoding="utf-8"), str(path), list)
    keys = {key for item in items for key in ("groundtruth", "ground_truth") if key in item}
    if len(keys) != 1:
        raise TaskDataError(
            "the gold key of an AMSBench file must be 'groundtruth' or 'ground_truth', the same for every item",
            path, sorted(keys) or "neither", "use the benchmark's own multiple-choice file",
        )  # fmt: skip
    if len(items) != AMSBENCH_ITEMS:
        log.warning("AMSBench-TQA has %d items, %s holds %d", AMSBENCH_ITEMS, path, len(items))
    return [_amsbench_row(f"{path}, item {number}", number, item, *keys) for number, item in enumerate(items)]


def _amsbench_row(where: str, number: int, item: dict, gold_key: str) -> dict:
    options: Any = item.get("options")
    letters = "".join(sorted(options)) if isinstance(options, dict) else ""
    gold = str(item.get(gold_key, "")).strip()
    usable = "question" in item and letters and letters == LETTERS[: len(letters)]
    if not usable or len(gold) != 1 or gold not in letters:
        got = f"question {'question' in item}, options {options!r}, {gold_key} {gold!r}"
        fix = "an item needs a question, options that map A, B, C ... to texts, and one of these letters as gold"
        raise TaskDataError("an AMSBench item is malformed", where, got, fix)
    listed = [options[letter] for letter in letters]
    asked = Exchange(question=str(item["question"]), options=tuple(listed))
    return {
        "id": f"amsbench-tqa-{number:04d}",
        "prompt": [{"role": "user", "content": render_prompt(asked)}],
        "answer": gold,
        "reply": render_reply(Exchange(question=asked.question, answer=gold)),
        "options": listed,
        "grader": "choice",
        "kind": "amsbench",
        "level": item.get("level") or "no level",
    }


def _fetch_amsbench() -> Path:
    from huggingface_hub import hf_hub_download, list_repo_files

    fix = 'download the file and name it: metadata {"amsbench": "PATH"}'
    try:
        names = [name for name in list_repo_files(AMSBENCH, repo_type="dataset") if name.endswith(".json")]
        names = [name for name in names if "tqa" in name.lower()]
        if len(names) == 1:
            return Path(hf_hub_download(AMSBENCH, names[0], repo_type="dataset"))
    except Exception as error:  # the hub client raises errors of its own, of its HTTP library and of the system
        raise TaskDataError(
            "AMSBench could not be fetched", AMSBENCH, f"{type(error).__name__}: {error}", fix
        ) from error
    raise TaskDataError("the hub dataset does not hold exactly one JSON file of TQA", AMSBENCH, names, fix)


def json_lines(path: Path) -> Iterator[tuple[str, dict]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
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
