"""The data card of a build: what it is, what is in it, what was left out, what to know before using it."""

import re
from collections import Counter

from data_builders.analogseeker.agent_plan import prompt_versions
from data_builders.analogseeker.agents import Agents
from data_builders.corpus.reader import count_tokens
from data_builders.teacher.expert import Expert
from data_builders.teacher.protocol import PROMPT_VERSION


def _teacher_card(table):
    if table.kind == "expert":
        return {"kind": "expert", "version": Expert.version, "prompt_version": PROMPT_VERSION}
    named = {"kind": table.kind, "version": Agents.version, "prompt_version": prompt_versions()}
    return named | {"model": table.model, "reasoner": table.reasoner or table.model}


def data_card(doc, version, spec, corpus, planner, requests, rows, leaks, ledger):
    """The data card: what this is, what is in it, what was left out, what to know before using it."""
    (sft, rl, tests), notes, real = rows, [], spec.teacher.kind != "expert"
    formulas = [item for item in planner.formulas if item[0].node_id not in planner.held]
    if real:
        notes.append("A model wrote questions and answers; none of them was checked by a person.")
    if spec.tests.calculation and not formulas and not real:
        notes.append("The corpus states no formulas: no calculation test, and rl rows are multiple-choice questions.")
    kinds = Counter(row.kind for row in tests)
    families = Counter(node.family for node in corpus.nodes)
    about, _, limits = re.sub(r"(?<!\n)\n(?!\n)", " ", doc.strip()).partition("Limits: ")
    return {
        "name": "analogseeker",
        "version": version,
        "about": about.strip(),
        "limits": limits,
        "notes": notes,
        "corpus": spec.corpus,
        "teacher": _teacher_card(spec.teacher),
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
