"""GSM8K, SVAMP and MathQA as their authors publish them, or as the hub lays them out.

A row is known by its fields: `question` and `answer` that ends in "#### N" (GSM8K); `Body`, `Question`, `Equation`
and `Answer`, or `Question`, `Numbers`, `Equation` and `Answer` (SVAMP, MAWPS, ASDiv-A); `Problem`, `Rationale`,
`options` and `correct` (MathQA). Files are JSON lines, a JSON list, CSV or parquet; one whose name says test is the
official test, one that says dev or challenge is left out. In SVAMP's published split dev.csv is the test. Its JSON file
has no split: where MAWPS or ASDiv-A lie beside it all of it is the test, else three tenths of the stories, by hash.

Every row of an official test is a test item, whatever its chain; what is taught has to be sound besides.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_builders.core.leaks import compare_row, find_leaks
from data_builders.core.schema import order
from data_builders.core.selection import SURPLUS
from data_builders.reft.checking import check_program, check_words
from data_builders.reft.gsm8k import read_gsm8k
from data_builders.reft.mathqa import read_mathqa
from data_builders.reft.svamp import read_svamp, read_table_row
from data_builders.reft.worked import Worked, graded_row, sft_row
from data_builders.sources.reader import count_tokens
from recipes.base.errors import RecipeError
from recipes.base.jsonl import iterate_jsonl

HIDDEN = ("socratic",)  # the hub's second configuration of GSM8K: the same problems with subquestions
KINDS = ("gsm8k", "svamp", "mathqa")


def collect(spec, folder, seed, ledger):
    """(sft, rl, {kind: test items}) of one file, or of all under a folder. Raises RecipeError where none is usable."""
    training, tests, stories = [], [], []
    for file, place, row in _rows(folder, ledger):
        read = _reader(row, spec)
        worked, fault = read(row) if read else (None, "not a row of GSM8K, SVAMP or MathQA")
        part = _part(file, row)
        if part == "left out":
            worked, fault = None, "of a development or challenge split"
        if worked is None:
            ledger.drop("rows", fault, place, json.dumps(row, ensure_ascii=False, default=str)[:120])
            continue
        ledger.keep("rows")
        {"test": tests, "train": training, "undivided": stories}[part].append(worked)
    known = any(worked.family == "mawps" for worked in training)
    for worked in stories:
        (tests if known or order("split", worked.node_id) % 10 < 3 else training).append(worked)
    training, tests = _once(training, ledger), _once(tests, ledger)
    if not training or not tests:
        raise RecipeError(
            "The source gives no problems.",
            where=str(folder),
            got=f"{len(training)} to train on, {len(tests)} to test on; {ledger.totals().get('rows', 'no file read')}",
            allowed="train and test files of GSM8K, SVAMP or MathQA (.jsonl, .json, .csv, .parquet)",
            fix='name the folder that holds them in data.source, or take "generated"',
        )
    tests = _cut(sorted(tests, key=lambda w: order(seed, "test", w.id)), spec.tests.published, "test", ledger)
    training = _clean(_sound(training, spec, ledger), tests, spec, ledger)
    training.sort(key=lambda worked: order(seed, "rows", worked.id))
    half = len(training) // 2 if spec.rl_prompts == "fresh" else len(training)
    sft = _cut(training[:half], spec.sft_rows, "sft", ledger)
    rl = _cut(training[half:] if half < len(training) else sft, spec.rl_rows, "rl", ledger)
    kinds = {kind: [worked for worked in tests if worked.family == kind] for kind in KINDS}
    known_chains = _teacher(spec)
    taught = [other for worked in sft for other in _with_teacher(worked, known_chains, spec, ledger)]
    return taught, rl, {kind: items for kind, items in kinds.items() if items}


def _reader(row: dict[str, Any], spec: Any) -> Callable | None:
    fields = row.keys()
    if {"Problem", "Rationale", "options", "correct"} <= fields:
        return lambda found: read_mathqa(found, spec.mathqa)
    if {"Question", "Numbers", "Equation", "Answer"} <= fields:
        return read_table_row
    if {"Body", "Answer"} <= fields:
        return read_svamp
    if {"question", "answer"} <= fields:
        return lambda found: read_gsm8k(found, spec.chain == "program")
    return None


def _part(file: Path, row: dict[str, Any]) -> str:
    """Which part a row of a file belongs to: train, test, left out, or undivided."""
    name = file.name.lower()
    if "Numbers" in row:
        return "test" if row.get("Type") else "train"
    if "challenge" in name:
        return "left out"
    said = re.search(r"(?:^|[^a-z])(test|train|dev|validation)(?:[^a-z]|$)", name)
    if said is None:
        return "undivided" if "Body" in row else "train"
    return {"test": "test", "train": "train"}.get(said[1], "left out")


def _sound(training: list[Worked], spec: Any, ledger: Any) -> list[Worked]:
    """The problems whose chain may be taught, with a question that is not too long."""
    kept = []
    for worked in training:
        fault = worked.fault if spec.chain == "natural" else None
        if spec.chain == "program" and worked.program is None and not worked.options:
            fault = "no program whose every number comes from the question"
        if spec.prompt_tokens and count_tokens(worked.question) > spec.prompt_tokens:
            fault = "the question is longer than data.prompt_tokens"
        if fault:
            ledger.drop("sound", fault, worked.id, worked.question[:120])
        else:
            ledger.keep("sound")
            kept.append(worked)
    return kept


def _teacher(spec: Any) -> dict[str, list[str]]:
    """{question: chains} of the file that a spec names."""
    found: dict[str, list[str]] = {}
    if spec.teacher_chains:
        path = Path(spec.teacher_chains).expanduser()
        if not path.is_file():
            raise RecipeError("The teacher's chains are not there.", where="data.teacher_chains", got=str(path))
        for row in iterate_jsonl(path):
            found.setdefault(" ".join(str(row["question"]).split()), []).append(str(row["chain"]).strip())
    return found


def _with_teacher(worked: Worked, known: dict[str, list[str]], spec: Any, ledger: Any) -> Iterator[Worked]:
    """A problem with each different chain of the teacher's that holds; with its own where there is none."""
    accepted = []
    for chain in dict.fromkeys(known.get(" ".join(worked.question.split()), ())):
        check = check_program if spec.chain == "program" else check_words
        fault = check(worked.question, chain, worked.answer)
        if fault:
            ledger.drop("teacher", re.sub(r"number \S+", "number", fault), worked.id, chain[:120])
        else:
            ledger.keep("teacher")
            accepted.append(chain)
    name = "program" if spec.chain == "program" else "thinking"
    for chain in accepted:
        yield replace(worked, **{name: chain}, lineage=worked.lineage | {"chain": "teacher"})
    if not accepted:
        yield worked


def _rows(folder, ledger):
    """(file, "file:row", object) of every row under a folder; a line that does not parse goes into the ledger."""
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    for file in files:
        if any(part in HIDDEN for part in file.parts) or file.suffix not in (".jsonl", ".json", ".csv", ".parquet"):
            continue
        if file.suffix == ".parquet":
            import pyarrow.parquet

            rows = enumerate(pyarrow.parquet.read_table(file).to_pylist(), 1)
        elif file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as lines:
                rows = list(enumerate(csv.DictReader(lines), 1))
        else:
            rows = _json_rows(file, ledger)
        for number, row in rows:
            if isinstance(row, dict):
                yield file, f"{file.name}:{number}", row
            else:
                ledger.drop("rows", "not a JSON object", f"{file.name}:{number}", str(row)[:120])


def _json_rows(file, ledger):
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".json":
        try:
            whole = json.loads(text)
            if isinstance(whole, list):
                yield from enumerate(whole, 1)
                return
        except json.JSONDecodeError:
            pass  # a file of lines under another name
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                ledger.drop("rows", "line is not JSON", f"{file.name}:{number}", str(error))


def _once(records, ledger):
    """Without exact repeats of a question."""
    seen, kept = set(), []
    for worked in records:
        key = " ".join(worked.question.casefold().split())
        if key in seen:
            ledger.drop("records", "exact duplicate", worked.id, worked.question[:120])
            continue
        seen.add(key)
        ledger.keep("records")
        kept.append(worked)
    return kept


def _cut(records, size, step, ledger):
    """The first `size` records; of the others only the number is kept, since a whole data set may be left over."""
    if len(records) > size:
        ledger.drop(step, SURPLUS, "", count=len(records) - size)
    ledger.keep(step, len(records[:size]))
    return records[:size]


def _clean(training, tests, spec, ledger):
    """The training records of which no row holds a test item (data_builders/core/leaks.py)."""
    items = [compare_row(graded_row(worked, worked.family, spec.chain, spec.tolerance)) for worked in tests]
    rows = {sft_row(worked, spec.chain).id: worked for worked in training}
    compared = [compare_row(sft_row(worked, spec.chain)) for worked in training]
    hits = {hit["row"]: hit for hit in find_leaks(compared, items)}
    kept = []
    for name, worked in rows.items():
        if name in hits:
            ledger.drop(
                "decontaminate", f"{hits[name]['kind']} overlap with a test item", worked.id, hits[name]["text"]
            )
        else:
            ledger.keep("decontaminate")
            kept.append(worked)
    return kept
