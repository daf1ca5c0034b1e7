"""What may be done to nodes before anyone asks about them, and to records before they become rows: repair and judge."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from data_builders.analogseeker.agent_plan import bill_of
from data_builders.analogseeker.records import Qtsa
from data_builders.core.judge import Item, judge_bill, judge_items, read_rubric
from data_builders.sources.reader import count_tokens
from data_builders.sources.repair import repair_bill, repaired, statuses
from recipes.base.reply_form import render_prompt, render_reply

RUBRIC = Path(__file__).with_name("rubric.toml")


def mended(table, corpus, path, bar, say):
    """(the corpus with its usable nodes restored, {"repair": rows of repair.jsonl}, what it cost); ids and spans stay.

    `table` is a Repair, or None for a corpus that is taken as it is. A node's paragraphs stay one line each.
    """
    if table is None:
        return corpus, {}, {}
    usable = [node for node in corpus.nodes if not node.flags]
    documents, spent = repaired(table, [(node.node_id, node.text) for node in usable], path, bar, say)
    texts = {document.id: re.sub(r"\s*\n\s*", "\n", document.text).strip() for document in documents}
    nodes = tuple(
        replace(node, text=texts[node.node_id], n_tokens=count_tokens(texts[node.node_id]))
        if node.node_id in texts
        else node
        for node in corpus.nodes
    )
    rows = [chunk.row() for document in documents for chunk in document.chunks]
    counts = statuses(documents)
    say(", ".join(f"{counts[status]} {status}" for status in ("ok", "raw_fallback", "truncated")) + " chunks repaired")
    return replace(corpus, nodes=nodes), {"repair": rows}, {"repair": spent | {"statuses": counts}}


def without_weak(table, records, nodes, path, bar, say, ledger):
    """(all records with their scores, those of them that the judge lets pass, what it cost).

    `table` is a Judge, or None, who lets all pass.
    """
    if table is None:
        return records, records, {}
    texts = {node.node_id: node.text for node in nodes}
    items = [judge_item(record, texts[record.node_id]) for record in records]
    verdicts, spent = judge_items(table, read_rubric(RUBRIC), items, path, bar, say)
    scored = [replace(r, judge=v.mean, judged=v.asked) for r, v in zip(records, verdicts, strict=True)]
    passed = []
    for record, verdict in zip(scored, verdicts):
        if verdict.dropped:
            ledger.drop("judge", verdict.dropped, record.id, f"{verdict.mean}: {record.question}"[:160])
        else:
            ledger.keep("judge")
            passed.append(record)
    say(f"the judge lets {len(passed)} of {len(records)} records pass")
    return scored, passed, {"judge": spent | {"scores": means(verdicts)}}


def judge_item(record: Qtsa, document: str) -> Item:
    """A record as it is judged, with the text of the node that it was made from."""
    exchange = record.exchange
    shown, reply = render_prompt(exchange), render_reply(exchange)
    return Item(id=record.id, shown=shown, reply=reply, exchange=exchange, context=document)


def bills_of(spec, corpus, requests, row_tokens, lengths):
    """The bills of the models that a spec asks: teacher, repair, judge. A row of the expert has `row_tokens`."""
    bills, texts = [], {node.node_id: node.text for node in corpus.nodes if not node.flags}
    taught = spec.teacher.kind != "expert"
    if taught:
        bills.append(bill_of(requests, spec.teacher, lengths))
    if spec.repair and spec.repair.kind != "expert":
        bills.append(repair_bill(spec.repair, texts.values(), lengths))
    if spec.judge and spec.judge.kind != "expert":
        contexts = [texts[request.node_id] for request in requests]
        reasoner = spec.teacher.reasoner or spec.teacher.model
        written = lengths.of("answer", reasoner, spec.teacher.reply_tokens) if taught else row_tokens
        bills.append(judge_bill(spec.judge, read_rubric(RUBRIC), contexts, written, lengths))
    return bills


def means(verdicts):
    """{mean score, rounded down to a half: verdicts}, "none" for those without scores."""
    shown = ("none" if verdict.mean is None else f"{verdict.mean * 2 // 1 / 2:g}" for verdict in verdicts)
    return dict(sorted(Counter(shown).items()))
