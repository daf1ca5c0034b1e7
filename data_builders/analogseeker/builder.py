"""Question–thinking–solution–answer records about analog circuits, made from a textbook by an expert teacher.

Source: the corpus of the recipe, either the mini-textbook shipped with it or any folder of Markdown, Quarto, HTML,
LaTeX, PDF, JSONL or plain text.
A learning node is the cleaned text under one heading. Nodes with stated facts and formulas give multiple-choice,
open and calculation records over five stances; other nodes give records taken from their sentences.

Splits are by source group. *transfer* tests whole nodes that are held out; *knowledge* tests wordings of taught facts
that never occur in training; *calculation* tests value combinations that occur in no training row. Training rows are
checked against every test item (leaks.json), and every dropped piece stands in ledger.jsonl with its reason.

Limits: the expert teacher states what its sources state; it cannot judge truth, ask across two facts or derive.
Questions taken from plain sentences test recall of a phrase, not understanding. Numbers are chosen for exact, short
arithmetic, so difficulty is that of mental arithmetic. Right options are even over the letters by construction.
"""

import re
from collections import Counter
from pathlib import Path

from data_builders.analogseeker.plan import Planner, in_turns
from data_builders.analogseeker.rows import graded_row, sft_row
from data_builders.corpus.reader import count_tokens, read_corpus
from data_builders.quality.benchmarks import read_benchmark, without_leaks
from data_builders.quality.duplicates import without_duplicates
from data_builders.quality.gates import first_failed
from data_builders.quality.leaks import leak_report
from data_builders.quality.ledger import Ledger, prove
from data_builders.schema import DataError, Qtsa, order, stable_id, write_json, write_jsonl
from data_builders.teacher.arithmetic import operations, parse
from data_builders.teacher.expert import Expert
from data_builders.teacher.extractive import mine_facts
from data_builders.teacher.protocol import PROMPT_VERSION
from data_builders.teacher.store import ask_stored

VERSION = 2
SHIPPED = Path(__file__).parent / "corpus"
REPLIES = "replies.jsonl"
ROW_TOKENS = 90  # of an sft row, counted as in the card; measured on the shipped corpus


def corpus_dir(spec):
    """The folder that holds the corpus of a spec."""
    return SHIPPED if spec.corpus == "shipped" else Path(spec.corpus).expanduser()


def _planned(spec, folder, seed, ledger):
    settings = {"text_field": spec.text_field, "unreadable": spec.unreadable}
    corpus = read_corpus(folder, spec.min_tokens, spec.max_tokens, ledger, **settings)
    usable = [node for node in corpus.nodes if not node.flags]
    mined = mine_facts([node for node in usable if node.node_id not in corpus.facts], corpus.terms, seed)
    planner = Planner(usable, corpus.facts | mined, spec, seed)
    return corpus, planner, planner.requests()


def forecast(spec, corpus_dir):
    """What a build will come to, without asking anyone: nodes, requests, rows before gates by use, tokens."""
    corpus, _, requests = _planned(spec, corpus_dir, 0, Ledger())
    splits = Counter(request.split for request in requests)
    kinds = Counter(request.kind for request in requests if request.split == "sft")
    sft = sum(_mix_counts(kinds, spec).values())
    rl = min(spec.rl_rows, splits["rl"])
    test = sum(min(size, splits[kind]) for kind, size in spec.tests.model_dump().items())
    return {
        "nodes": len(corpus.nodes),
        "requests": len(requests),
        "rows": sft + rl + test,
        "sft": sft,
        "rl": rl,
        "test": test,
        "tokens": sft * ROW_TOKENS,
    }


def build(spec, corpus_dir, out, seed, bar, say):
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. Goes on from an interrupted attempt in `out`. Raises DataError for a corpus that cannot be used, for test
    sizes that cannot be reached, and for leaks above the threshold.
    """
    ledger = Ledger()
    corpus, planner, requests = _planned(spec, corpus_dir, seed, ledger)
    say(
        f"{len(corpus.nodes)} nodes, {len(planner.facts)} facts, {len(planner.formulas)} formulas, "
        f"{len(planner.held)} nodes held out"
    )
    teacher, splits, tokens = Expert(), Counter(), Counter()
    with bar("teacher", len({request.id for request in requests}), "requests") as progress:

        def arrived(reply):
            tokens["all"] += count_tokens(reply.question) + count_tokens(reply.thinking) + count_tokens(reply.solution)
            splits["declined" if reply.declined else "kept"] += 1
            progress.advance(1, f"{splits['declined']} declined, about {tokens['all']:,} tokens")

        replies = ask_stored(teacher, requests, out / REPLIES, arrived)
    records, similarity = without_duplicates(_records(requests, replies, teacher, ledger), ledger, spec.similar)
    by_split = {
        split: [record for record in records if record.split == split]
        for split in ("sft", "rl", "knowledge", "calculation", "transfer")
    }
    with bar("rows", None, "rows") as progress:
        tests = [
            graded_row(record, kind, spec.tolerance)
            for kind, size in spec.tests.model_dump().items()
            for record in _test_items(kind, size, by_split[kind], planner, spec, seed, ledger)
        ]
        sft = [sft_row(record) for record in _mixed(by_split["sft"], spec, seed, ledger)]
        spread = in_turns(by_split["rl"], lambda record: record.fact_id, seed)
        rl = [
            graded_row(record, "calculation" if record.kind == "calc" else "knowledge", spec.tolerance)
            for record in _first(spread, spec.rl_rows, "rl", ledger)
        ]
        kinds = Counter(row.kind for row in sft)
        progress.advance(
            len(tests) + len(sft) + len(rl),
            f"{len(sft)} sft ("
            + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            + f"), {len(rl)} rl, {len(tests)} test",
        )
    outside = {name: read_benchmark(corpus_dir / name) for name in spec.benchmarks}
    sft, hits = without_leaks(sft, tests, outside, spec.leak_phrases, ledger)
    rl, hits_rl = without_leaks(rl, tests, outside, spec.leak_phrases, ledger)
    leaks = leak_report([*sft, *rl], tests, spec.leak_threshold, spec.leak_phrases)
    leaks["benchmarks"] = {name: {"sft": hits[name], "rl": hits_rl[name]} for name in outside}
    write_json(out / "leaks.json", leaks)
    if not leaks["passed"]:
        raise DataError(
            "Training rows hold test items.",
            where=str(out / "leaks.json"),
            got=str(leaks["counts"]),
            allowed=f"no exact or normalised hit, 13-gram hits on {spec.leak_threshold:.1%} of items",
            fix="reword the facts shown there, or raise data.leak_threshold knowingly",
        )
    usable = [node for node in corpus.nodes if not node.flags and node.node_id not in planner.held]
    write_jsonl(out / "nodes.jsonl", corpus.nodes)
    write_jsonl(out / "qtsa.jsonl", records)
    write_jsonl(out / "sft.jsonl", sft)
    write_jsonl(out / "rl.jsonl", rl)
    write_jsonl(out / "test.jsonl", tests)
    write_jsonl(out / "cpt.jsonl", ({"node_id": node.node_id, "text": node.text} for node in usable))
    write_jsonl(out / "ledger.jsonl", ledger.rows)
    card = _card(spec, corpus, planner, requests, sft, rl, tests, leaks, ledger) | {"similarity": similarity}
    write_json(out / "card.json", card)
    prove(out)
    (out / REPLIES).unlink()
    for step in ("documents", "pages", "nodes", "replies", "records"):
        for reason, count in card["ledger"].get(step, {"reasons": {}})["reasons"].items():
            say(f"{step}: {count} dropped, {reason}")
    for note in card["notes"]:
        say(note)
    return {
        "tokens": card["tokens"]["sft"],
        "requests": len(requests),
        "records": len(records),
        "dropped": len(ledger.rows),
        "nodes": len(corpus.nodes),
        **card["rows"],
    }


def _records(requests, replies, teacher, ledger):
    records, worked = [], {}
    for request, reply in zip(requests, replies, strict=True):
        subject = request.subject
        if reply.declined:
            ledger.drop("replies", f"declined: {reply.declined}", reply.request, subject["id"])
            continue
        if "expression" in subject and subject["id"] not in worked:
            symbols = [given["symbol"] for given in subject["given"]]
            worked[subject["id"]] = operations(parse(subject["expression"], symbols, subject["id"]))
        content = (request.node_id, subject["id"], reply.question, reply.options, reply.answer, request.split)
        record = Qtsa(
            stable_id(*content),
            request.node_id,
            subject["id"],
            request.family,
            request.stance,
            request.kind,
            request.wording,
            request.draw,
            reply.question,
            reply.thinking,
            reply.solution,
            reply.answer,
            reply.options,
            subject.get("unit"),
            worked.get(subject["id"], 0),
            request.split,
            subject.get("span"),
            request.id,
            teacher.name,
            PROMPT_VERSION,
        )
        failed = first_failed(record)
        if failed:
            ledger.drop("replies", failed, record.id, record.question[:120])
        else:
            ledger.keep("replies")
            records.append(record)
    return records


def _first(records, size, step, ledger):
    """The first `size` records; the others are counted as more than was asked for."""
    for record in records[size:]:
        ledger.drop(step, "more than asked for", record.id, record.question[:120])
    ledger.keep(step, len(records[:size]))
    return records[:size]


def _test_items(kind, size, records, planner, spec, seed, ledger):
    """`size` items of one test kind, spread over their facts. Raises DataError where there are too few."""
    if kind == "calculation" and not any(node.node_id not in planner.held for node, _, _ in planner.formulas):
        return []
    if kind == "transfer":
        numbers = in_turns([record for record in records if record.kind == "calc"], lambda record: record.fact_id, seed)
        recall = in_turns([record for record in records if record.kind != "calc"], lambda record: record.fact_id, seed)
        half = max(size // 2, size - len(recall))
        numbers = _first(numbers, half, kind, ledger)
        records = numbers + _first(recall, size - len(numbers), kind, ledger)
    else:
        records = _first(in_turns(records, lambda record: record.fact_id, seed), size, kind, ledger)
    if len(records) < size:
        raise DataError(
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


def _mixed(records, spec, seed, ledger):
    counts = _mix_counts(Counter(record.kind for record in records), spec)
    chosen = []
    for kind in ("mcq", "open", "calc"):
        members = in_turns([record for record in records if record.kind == kind], lambda record: record.fact_id, seed)
        chosen += _first(members, counts.get(kind, 0), "sft", ledger)
    if not chosen:
        raise DataError(
            "The corpus gives no training row.",
            where="data.mix",
            got=str(spec.mix.model_dump()),
            allowed="a mix with a kind that the corpus has",
            fix="set data.mix, or give a larger corpus",
        )
    return sorted(chosen, key=lambda record: order(seed, "sft", record.id))


def _card(spec, corpus, planner, requests, sft, rl, tests, leaks, ledger):
    """The data card: what this is, what is in it, what was left out, what to know before using it."""
    notes = []
    formulas = [item for item in planner.formulas if item[0].node_id not in planner.held]
    if spec.tests.calculation and not formulas:
        notes.append("The corpus states no formulas: no calculation test, and rl rows are multiple-choice questions.")
    kinds = Counter(row.kind for row in tests)
    families = Counter(node.family for node in corpus.nodes)
    about, _, limits = re.sub(r"(?<!\n)\n(?!\n)", " ", __doc__.strip()).partition("Limits: ")
    return {
        "name": "analogseeker",
        "version": VERSION,
        "about": about.strip(),
        "limits": limits,
        "notes": notes,
        "corpus": spec.corpus,
        "teacher": {"kind": spec.teacher.kind, "version": Expert.version, "prompt_version": PROMPT_VERSION},
        "rows": {"sft": len(sft), "rl": len(rl), "test": len(tests)}
        | {f"test_{kind}": kinds[kind] for kind in sorted(kinds)},
        "sft_kinds": dict(Counter(row.kind for row in sft)),
        "tokens": {
            "counted_as": "words, numbers and signs; no tokenizer",
            "sft": sum(count_tokens(turn["content"]) for row in sft for turn in row.prompt + row.completion),
            "nodes": sum(node.n_tokens for node in corpus.nodes),
        },
        "letters": dict(sorted(Counter(row.answer for row in tests if row.grader == "choice").items())),
        "stances": dict(sorted(Counter(row.lineage["stance"] for row in sft).items())),
        "families": dict(sorted(families.items())),
        "held_out": [
            {"node_id": node.node_id, "family": node.family, "title": node.title}
            for node in corpus.nodes
            if node.node_id in planner.held
        ],
        "facts": len(planner.facts),
        "formulas": len(planner.formulas),
        "requests": len(requests),
        "leaks": {name: leaks[name] for name in ("passed", "threshold", "share_13_gram", "counts")},
        "ledger": ledger.totals(),
    }
