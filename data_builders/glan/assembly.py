"""From answered questions to the rows of a data artefact: what is learnt, what is graded, what rows are about."""

from collections import Counter

from data_builders.core.schema import order
from data_builders.core.selection import SURPLUS
from data_builders.glan import coverage
from data_builders.glan.filters import filtered, in_use
from data_builders.glan.rows import concept_id, graded_row, sft_row


def trained(written, spec, ledger, seed):
    """(sft rows in a shuffled order, figures for the card). `written` holds agents.Written, unanswered ones too."""
    answered = [entry for entry in written if entry.sample.purpose == "train" and entry.pair]
    kept, figures = filtered(answered, spec.filters, ledger)
    concepts, pairs = coverage.distinct(
        [[concept_id(entry.sample.discipline, name) for name in entry.sample.concepts] for entry in answered]
    )
    figures |= {"coverage": {"questions": len(answered), "concepts": concepts, "concept pairs": pairs}}
    rows = [sft_row(entry, spec.licence, in_use(spec.filters)) for entry in kept]
    return sorted(rows, key=lambda row: order(seed, "rows", row.id)), figures


def grade_rows(purpose, size, written, spec, ledger):
    """The graded rows of one purpose, at most `size` of each discipline, each prompt once."""
    rows, prompts, counts = [], set(), Counter()
    for entry in written:
        if entry.sample.purpose != purpose or entry.pair is None:
            continue
        row, reason = graded_row(entry, spec.licence, spec.tolerance)
        if row and entry.pair.instruction in prompts:
            row, reason = None, "same question"
        elif row and counts[row.family] == size:
            row, reason = None, SURPLUS
        if row is None:
            ledger.drop(purpose, reason, entry.pair.question_id, entry.question.text[:120])
            continue
        prompts.add(entry.pair.instruction)
        counts[row.family] += 1
        ledger.keep(purpose)
        rows.append(row)
    return rows


def nodes(courses):
    """Every concept once, as the report reads nodes."""
    found = {}
    for course in courses:
        for lesson in course.lessons:
            for name in lesson.key_concepts:
                own = concept_id(course.discipline, name)
                path = [course.discipline, course.subject_name, lesson.name, name]
                text = f"{name}: {lesson.description}"
                found.setdefault(
                    own, {"node_id": own, "number": "", "path": path, "family": course.discipline, "text": text}
                )
    return list(found.values())
