"""From disciplines to syllabuses: what is asked of the teacher before any question is, and what is sorted out."""

from data_builders.core.selection import SURPLUS
from data_builders.glan import agents
from data_builders.glan.outline import Subject, Syllabus, folded, lessons_of
from recipes.base.hashing import stable_id


def ask_each(asker, title, unit, items, work, bar):
    """[result of `await work(item)`] in the order of the items, with a bar; `asker` is a teacher.asking.Asker."""
    with bar(title, len(items), unit) as progress:
        return asker.each(items, work, lambda result: progress.advance(1, asker.spent()))


def subjects(asker, entries, spec, ledger, bar):
    """The subjects of all disciplines, each named for the first time by one of `spec.subject_queries` queries.

    The same subject in another discipline stays: calculus is taught in physics and in mathematics.
    """
    queries = [(entry, draw) for entry in entries for draw in range(spec.subject_queries)]
    replies = ask_each(asker, "subjects", "lists", queries, lambda query: agents.list_subjects(asker, *query), bar)
    found, counts = {}, {}
    for (entry, draw), (listed, text, dropped) in zip(queries, replies, strict=True):
        name = entry.discipline
        if dropped:
            ledger.drop("subject lists", dropped, f"{name}, query {draw}")
            continue
        ledger.keep("subject lists")
        for line in listed.bad:
            ledger.drop("subjects", "line is no subject", f"{name}, query {draw}", line[:160])
        for line in listed.found:
            own = stable_id("subject", name, folded(line.subject_name))
            if own in found:
                ledger.drop("subjects", "named before in this discipline", own, line.subject_name)
            elif spec.subjects and counts.get(name, 0) == spec.subjects:
                ledger.drop("subjects", SURPLUS, own, line.subject_name)
            else:
                counts[name] = counts.get(name, 0) + 1
                found[own] = Subject(own, name, draw, line.subject_name, line.level, tuple(line.subtopics), text)
                ledger.keep("subjects")
    return list(found.values())


def syllabuses(asker, chosen, spec, ledger, bar):
    """The syllabuses of subjects; one without any key concept is left out and counted."""
    replies = ask_each(
        asker, "syllabuses", "courses", chosen, lambda subject: agents.write_syllabus(asker, subject), bar
    )
    found = []
    for subject, (outline, text, dropped) in zip(chosen, replies, strict=True):
        lessons = () if dropped else lessons_of(outline, spec.lessons, ledger, subject.subject_id)
        if not lessons:
            ledger.drop("syllabuses", dropped or "no session with a key concept", subject.subject_id)
            continue
        ledger.keep("syllabuses")
        content = (subject.subject_id, text, [(lesson.name, lesson.key_concepts) for lesson in lessons])
        names = (subject.subject_id, subject.discipline, subject.subject_name, subject.level)
        found.append(Syllabus(stable_id("syllabus", *content), *names, text, lessons))
    return found
