"""Public sets read from a folder instead of the hub: GSM8K, SVAMP, PubMedQA, SciTLDR as their authors publish them.

FOLDER/gsm8k/test.jsonl, FOLDER/svamp/SVAMP.json, FOLDER/pubmedqa/ori_pqal.json with test_ground_truth.json (the 500
test items), FOLDER/scitldr/test.jsonl. A recipe names the folder as `eval.published.benchmarks`, stock lm_eval by the
metadata key `benchmarks`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval.hooks import TaskDataError, json_lines

FILES = {
    "gsm8k": ("gsm8k/test.jsonl",),
    "svamp": ("svamp/SVAMP.json",),
    "pubmedqa": ("pubmedqa/ori_pqal.json", "pubmedqa/test_ground_truth.json"),
    "scitldr": ("scitldr/test.jsonl",),
}
WORDS = ("yes", "no", "maybe")


def read_local_set(name: str, folder: str | None) -> list[dict[str, Any]]:
    """The test items of a set as {"id", "question", "answer", …}.

    Raises TaskDataError where a file is missing, or an item is not of the authors' form.
    """
    paths = [Path(folder or "") / file for file in FILES[name]]
    missing = [path for path in paths if not folder or not path.is_file()]
    if missing:
        names = ", ".join(FILES[name])
        fix = f"--set eval.published.benchmarks=FOLDER, of stock lm_eval the metadata key benchmarks; with {names}"
        raise TaskDataError("a public set is not there", "eval.published.benchmarks", missing[0], fix)
    try:
        return list(READERS[name](paths))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fix = "use the file that the authors publish"
        raise TaskDataError("a public set is malformed", paths[0], f"{type(error).__name__}: {error}", fix) from error


def _gsm8k(paths: list[Path]) -> Iterator[dict[str, Any]]:
    for number, (_, item) in enumerate(json_lines(paths[0])):
        answer = item["answer"].rpartition("####")[2].strip().replace(",", "")
        float(answer)
        yield _number(f"gsm8k/{number}", item["question"].strip(), answer)


def _svamp(paths: list[Path]) -> Iterator[dict[str, Any]]:
    for item in json.loads(paths[0].read_text(encoding="utf-8")):
        asked = " ".join(f"{item['Body'].strip().rstrip('.')}. {item['Question'].strip()}".split())
        yield _number(f"svamp/{item['ID']}", asked, f"{float(item['Answer']):g}") | {"level": item["Type"]}


def _number(name: str, question: str, answer: str) -> dict[str, Any]:
    return {"id": name, "question": question, "answer": answer, "reply": f"The answer is {answer}."}


def _pubmedqa(paths: list[Path]) -> Iterator[dict[str, Any]]:
    items, gold = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    for name, answer in gold.items():
        if answer not in WORDS:
            raise ValueError(f"answer {answer!r}")
        text = "\n".join(items[name]["CONTEXTS"])
        question = f"Abstract: {text}\nQuestion: {items[name]['QUESTION']}\nAnswer yes, no or maybe."
        yield {"id": f"pubmedqa/{name}", "question": question, "answer": answer, "options": list(WORDS)}


def _scitldr(paths: list[Path]) -> Iterator[dict[str, Any]]:
    for _, item in json_lines(paths[0]):
        golds = [text.strip() for text in item["target"] if text.strip()]
        question = "Summarise this abstract in one short sentence.\n" + " ".join(item["source"])
        yield {
            "id": f"scitldr/{item['paper_id']}",
            "question": question,
            "answer": golds[0],
            "aliases": golds[1:],
            "reply": golds[0],
            "grader": "overlap",
        }


READERS = {"gsm8k": _gsm8k, "svamp": _svamp, "pubmedqa": _pubmedqa, "scitldr": _scitldr}
