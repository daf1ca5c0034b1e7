"""AMSBench (arXiv 2505.24138): multiple-choice questions on analog circuits that are asked in text.

The TQA part is one JSON list of 1,257 items {question, options {letter: text}, groundtruth, level}; LDO, Comparator,
Bandgap, Opamp and Caption have the same form with the key ground_truth. An item of another form is left out, counted
and named; a file in which more than one in twenty is, is refused.

`prompt: official` asks as the authors' script for the image tasks does (Why0912/AMSBench, "test models.py": question,
options as Python shows a dictionary, the letter asked for in bold; its system line is the task's `description`), and
`score_official` reads as it does: the first letter of the reply's last word.
"""

import json
import logging
import re
from pathlib import Path

from eval.errors import TaskDataError
from recipes.base.options import LETTERS
from recipes.base.reply_form import Exchange, render_prompt, render_reply

VERSION = 2

HUB = "wwhhyy/AMSBench"
SIZES = {"tqa": 1257, "ldo": 50, "comparator": 25, "bandgap": 50, "opamp": 12, "caption": 83}
LEVELS = ("graduate", "undergraduate")  # of TQA; a hundred items have none
MOST_ODD = 0.05  # share of a file's items
OFFICIAL = "{question}{options}.The final response format as“**<correct option letter>**”"

log = logging.getLogger(__name__)


def amsbench_rows(file: str | None, part: str = "tqa", prompt: str = "ours") -> list[dict]:
    """Rows of one part: of its JSON file, of the folder that holds the files of all parts, or of the hub.

    Raises TaskDataError where there is no such file, or it is of another form.
    """
    path = find_part(Path(file), part) if file else _fetch(part)
    rows, odd = read_part(path, part, prompt)
    if odd:
        log.warning("%s: %d of %d items left out: %s", path, len(odd), len(rows) + len(odd), "; ".join(odd[:3]))
    if len(rows) + len(odd) != SIZES[part]:
        log.warning("AMSBench %s has %d items, %s holds %d", part, SIZES[part], path, len(rows) + len(odd))
    return rows


def find_part(path: Path, part: str) -> Path:
    """The one file of a part under a folder; a file stands for itself."""
    if path.is_file():
        return path
    found = _named([str(name) for name in sorted(path.rglob("*.json"))], part) if path.is_dir() else []
    if len(found) == 1:
        return Path(found[0])
    given = '{"amsbench": "PATH"}'
    fix = f"give its file, or the folder of all parts (a name holds {part}): metadata {given}, or --metadata '{given}'"
    raise TaskDataError("the rows of an evaluation task are not there", "metadata key 'amsbench'", found or path, fix)


def _named(files: list[str], part: str) -> list[str]:
    return [file for file in files if part in re.split(r"[^a-z]+", file.rpartition("/")[2].casefold())]


def read_part(path: Path, part: str, prompt: str = "ours") -> tuple[list[dict], list[str]]:
    """(rows, what is wrong with each item that is left out) of a file."""
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TaskDataError("not JSON", path, error, "download the data again") from error
    if not isinstance(items, list):
        raise TaskDataError("expected a JSON list", path, str(items)[:80], "use the benchmark's own file")
    keys = {key for item in items if isinstance(item, dict) for key in ("groundtruth", "ground_truth") if key in item}
    if len(keys) != 1:
        raise TaskDataError(
            "the gold key of an AMSBench file must be 'groundtruth' or 'ground_truth', the same for every item",
            path, sorted(keys) or "neither", "use the benchmark's own multiple-choice file",
        )  # fmt: skip
    rows, odd = [], []
    for number, item in enumerate(items):
        fault = _fault(item, *keys)
        if fault:
            odd.append(f"item {number}: {fault}")
        else:
            rows.append(_row(number, item, *keys, part, prompt))
    if len(odd) > MOST_ODD * len(items):
        fix = "an item needs a question, options that map A, B, C ... to texts, and one of these letters as gold"
        raise TaskDataError("too many AMSBench items are malformed", path, f"{len(odd)}: {'; '.join(odd[:5])}", fix)
    return rows, odd


def _fault(item: object, gold_key: str) -> str | None:
    if not isinstance(item, dict):
        return f"not an object: {str(item)[:60]!r}"
    options, gold = item.get("options"), str(item.get(gold_key, "")).strip()
    letters = "".join(sorted(options)) if isinstance(options, dict) else ""
    if not str(item.get("question") or "").strip():
        return "no question"
    if not letters or letters != LETTERS[: len(letters)]:
        return f"options {str(options)[:80]}"
    return None if len(gold) == 1 and gold in letters else f"{gold_key} {gold!r} for options {letters}"


def _row(number: int, item: dict, gold_key: str, part: str, prompt: str) -> dict:
    options, gold = item["options"], str(item[gold_key]).strip()
    level = str(item.get("level") or "").strip()
    asked = Exchange(question=str(item["question"]), options=tuple(options[letter] for letter in sorted(options)))
    ours = prompt == "ours"
    content = render_prompt(asked) if ours else OFFICIAL.format(question=item["question"], options=options)
    reply = render_reply(Exchange(question=asked.question, answer=gold)) if ours else f"**{gold}**"
    return {
        "id": f"amsbench-{part}-{number:04d}",
        "prompt": [{"role": "user", "content": content}],
        "answer": gold,
        "reply": reply,
        "options": list(asked.options or ()),
        "grader": "choice",
        "kind": "amsbench",
        "level": (level if level.casefold() in LEVELS else "no level") if part == "tqa" else "",
    }


def score_official(doc: dict, replies: list[str]) -> dict[str, float]:
    """acc and parsed as the authors' script scores: the first letter of the last word, in whatever place it stands."""
    words = replies[0].split()
    found = re.search("[A-Za-z]", words[-1]) if words else None
    right = float(found is not None and found[0].upper() == doc["answer"])
    by_level = {f"acc_{doc['level'].lower().replace(' ', '_')}": right} if doc["level"] else {}
    return {"acc": right, "parsed": float(found is not None), **by_level}


def _fetch(part: str) -> Path:
    from huggingface_hub import hf_hub_download, list_repo_files

    fix = 'download the file and name it: metadata {"amsbench": "PATH"}'
    try:
        names = _named([name for name in list_repo_files(HUB, repo_type="dataset") if name.endswith(".json")], part)
        if len(names) == 1:
            return Path(hf_hub_download(HUB, names[0], repo_type="dataset"))
    except Exception as error:  # the hub client raises errors of its own, of its HTTP library and of the system
        raise TaskDataError("AMSBench could not be fetched", HUB, f"{type(error).__name__}: {error}", fix) from error
    raise TaskDataError(f"the hub dataset does not hold exactly one JSON file of {part}", HUB, names, fix)
