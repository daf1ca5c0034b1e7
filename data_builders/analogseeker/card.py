"""What the data card tells of an analogseeker build beside what it tells of every build."""

from collections import Counter

from data_builders.analogseeker.agent_plan import prompt_versions
from data_builders.analogseeker.agents import Agents
from data_builders.analogseeker.checks import RUBRIC
from data_builders.analogseeker.expert import Expert
from data_builders.analogseeker.protocol import PROMPT_VERSION
from data_builders.core.judge import read_rubric


def _teacher_card(table):
    if table.kind == "expert":
        return {"kind": "expert", "version": Expert.version, "prompt_version": PROMPT_VERSION}
    named = {"kind": table.kind, "version": Agents.version, "prompt_version": prompt_versions()}
    return named | {"model": table.model, "reasoner": table.reasoner or table.model}


def _named(table, counts):
    return {"kind": table.kind, "model": table.model, "chunks": counts}


def _judge_card(table, scores):
    rubric = read_rubric(RUBRIC)
    return {"kind": table.kind, "model": table.model, "rubric": rubric.id, "cut": table.cut, "scores": scores}


def told(spec, corpus, planner, requests, sft, tests, spent):
    """{key of the card: value}: the teacher, what to know before using the rows, letters, stances, nodes held out.

    `spent` holds what came of the repair and the judge, where there were any.
    """
    notes, real = [], spec.teacher.kind != "expert"
    formulas = [item for item in planner.formulas if item[0].node_id not in planner.held]
    if real:
        notes.append("A model wrote questions and answers; none of them was checked by a person.")
    if spec.tests.calculation and not formulas and not real:
        notes.append("The corpus states no formulas: no calculation test, and rl rows are multiple-choice questions.")
    return {
        "notes": notes,
        "corpus": spec.corpus,
        "teacher": _teacher_card(spec.teacher),
        **({"repair": _named(spec.repair, spent["repair"]["statuses"])} if spec.repair else {}),
        **({"judge": _judge_card(spec.judge, spent["judge"]["scores"])} if spec.judge else {}),
        "letters": dict(sorted(Counter(row.answer for row in tests if row.grader == "choice").items())),
        "stances": dict(sorted(Counter(row.lineage["stance"] for row in sft).items())),
        "held_out": [
            {"node_id": node.node_id, "family": node.family, "title": node.title}
            for node in corpus.nodes
            if node.node_id in planner.held
        ],
        "facts": len(planner.facts),
        "formulas": len(planner.formulas),
        "requests": len(requests),
    }
