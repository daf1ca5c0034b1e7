"""Question–thinking–solution–answer records about analog circuits, made from a textbook by a teacher.

Source: the corpus of the recipe, either the mini-textbook shipped with it or any folder of Markdown, Quarto, HTML,
LaTeX, PDF, JSONL or plain text. A learning node is the cleaned text under one heading. Nodes with stated facts and
formulas give multiple-choice, open and calculation records over five stances; other nodes give records taken from their
sentences. That is the expert teacher. A model as teacher is given every node as a document and makes open and
multiple-choice records of it: one agent asks, one answers with its reasoning, one edits. Where the recipe says so,
damaged text is restored before anyone reads it (repair.jsonl tells what came of each chunk), and records are judged in
the aspects of rubric.toml before they become rows (lineage.judge holds the mean).

Splits are by source group. *transfer* tests whole nodes that are held out; *knowledge* tests wordings of taught facts
that never occur in training (of a model: other questions on taught nodes); *calculation* tests value combinations that
occur in no training row. Training rows are checked against every test item (leaks.json), and every dropped piece stands
in ledger.jsonl with its reason.

Limits: the expert teacher states what its sources state; it cannot judge truth, ask across two facts or derive.
Questions taken from plain sentences test recall of a phrase, not understanding. Numbers are chosen for exact, short
arithmetic, so difficulty is that of mental arithmetic. Right options are even over the letters by construction. A
model's records are as right as the model: nobody has checked its answers, tests included.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from data_builders.analogseeker.agent_plan import AgentPlanner, prompt_versions
from data_builders.analogseeker.card import told
from data_builders.analogseeker.checks import bills_of, mended, without_weak
from data_builders.analogseeker.coverage import describe_coverage, measure_coverage, measure_quantities
from data_builders.analogseeker.duplicates import without_duplicates
from data_builders.analogseeker.extractive import mine_facts
from data_builders.analogseeker.forms import with_statements
from data_builders.analogseeker.gates import first_failed
from data_builders.analogseeker.plan import Planner
from data_builders.analogseeker.proof import CHOSEN, prove
from data_builders.analogseeker.protocol import PROMPT_VERSION, Request
from data_builders.analogseeker.records import Qtsa
from data_builders.analogseeker.rows import graded_row, sft_row
from data_builders.analogseeker.spec import Spec
from data_builders.analogseeker.teach import taught
from data_builders.core.arithmetic import operations, parse
from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.build import Leaks, Made, finish
from data_builders.core.leaks import KINDS
from data_builders.core.ledger import Ledger, require_rows
from data_builders.core.progress import Bar, Say
from data_builders.core.schema import order
from data_builders.core.selection import first, in_turns
from data_builders.llm import REPLIES
from data_builders.llm.bill import Lengths, together
from data_builders.sources.reader import Corpus, read_corpus
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id
from recipes.base.jsonl import write_json

VERSION = 4
SHIPPED = Path(__file__).parent / "corpus"
ROW_TOKENS = 90  # of an sft row, counted as in the card; measured on the shipped corpus


def corpus_dir(spec: Spec) -> Path:
    """The folder that holds the corpus of a spec."""
    return SHIPPED if spec.corpus == "shipped" else Path(spec.corpus).expanduser()


def read(spec: Spec, folder: Path, ledger: Ledger) -> Corpus:
    """The corpus of a spec; `ledger` takes every dropped piece."""
    settings = {"text_field": spec.text_field, "unreadable": spec.unreadable}
    return read_corpus(folder, spec.min_tokens, spec.max_tokens, ledger, **settings)


def plan(spec: Spec, corpus: Corpus, seed: int, ledger: Ledger) -> tuple[Planner | AgentPlanner, list[Request]]:
    """(what the corpus gives to ask about, the requests to the teacher), for the forecast as for the build."""
    usable = [node for node in corpus.nodes if not node.flags]
    if spec.teacher.kind != "expert":
        planner = AgentPlanner(usable, spec, seed)
        return planner, planner.requests()
    unstated = [node for node in usable if node.node_id not in corpus.facts]
    mined = mine_facts(unstated, corpus.terms, seed, ledger, spec.facts_per_node, spec.facts_per_sentence)
    planner = Planner(usable, corpus.facts | mined, spec, seed)
    return planner, planner.requests()


def forecast(spec: Spec, corpus_dir: Path, replies: Path | None = None) -> dict[str, Any]:
    """What a build will come to, without asking anyone: nodes, requests, rows before gates by use, tokens.

    Where models are asked (as teacher, for repair, as judge) also their `bill`: stored replies, in the file `replies`,
    are not taken off, but tell how long the replies of a model are.
    """
    lengths = Lengths(replies)
    corpus = read(spec, corpus_dir, Ledger())
    planner, requests = plan(spec, corpus, 0, Ledger())
    splits = Counter(request.split for request in requests)
    kinds = Counter(request.kind for request in requests if request.split == "sft")
    if spec.rl_forms:  # a statement is made of every choice
        splits["rl"] += sum(request.split == "rl" and request.kind == "mcq" for request in requests)
    real = spec.teacher.kind != "expert"
    bills = bills_of(spec, corpus, requests, ROW_TOKENS, lengths)
    sft = min(spec.sft_rows, splits["sft"]) if real else sum(_mix_counts(kinds, spec).values())
    rl = min(spec.rl_rows, splits["rl"])
    test = sum(min(size, splits[kind]) for kind, size in spec.tests.model_dump().items())
    return {
        "nodes": len(corpus.nodes),
        "requests": len(requests),
        "rows": sft + rl + test,
        "sft": sft,
        "rl": rl,
        "test": test,
        "cpt": len(_usable(corpus, planner)),
        "tokens": sft * (spec.teacher.reply_tokens + ROW_TOKENS if real else ROW_TOKENS),
        **({"bill": together(bills) | {"guessed": sorted(lengths.guessed)}} if bills else {}),
    }


def build(
    spec: Spec, corpus_dir: Path, out: Path, seed: int, bar: Bar, say: Say, replies: Path | None = None
) -> dict[str, Any]:
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. `replies` is the file of a model's stored replies (default: in `out`), from which an interrupted build goes
    on. Raises RecipeError for a corpus that cannot be used, for test sizes that cannot be reached, for leaks above the
    threshold, where a model's endpoint, budget or replies end the run, and where no training row is left.
    """
    ledger, store, tests_outside = Ledger(), replies or out / REPLIES, read_benchmarks(spec.benchmarks)
    corpus, repairs, spent = mended(spec.repair, read(spec, corpus_dir, ledger), store, bar, say)
    planner, requests = plan(spec, corpus, seed, ledger)
    real = spec.teacher.kind != "expert"
    made_of = f"{len(requests)} questions" if real else f"{len(planner.facts)} facts, {len(planner.formulas)} formulas"
    say(f"{len(corpus.nodes)} nodes, {made_of}, {len(planner.held)} nodes held out")
    teacher, answers, cost = taught(spec.teacher, requests, store, bar, say, _gate)
    origin = {}
    records = _records(requests, answers, teacher, ledger, origin)
    require_rows(records, ledger, "the records of the teacher")
    if spec.rl_forms:
        records = with_statements(records, seed, ledger)
    records, similarity = without_duplicates(records, ledger, spec.similar)
    records, passed, cost_of_judge = without_weak(spec.judge, records, corpus.nodes, store, bar, say, ledger)
    spent |= cost | cost_of_judge
    by_split = {split: [record for record in passed if record.split == split] for split in CHOSEN}
    with bar("rows", None, "rows") as progress:
        tests = [
            graded_row(record, kind, spec.tolerance)
            for kind, size in spec.tests.model_dump().items()
            for record in _test_items(kind, size, by_split[kind], planner, spec, seed, ledger)
        ]
        sft = [sft_row(record) for record in _mixed(by_split["sft"], spec, seed, ledger, real)]
        spread = in_turns(by_split["rl"], _group(real), seed)
        rl = [
            graded_row(record, "calculation" if record.kind == "calc" else "knowledge", spec.tolerance)
            for record in first(spread, spec.rl_rows, "rl", ledger)
        ]
        kinds = Counter(row.kind for row in sft)
        progress.advance(
            len(tests) + len(sft) + len(rl),
            f"{len(sft)} sft ("
            + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            + f"), {len(rl)} rl, {len(tests)} test",
        )
    texts = [{"id": node.node_id, "node_id": node.node_id, "text": node.text} for node in _usable(corpus, planner)]
    metrics = finish(
        out,
        "analogseeker",
        VERSION,
        __doc__,
        Made(corpus.nodes, sft, rl, tests, {"qtsa": records, "cpt": texts, **repairs}, answer_as=spec.answer_as),
        ledger,
        Leaks(
            spec.leak_threshold,
            spec.leak_phrases,
            tests_outside,
            # A model may well ask the same thing twice, for training and for the test; the expert may not.
            KINDS if real else KINDS[-1:],
            spec.paraphrases,
        ),
        say,
        flow=[
            (("replies",), ("records",)),
            *([(("records",), ("judge",)), (("judge",), CHOSEN)] if spec.judge else [(("records",), CHOSEN)]),
            (("sft", "rl"), ("decontamination",)),
        ],
        similarity=similarity,
        **told(spec, corpus, planner, requests, sft, tests, spent),
    )
    if real:
        coverage = measure_quantities(out, corpus.nodes)
    else:
        facts = {item.id for _, item, _ in (*planner.facts, *planner.formulas)}
        coverage = measure_coverage(out, corpus.nodes, facts, origin, ledger)
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    write_json(out / "card.json", card | {"coverage": coverage})
    say(describe_coverage(coverage))
    prove(out)
    return {**metrics, "requests": len(requests), "records": len(records), **spent}


def _usable(corpus, planner):
    """The nodes that may be trained on: neither flagged nor held out."""
    return [node for node in corpus.nodes if not node.flags and node.node_id not in planner.held]


def _group(real):
    """What rows are spread over evenly: the facts of the expert, the nodes of a model."""
    return (lambda record: record.node_id) if real else (lambda record: record.fact_id)


def _records(requests, replies, teacher, ledger, origin):
    """The records that pass the gates; `origin` is filled with the fact of every record, also of those that fail."""
    records, worked = [], {}
    for request, reply in zip(requests, replies, strict=True):
        subject = request.subject
        if reply.declined:
            ledger.drop("replies", f"declined: {reply.declined}", reply.request, subject["id"])
            continue
        if "expression" in subject and subject["id"] not in worked:
            symbols = [given["symbol"] for given in subject["given"]]
            worked[subject["id"]] = operations(parse(subject["expression"], symbols, subject["id"]))
        record = _record(request, reply, teacher, worked.get(subject["id"], 0))
        origin[record.id] = record.fact_id
        failed = first_failed(record)
        if failed:
            ledger.drop("replies", failed, record.id, record.question[:120])
        else:
            ledger.keep("replies")
            records.append(record)
    return records


def _gate(request, reply):
    """Why a reply gives no record, or None."""
    return first_failed(_record(request, reply, "", 0))


def _record(request, reply, teacher, worked):
    """The Qtsa of a reply; `worked` is the number of operations of its formula."""
    subject = request.subject
    content = (request.node_id, subject["id"], reply.question, reply.options, reply.answer, request.split)
    return Qtsa(
        id=stable_id(*content),
        node_id=request.node_id,
        fact_id=subject["id"],
        family=request.family,
        stance=request.stance,
        kind=request.kind,
        wording=request.wording,
        draw=request.draw,
        question=reply.question,
        thinking=reply.thinking,
        solution=reply.solution,
        answer=reply.answer,
        options=reply.options,
        unit=subject.get("unit"),
        operations=worked,
        split=request.split,
        span=subject.get("span"),
        request=request.id,
        teacher=teacher,
        prompt_version=prompt_versions() if reply.asked else PROMPT_VERSION,
        asked=reply.asked,
    )


def _test_items(kind, size, records, planner, spec, seed, ledger):
    """`size` items of one test kind, spread over their facts. Raises RecipeError where there are too few."""
    if kind == "calculation" and not any(node.node_id not in planner.held for node, _, _ in planner.formulas):
        return []
    if kind == "transfer":
        numbers = in_turns([record for record in records if record.kind == "calc"], lambda record: record.fact_id, seed)
        recall = in_turns([record for record in records if record.kind != "calc"], lambda record: record.fact_id, seed)
        half = max(size // 2, size - len(recall))
        numbers = first(numbers, half, kind, ledger)
        records = numbers + first(recall, size - len(numbers), kind, ledger)
    else:
        records = first(in_turns(records, lambda record: record.fact_id, seed), size, kind, ledger)
    if len(records) < size:
        raise RecipeError(
            f"The corpus gives too few {kind} test items.",
            where=f"data.tests.{kind}",
            got=f"{len(records)} items ({len(planner.facts)} facts, {len(planner.formulas)} formulas)",
            allowed=f"{size} items, as asked",
            fix=f"set data.tests.{kind} = {len(records)} or lower, or give a larger corpus",
        )
    return records


def _mix_counts(available, spec):
    """Rows of each kind: the largest total up to spec.sft_rows that keeps the shares; a kind with none is left out."""
    shares = {kind: share for kind, share in spec.mix.model_dump().items() if share and available.get(kind)}
    whole = sum(shares.values())
    total = min([spec.sft_rows, *(available[kind] * whole / share for kind, share in shares.items())])
    return {kind: min(available[kind], round(total * share / whole)) for kind, share in shares.items()}


def _mixed(records, spec, seed, ledger, real):
    if real:  # a model was asked in the shares of the mix, and every record was paid for
        chosen = first(in_turns(records, _group(real), seed), spec.sft_rows, "sft", ledger)
        return sorted(chosen, key=lambda record: order(seed, "sft", record.id))
    counts = _mix_counts(Counter(record.kind for record in records), spec)
    chosen = []
    for kind in ("mcq", "open", "calc"):
        members = in_turns([record for record in records if record.kind == kind], lambda record: record.fact_id, seed)
        chosen += first(members, counts.get(kind, 0), "sft", ledger)
    if not chosen:
        raise RecipeError(
            "The corpus gives no training row.",
            where="data.mix",
            got=str(spec.mix.model_dump()),
            allowed="a mix with a kind that the corpus has",
            fix="set data.mix, or give a larger corpus",
        )
    return sorted(chosen, key=lambda record: order(seed, "sft", record.id))
