"""Arithmetic word problems with worked answers: a warm-up for supervised training, then prompts for reinforcement.

Source: by default problems generated from templates written for this recipe (families.toml, transfer.toml): everyday
families, each with problems of one to four operations; names, things and numbers are drawn, and every result on the
way is a whole number. Or GSM8K, SVAMP (with MAWPS and ASDiv-A) and MathQA as published, from a folder or the hub. A
reply is a natural chain or a Python program that prints the answer. A chain is written in one of four ways, drawn for
each row, so that there are other paths to find; a teacher's chains for published problems are taken from a file, each
checked: its sums, where each of its numbers comes from, and its answer.

Splits. Generated: *problems* tests taught families with value combinations that no training row has, half of them in
a wording that no training row has either; *transfer* tests families that are held out whole and whose formula no
trained family has in other words. Published: the official test split, every item of it, or three tenths of SVAMP's
stories where its own file stands alone; training rows that hold a test item are left out, as are those whose chain is
unsound. The prompts for reinforcement are those of the supervised rows (as in ReFT, arXiv 2401.08967), or others if
asked. Every dropped row stands in ledger.jsonl with its reason.

Limits: a generated problem states all numbers it needs and no others, in one of four wordings; solving it is reading
the template and doing sums, far below what GSM8K asks for. Programs for GSM8K are made from its calculator marks, not
written by a teacher, so rows without a sound set of marks have none: they are not taught as programs, but tested.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.build import Leaks, Made, count_row_tokens, finish
from data_builders.core.ledger import Ledger
from data_builders.core.progress import Bar, Say
from data_builders.reft import generated, published
from data_builders.reft.spec import Spec
from data_builders.reft.worked import Worked, graded_row, sft_row
from recipes.base.errors import RecipeError

VERSION = 2
FLOW = [
    (("rows",), ("records",)),
    (("records",), ("sound", "test")),
    (("sound",), ("decontaminate",)),
]  # of published files
SHIPPED = Path(__file__).parent / "corpus"
HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def corpus_dir(spec: Spec) -> Path:
    """The folder or file that a spec's source stands for; a hub name is fetched (its files only, once).

    A name "owner/name" that exists here is the folder. Raises RecipeError where there is nothing.
    """
    if spec.source == "generated":
        return SHIPPED
    path = Path(spec.source).expanduser()
    if path.exists():
        return path
    if not HUB.fullmatch(spec.source):
        raise RecipeError(
            "The source is not there.",
            where="data.source",
            got=f'"{spec.source}"',
            allowed='"generated", a folder or file that exists, or a hub name "owner/name"',
            fix=f"correct the path; it starts from {Path.cwd()}",
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(spec.source, repo_type="dataset", allow_patterns=["*.json", "*.jsonl", "*.parquet"])
        )
    except Exception as error:  # the hub client raises errors of its own, of its HTTP library and of the system
        raise RecipeError(
            "The hub dataset could not be fetched.",
            where="data.source",
            got=f"{spec.source}: {type(error).__name__}: {error}",
            allowed="openai/gsm8k or ChilleD/SVAMP with a connection, or a folder",
            fix="download the dataset and name its folder in data.source",
        ) from error


@dataclass(frozen=True)
class Plan:
    """What becomes rows: `nodes` as the report reads them, the problems of each file, the test items by kind."""

    nodes: list[dict[str, Any]]
    sft: list[Worked]
    rl: list[Worked]
    tests: dict[str, list[Worked]]


def plan(spec: Spec, folder: Path, seed: int, ledger: Ledger) -> Plan:
    """The problems of all files, for the forecast as for the build."""
    if spec.source == "generated":
        problems, sft, rl, tests = generated.collect(spec, folder, seed, ledger)
        return Plan([_template(problem) for problem in problems], sft, rl, tests)
    sft, rl, tests = published.collect(spec, folder, seed, ledger)
    used = {worked.node_id: worked for items in (sft, rl, *tests.values()) for worked in items}
    return Plan([_story(worked) for worked in used.values()], sft, rl, tests)


def _template(problem: generated.Problem) -> dict[str, Any]:
    text = "\n".join([f"{problem.result} = {problem.expression}", *problem.wordings])
    return {
        "node_id": problem.id,
        "number": "",
        "path": [problem.family, problem.id],
        "family": problem.family,
        "text": text,
    }


def _story(worked: Worked) -> dict[str, Any]:
    return {
        "node_id": worked.node_id,
        "number": "",
        "path": [worked.family, worked.question[:60]],
        "family": worked.family,
        "text": worked.question,
    }


def forecast(spec: Spec, corpus_dir: Path, replies: Path | None = None) -> dict[str, Any]:
    """What a build will come to: nodes, requests (none is sent), rows by file, tokens."""
    planned = plan(spec, corpus_dir, 0, Ledger())
    by_file = {"sft": len(planned.sft), "rl": len(planned.rl), "test": sum(map(len, planned.tests.values()))}
    rows = sum(by_file.values())
    tokens = sum(count_row_tokens(sft_row(worked, spec.chain)) for worked in planned.sft)
    return {"nodes": len(planned.nodes), "requests": rows, "rows": rows, **by_file, "tokens": tokens}


def build(
    spec: Spec, corpus_dir: Path, out: Path, seed: int, bar: Bar, say: Say, replies: Path | None = None
) -> dict[str, Any]:
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. No teacher is asked, so `replies` is not used. Raises RecipeError for a source that cannot be used, for test
    sizes that cannot be reached, and for leaks above the threshold.
    """
    ledger, tests_outside = Ledger(), read_benchmarks(spec.benchmarks)
    with bar("problems", None, "rows") as progress:
        planned = plan(spec, corpus_dir, seed, ledger)
        sft = [sft_row(worked, spec.chain) for worked in planned.sft]
        rl = [graded_row(worked, "problem", spec.chain, spec.tolerance) for worked in planned.rl]
        tests = [
            graded_row(worked, kind, spec.chain, spec.tolerance)
            for kind, items in planned.tests.items()
            for worked in items
        ]
        progress.advance(len(sft) + len(rl) + len(tests), f"{len(sft)} sft, {len(rl)} rl, {len(tests)} test")
    return finish(
        out,
        "reft",
        VERSION,
        __doc__,
        Made(planned.nodes, sft, rl, tests, answer_as=spec.answer_as),
        ledger,
        Leaks(spec.leak_threshold, outside=tests_outside),
        say,
        flow=[] if spec.source == "generated" else FLOW,
        corpus=spec.source,
        chain=spec.chain,
        operations={
            "sft": {str(key): count for key, count in sorted(Counter(w.difficulty for w in planned.sft).items())},
            "test": {str(key): count for key, count in sorted(Counter(row.difficulty for row in tests).items())},
        },
        held_out=sorted({row.family for row in tests} - {row.family for row in sft}),
    )
