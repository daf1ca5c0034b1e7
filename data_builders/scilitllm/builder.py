"""Scientific literature for continued pre-training, synthetic instructions on it, and published benchmarks.

Source: by default reports on invented substances, written from templates of this repository (world/reports.toml), a
quarter of them bad: hearsay that contradicts the others, boilerplate, garbled text; a third of the good ones are
damaged as scans are. Or any folder of documents (PDF, LaTeX, HTML, Markdown, JSONL), with the published sets PubMedQA
and SciTLDR beside them. Documents are repaired, scored for quality by a teacher's labels and a learned head, and cut;
what is left is pre-trained on. Synthetic rows of six kinds (SciLitIns, arXiv 2408.15545) are written by a teacher on
keywords drawn from the documents, checked, deduplicated and judged with their answers in view.

Splits. *facts* asks closed-book about substances of which no supervised row speaks: what is answered was read in
pre-training. *extraction*, *choice*, *true_false* and *molecules* give their text; its substances and its molecules
occur in no training row. *pubmedqa* is the official test of 500 ids, *scitldr* the official test; of both only what is
not tested is trained or pre-trained on. Training rows that overlap with a test item are taken out. Every dropped piece
stands in ledger.jsonl with its reason.

Limits: the substances do not exist, and a report is a handful of sentences from 24 templates, so remembering and
reading them is far below what papers ask for; that bad documents differ from good ones in style is by construction.
Closed-book facts are made for the generated corpus only. What a model as teacher writes is as right as the model:
nobody has checked it, tests included. Without RDKit only the form of a SMILES string is checked.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.build import Leaks, Made, finish
from data_builders.core.judge import judge_bill
from data_builders.core.leaks import KINDS
from data_builders.core.ledger import Ledger
from data_builders.core.progress import Bar, Say
from data_builders.core.schema import Node, order
from data_builders.core.selection import SURPLUS, in_turns
from data_builders.core.table import general_rows
from data_builders.core.text_quality import label_bill
from data_builders.llm import REPLIES
from data_builders.llm.bill import Lengths, bill, together
from data_builders.scilitllm import published, synthesis, texts
from data_builders.scilitllm.expert import Expert
from data_builders.scilitllm.facts import fact_rows
from data_builders.scilitllm.keywords import keyword_table
from data_builders.scilitllm.molecules import checker
from data_builders.scilitllm.reports import FOLDER, Substance
from data_builders.scilitllm.rows import graded_row, sft_row
from data_builders.scilitllm.spec import Spec
from data_builders.scilitllm.tasks import TASKS
from data_builders.sources.repair import repair_bill, repaired, statuses
from recipes.base.errors import RecipeError
from recipes.base.general_rows import Counts, iterate_general_rows
from recipes.base.rows import GradedRow, SftRow

VERSION = 2
FLOW = [(("synthesis",), ("similar",)), (("similar",), ("judge",)), (("judge",), ("sft", "test"))]
JUDGED_TOKENS = 300  # of an exchange of the expert with its text, as a judge reads it
ROW_TOKENS = 70  # of a supervised row, as the card counts; measured on the generated world


def corpus_dir(spec: Spec) -> Path:
    """The folder that a spec's source stands for. Raises RecipeError where it is not there."""
    if spec.source == "generated":
        return FOLDER
    folder = Path(spec.source).expanduser()
    if folder.is_dir():
        return folder
    raise RecipeError(
        "The source is not there.",
        where="data.source",
        got=f'"{spec.source}"',
        allowed='"generated", or a folder of documents, pubmedqa/ and scitldr/',
        fix=f"correct the path; it starts from {Path.cwd()}",
    )


def _wanted(spec: Spec) -> dict[tuple[str, str], int]:
    """{(task, split): jobs}, none where the expert has nothing to write about: it knows the generated world alone."""
    if spec.source != "generated" and spec.teacher.kind == "expert":
        return {}
    wanted, kinds = {}, Counter(task.kind for task in TASKS.values())
    for name, task in TASKS.items():
        tests = -(-getattr(spec.tests, task.kind) // kinds[task.kind])
        for split, rows in (("test", tests), ("sft", spec.teacher.rows)):
            wanted[name, split] = round(rows * spec.teacher.surplus + 0.499)
    return wanted


@dataclass(frozen=True)
class Plan:
    """What rows are made from: substances of the generated world, published examples, nodes; and what becomes of them:
    `facts` (closed-book rows to learn, to test) and `wanted` synthetic rows, {(task, split): jobs}."""

    known: list[Substance]
    examples: list[published.Example]
    nodes: list[Node]
    facts: tuple[list[SftRow], list[GradedRow]]
    wanted: dict[tuple[str, str], int]


def plan(spec: Spec, folder: Path, seed: int, ledger: Ledger) -> Plan:
    """What is read and what is made of it, for the forecast as for the build."""
    known, examples, nodes = texts.read(spec, folder, seed, ledger)
    return Plan(known, examples, nodes, fact_rows(known, nodes, spec.tests.facts, seed), _wanted(spec))


def _teaches(spec: Spec, planned: Plan) -> bool:
    """Whether the spec asks for training rows; a folder of documents alone may be read in pre-training only."""
    published_rows = spec.published_rows and any(example.split == "train" for example in planned.examples)
    return bool(planned.facts[0] or published_rows or (planned.wanted and spec.teacher.rows))


def forecast(spec: Spec, corpus_dir: Path, replies: Path | None = None) -> dict[str, Any]:
    """What a build will come to, without asking anyone: nodes, requests, rows by file, tokens; a model's `bill`."""
    planned = plan(spec, corpus_dir, 0, Ledger())
    nodes, facts, wanted = planned.nodes, planned.facts, planned.wanted
    share = 1 if spec.cut == "none" else spec.quality.share
    sft = sum(spec.teacher.rows for _, split in wanted if split == "sft")
    test = sum(getattr(spec.tests, kind) for kind in {task.kind for task in TASKS.values()}) if wanted else 0
    counts = Counter((example.set, example.split) for example in planned.examples)
    sft += len(facts[0]) + sum(min(spec.published_rows, counts[name, "train"]) for name in published.SETS)
    test += len(facts[1]) + sum(min(spec.tests.published, counts[name, "test"]) for name in published.SETS)
    requests = sum(wanted.values())
    return {
        "nodes": len(nodes),
        "requests": requests,
        "rows": sft + test,
        "sft": sft,
        "sft_general": len(_general(spec)[0]),
        "cpt": round(len(nodes) * share),
        "cpt_tokens": round(sum(node.n_tokens for node in nodes) * share),
        "rl": 0,
        "test": test,
        "tokens": sft * ROW_TOKENS,
        **_bill(spec, nodes, requests, Lengths(replies)),
    }


def _general(spec):
    """(general rows of the first supervised stage, how they were read).

    Raises RecipeError where there are fewer than asked for, or where one has no known form.
    """
    counts = Counts()
    rows = list(islice(iterate_general_rows(general_rows(spec), False, counts), spec.general_rows))
    if len(rows) < spec.general_rows:
        raise RecipeError(
            "There are too few general rows.",
            where=str(general_rows(spec)),
            got=f"{len(rows)} rows",
            allowed=f"data.general_rows = {spec.general_rows} rows or more",
            fix=f"set data.general_rows to {len(rows)}, or name a larger file in data.general",
        )
    named = {"kind": "world", "node_id": "general", "fact_id": "", "family": "general"}
    lineage = {"lineage": {"file": spec.general}}
    return [named | lineage | {"id": f"general-{number:06d}"} | row for number, row in enumerate(rows)], counts


def _bill(spec, nodes, requests, lengths):
    """{"bill": …} where a model is asked for anything."""
    read = [node.text for node in nodes]
    typical = synthesis.Job("multiple_choice", "", "sft", ("keyword",) * spec.keywords.count, 0)
    asked = [repair_bill(spec.repair, read, lengths)]
    asked += [label_bill(spec.quality, read, lengths)] if spec.cut == "quality" else []
    written = JUDGED_TOKENS
    if spec.teacher.kind != "expert":
        written = lengths.of("synthesis", spec.teacher.model, spec.teacher.reply_tokens)
        asked.append(bill(spec.teacher, requests, requests * synthesis.chat(typical, "").size, requests * written))
    asked.append(judge_bill(spec.judge, synthesis.read_rubric(synthesis.RUBRIC), [""] * requests, written, lengths))
    whole = together(asked) | {"guessed": sorted(lengths.guessed)}
    return {"bill": whole} if whole["requests"] else {}


def build(
    spec: Spec, corpus_dir: Path, out: Path, seed: int, bar: Bar, say: Say, replies: Path | None = None
) -> dict[str, Any]:
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. `replies` is the file of a model's stored replies (default: in `out`), from which an interrupted build goes
    on. Raises RecipeError for a source that cannot be used, for test sizes that cannot be reached, for leaks above the
    threshold, where a model's endpoint, budget or replies end the run, and where no training row is left.
    """
    path, ledger, (general, counts) = replies or out / REPLIES, Ledger(), _general(spec)
    if read := counts.describe():
        say(f"{spec.general}: {read}")
    tests_outside = read_benchmarks(spec.benchmarks)
    planned = plan(spec, corpus_dir, seed, ledger)
    nodes = planned.nodes
    documents, spent = repaired(spec.repair, [(node.node_id, node.text) for node in nodes], path, bar, say)
    domains = {node.node_id: node.family for node in nodes}
    entries = [
        {"id": entry["id"], "node_id": entry["doc_id"], "text": entry["text"]}
        for document in documents
        for entry in document.entries(spec.entry_words)
    ]
    cpt, cut = texts.cut(spec, entries, seed, path, ledger, bar, say)
    for reason, count in counts.left_out.items():
        ledger.drop("general rows", reason, spec.general, count=count)
    told = {"repair": statuses(documents) | spent, "cut": cut, **({"general_read": read} if read else {})}
    made, tests = [], []
    if planned.wanted:
        made, tests, about = _synthesised(spec, planned, entries, domains, seed, path, ledger, bar, say)
        told |= about
    learnt, asked = planned.facts
    trained, examined = published.rows(planned.examples, spec, seed, ledger)
    sft = sorted([*learnt, *made, *trained], key=lambda row: order(seed, "sft", row.id))
    return finish(
        out,
        "scilitllm",
        VERSION,
        __doc__,
        Made(
            nodes,
            sft,
            [],
            [*asked, *tests, *examined],
            {"cpt": cpt, "sft_general": general},
            teaches=_teaches(spec, planned),
            answer_as=spec.answer_as,
        ),
        ledger,
        Leaks(spec.leak_threshold, (), tests_outside, KINDS),
        say,
        flow=FLOW,
        source=spec.source,
        **told,
    )


def _synthesised(spec, planned, entries, domains, seed, path, ledger, bar, say):
    """(training rows, test rows, what the card tells of them)

    The keyword tables are of all texts, before the cut, so that the rows do not depend on how the corpus was cut.
    """
    by_domain = defaultdict(list)
    for entry in entries:
        by_domain[domains[entry["node_id"]]].append(entry["text"])
    tables = [keyword_table(name, own, spec.keywords.documents) for name, own in sorted(by_domain.items())]
    tables = [table for table in tables if len(table.counts) > 1]
    if not tables:
        raise RecipeError(
            "No domain has keywords.",
            where="data.keywords.documents",
            got=f"{len(by_domain)} domains, no word in {spec.keywords.documents} documents of one",
            allowed="two words or more of a domain",
            fix="lower data.keywords.documents, or name more documents",
        )
    told = {table.domain: table.told(spec.keywords.temperature) for table in tables}
    for name, table in told.items():
        say(f"keywords of {name}: {table['words']} words, rare ones {table['rare_mass_drawn']:.1%} of the draws")
    jobs = synthesis.jobs(tables, planned.wanted, spec.keywords, seed)
    expert = Expert({substance.name for substance in planned.known})
    records, about = synthesis.records(spec, jobs, expert, path, ledger, bar, say)
    tests = [
        graded_row(record, mean)
        for kind in dict.fromkeys(task.kind for task in TASKS.values())
        for record, mean in _taken(records, "test", kind, getattr(spec.tests, kind), seed, ledger)
    ]
    sft = [
        sft_row(record, mean)
        for name in TASKS
        for record, mean in _taken(records, "sft", name, spec.teacher.rows, seed, ledger)
    ]
    return sft, tests, {"keywords": told, "molecules_checked_by": checker(), **about}


def _taken(records, split, name, size, seed, ledger):
    """The first `size` judged records of a split and a task (training) or kind (test), tasks taking turns."""
    means = {
        record: mean
        for record, mean in records
        if record.split == split and name in (record.task, TASKS[record.task].kind)
    }
    spread = in_turns(means, lambda record: record.task, seed)
    if split == "test" and len(spread) < size:
        raise RecipeError(
            "Too few test items.",
            where=f"data.tests.{name}",
            got=f"{len(spread)} of {size}",
            allowed="as many as the synthesis leaves",
            fix=f"raise data.teacher.surplus, or set data.tests.{name} to {len(spread)}",
        )
    for record in spread[size:]:
        ledger.drop(split, SURPLUS, record.id, record.question[:120])
    ledger.keep(split, len(spread[:size]))
    return [(record, means[record]) for record in spread[:size]]
