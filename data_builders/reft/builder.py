"""Arithmetic word problems with worked answers: a warm-up for supervised training, then prompts for reinforcement.

Source: by default problems generated from templates written for this recipe (families.toml): everyday families, each
with problems of one to four operations; names, things and numbers are drawn, and every result on the way is a whole
number. Or GSM8K and SVAMP as published, from a folder or the hub. A reply is a natural chain (lines of arithmetic) or
a Python program that prints the answer.

Splits. Generated: *problems* tests taught families with value combinations that no training row has, half of them in a
wording that no training row has either; *transfer* tests families that are held out whole. Published: the official test
split, or three tenths of SVAMP's stories where its own file has none; training rows that hold a test item are left out.
The prompts for reinforcement are those of the supervised rows (as in ReFT, arXiv 2401.08967), or others if asked.
Every dropped row stands in ledger.jsonl with its reason.

Limits: a generated problem states all numbers it needs and no others, in one of four wordings; solving it is reading
the template and doing sums, far below what GSM8K asks for. Programs for GSM8K are made from its calculator marks, not
written by a teacher, so rows without a complete set of marks have none.
"""

import re
from collections import Counter
from pathlib import Path

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.build import Leaks, Made, count_row_tokens, finish
from data_builders.core.ledger import Ledger
from data_builders.reft import generated, published
from data_builders.reft.worked import graded_row, sft_row
from recipes.base.errors import RecipeError

VERSION = 1
FLOW = [(("rows",), ("records",)), (("records",), ("decontaminate", "test"))]  # of published files
SHIPPED = Path(__file__).parent / "corpus"
HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def corpus_dir(spec):
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


def _collected(spec, folder, seed, ledger):
    """(nodes, sft, rl, {kind: test items}) as Worked, nodes as the report reads them."""
    if spec.source == "generated":
        problems, sft, rl, tests = generated.collect(spec, folder, seed, ledger)
        return [_template(problem) for problem in problems], sft, rl, tests
    sft, rl, tests = published.collect(spec, folder, seed, ledger)
    used = {worked.node_id: worked for items in (sft, rl, *tests.values()) for worked in items}
    return [_story(worked) for worked in used.values()], sft, rl, tests


def _template(problem):
    text = "\n".join([f"{problem.result} = {problem.expression}", *problem.wordings])
    return {
        "node_id": problem.id,
        "number": "",
        "path": [problem.family, problem.id],
        "family": problem.family,
        "text": text,
    }


def _story(worked):
    return {
        "node_id": worked.node_id,
        "number": "",
        "path": [worked.family, worked.question[:60]],
        "family": worked.family,
        "text": worked.question,
    }


def forecast(spec, corpus_dir, replies=None):
    """What a build will come to: nodes, requests (none is sent), rows by file, tokens."""
    nodes, sft, rl, tests = _collected(spec, corpus_dir, 0, Ledger())
    test = sum(map(len, tests.values()))
    rows = len(sft) + len(rl) + test
    tokens = sum(count_row_tokens(sft_row(worked, spec.chain)) for worked in sft)
    return {
        "nodes": len(nodes),
        "requests": rows,
        "rows": rows,
        "sft": len(sft),
        "rl": len(rl),
        "test": test,
        "tokens": tokens,
    }


def build(spec, corpus_dir, out, seed, bar, say, replies=None):
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. No teacher is asked, so `replies` is not used. Raises RecipeError for a source that cannot be used, for test
    sizes that cannot be reached, and for leaks above the threshold.
    """
    ledger, tests_outside = Ledger(), read_benchmarks(spec.benchmarks)
    with bar("problems", None, "rows") as progress:
        nodes, sft_problems, rl_problems, test_problems = _collected(spec, corpus_dir, seed, ledger)
        sft = [sft_row(worked, spec.chain) for worked in sft_problems]
        rl = [graded_row(worked, "problem", spec.chain, spec.tolerance) for worked in rl_problems]
        tests = [
            graded_row(worked, kind, spec.chain, spec.tolerance)
            for kind, items in test_problems.items()
            for worked in items
        ]
        progress.advance(len(sft) + len(rl) + len(tests), f"{len(sft)} sft, {len(rl)} rl, {len(tests)} test")
    return finish(
        out,
        "reft",
        VERSION,
        __doc__,
        Made(nodes, sft, rl, tests),
        ledger,
        Leaks(spec.leak_threshold, outside=tests_outside),
        say,
        flow=[] if spec.source == "generated" else FLOW,
        corpus=spec.source,
        chain=spec.chain,
        operations={
            "sft": {str(key): count for key, count in sorted(Counter(w.difficulty for w in sft_problems).items())},
            "test": {str(key): count for key, count in sorted(Counter(row.difficulty for row in tests).items())},
        },
        held_out=sorted({row.family for row in tests} - {row.family for row in sft}),
    )
