"""GSM8K and SVAMP as their authors publish them, or as the hub datasets openai/gsm8k and ChilleD/SVAMP lay them out.

A row is known by its fields: `question` and `answer` that ends in "#### N" (GSM8K), or `Body`, `Question`, `Equation`
and `Answer` (SVAMP). Files are JSON lines, a JSON list, or parquet; one whose name says test is the official test.
SVAMP's own file has no split: there three tenths of the stories, chosen by their hash, are the test.
"""

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from data_builders.core import arithmetic
from data_builders.core.leaks import compare_row, find_leaks
from data_builders.core.ledger import Ledger
from data_builders.core.read_cache import read_once
from data_builders.core.schema import order
from data_builders.core.selection import SURPLUS
from data_builders.reft.spec import Spec
from data_builders.reft.worked import Chain, Worked, graded_row, sft_row
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id
from recipes.base.reply_form import holds_mark

MARK = re.compile(r"<<([^<>]*)=([^<>=]*)>>")
NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)")
HIDDEN = ("socratic",)  # the hub's second configuration of GSM8K: the same problems with subquestions
LONGEST = 4000  # characters of a question or chain


def collect(
    spec: Spec, folder: Path, seed: int, ledger: Ledger
) -> tuple[list[Worked], list[Worked], dict[str, list[Worked]]]:
    """(sft, rl, {kind: test items}) of one file, or of all under a folder. Raises RecipeError where none is usable."""

    def read(entries: Ledger) -> tuple[list[Worked], list[Worked]]:
        return read_problems(folder, spec.chain, entries)

    training, tests = read_once(read, folder, ledger, "word problems", spec.chain)
    if not training or not tests:
        raise RecipeError(
            "The source gives no problems.",
            where=str(folder),
            got=f"{len(training)} to train on, {len(tests)} to test on; {ledger.totals().get('rows', 'no file read')}",
            allowed="train and test files of GSM8K or SVAMP (.jsonl, .json, .parquet)",
            fix='name the folder that holds them in data.source, or take "generated"',
        )
    tests = _cut(sorted(tests, key=lambda w: order(seed, "test", w.id)), spec.tests.published, "test", ledger)
    training = _clean(training, tests, spec, ledger)
    training.sort(key=lambda worked: order(seed, "rows", worked.id))
    half = len(training) // 2 if spec.rl_prompts == "fresh" else len(training)
    sft = _cut(training[:half], spec.sft_rows, "sft", ledger)
    rl = _cut(training[half:] if half < len(training) else sft, spec.rl_rows, "rl", ledger)
    kinds = {kind: [worked for worked in tests if worked.family == kind] for kind in ("gsm8k", "svamp")}
    return sft, rl, {kind: items for kind, items in kinds.items() if items}


def read_problems(folder: Path, chain: Chain, ledger: Ledger) -> tuple[list[Worked], list[Worked]]:
    """(problems to train on, problems to test on) of one file, or of all under a folder, each question once."""
    training, tests = [], []
    for file, place, row in _rows(folder, ledger):
        read = _gsm8k if {"question", "answer"} <= row.keys() else _svamp if {"Body", "Answer"} <= row.keys() else None
        worked, fault = read(row) if read else (None, "neither a GSM8K nor a SVAMP row")
        if worked is not None and chain == "program" and worked.program is None:
            fault = "no program: the calculation does not lead to the answer"
        if worked is None or fault:
            ledger.drop("rows", fault or "", place, json.dumps(row, ensure_ascii=False, default=str)[:120])
            continue
        ledger.keep("rows")
        official = re.search(r"(?:^|[^a-z])(test|train|dev|validation)(?:[^a-z]|$)", file.name.lower())
        held = official[1] == "test" if official else order("split", worked.node_id) % 10 < 3
        (tests if held else training).append(worked)
    return _once(training, ledger), _once(tests, ledger)


def _rows(folder, ledger):
    """(file, "file:row", object) of every row under a folder; a line that does not parse goes into the ledger."""
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    for file in files:
        if any(part in HIDDEN for part in file.parts) or file.suffix not in (".jsonl", ".json", ".parquet"):
            continue
        if file.suffix == ".parquet":
            import pyarrow.parquet

            rows = enumerate(pyarrow.parquet.read_table(file).to_pylist(), 1)
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


def gold_number(text: Any) -> str | None:
    """A stated answer as a plain decimal ("$1,200.50" is "1200.5"), or None."""
    bare = str(text).strip().replace(",", "").replace("$", "").rstrip(".%").strip()
    return arithmetic.text(Fraction(bare)) if NUMBER.fullmatch(bare) and bare != "." else None


def _gsm8k(row):
    """(Worked, None), or (None, reason)."""
    question, chain = str(row["question"]).strip(), str(row["answer"]).strip()
    body, mark, stated = chain.rpartition("####")
    answer = gold_number(stated) if mark else None
    if not mark:
        return None, 'the answer has no "####"'
    if answer is None:
        return None, "the stated answer is not a number"
    fault = _unfit(question, body)
    if fault:
        return None, fault
    steps = MARK.findall(body)
    return (
        Worked(
            node_id=stable_id("gsm8k", question),
            family="gsm8k",
            question=question,
            thinking=re.sub(r"<<[^<>]*>>", "", body).strip(),
            solution=f"The answer is {answer}.",
            plan="The steps are worked out one by one.",
            program=_program(steps, answer),
            answer=answer,
            difficulty=len(steps),
            lineage={"source": "gsm8k"},
        ),
        None,
    )


def _svamp(row):
    """(Worked, None), or (None, reason)."""
    body, asked = str(row["Body"]).strip(), str(row.get("Question", "")).strip()
    question = " ".join(f"{body.rstrip('.')}{'.' if asked[:1].isupper() else ','} {asked}".split())
    answer, equation = gold_number(row["Answer"]), str(row.get("Equation", ""))
    if answer is None:
        return None, "the stated answer is not a number"
    fault = _unfit(question if asked else "", equation)
    if fault:
        return None, fault
    try:
        tree = arithmetic.parse(equation.strip(), [], "Equation")
        line = arithmetic.steps(tree, {})
        result = arithmetic.text(arithmetic.evaluate(tree, {}))
    except (RecipeError, arithmetic.NotExact):
        return None, "the equation cannot be worked out exactly"
    if result != answer:
        return None, "the equation does not give the stated answer"
    return (
        Worked(
            node_id=stable_id("svamp", body),
            family="svamp",
            question=question,
            thinking=" = ".join(line),
            solution=f"The answer is {answer}.",
            plan="The numbers of the question go into one expression.",
            program=f"print({line[0].replace('^', '**')})",
            answer=answer,
            difficulty=arithmetic.operations(tree),
            lineage={"source": "svamp"},
        ),
        None,
    )


def _unfit(question, chain):
    if not question or not chain.strip():
        return "empty question or chain"
    if len(question) > LONGEST or len(chain) > LONGEST:
        return f"longer than {LONGEST} characters"
    return "think or answer tag inside a field" if holds_mark(question + chain) else None


def _program(steps, answer):
    """A program of GSM8K's calculator marks that prints the answer; None where they do not lead to it.

    A number that an earlier step has computed becomes that step's name.
    """
    lines, values = [], {}
    for number, (expression, _) in enumerate(steps, 1):
        code = re.sub(r"(?<![\d.])(\d+(?:\.\d+)?)%", r"(\1/100)", expression.replace(",", "").replace("$", ""))
        code = re.sub(r"\b0+(?=\d)", "", code.replace("x", "*").replace(" ", ""))
        try:
            value = arithmetic.evaluate(arithmetic.parse(code, [], "mark"), {})
        except (RecipeError, arithmetic.NotExact, SyntaxError, OverflowError):
            return None
        for name, earlier in values.items():
            code = re.sub(rf"(?<![\d.\w]){re.escape(earlier)}(?![\d.])", name, code)
        lines.append(f"v{number} = {code}")
        values[f"v{number}"] = _shown(value)
    if not lines or _shown(value) != answer:
        return None
    return "\n".join([*lines, f"print(v{len(lines)})"])


def _shown(value):
    try:
        return arithmetic.text(value)
    except arithmetic.NotExact:
        return str(value)


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
