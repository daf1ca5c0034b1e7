"""Instructions and answers from a taxonomy of human knowledge, with no seed data, after GLAN (arXiv 2402.13064).

Source: the taxonomy of the recipe (fields, sub-fields, disciplines) and a teacher. For each discipline the teacher
lists subjects, writes a syllabus for each, and for every question gets a fresh set of key concepts, of one class
session or of two, with the whole syllabus; it answers in a separate call that shows the question alone. Teachers are a
model, or the expert: rules over a bank of definitions, relations and formulas, written for this recipe, that answer the
same requests. What was made on the way stands in subjects, syllabuses, samples, questions and pairs (.jsonl).

Splits are by concept. A share of each discipline's concepts is held out: no training question is about one of them, and
the syllabus that its prompt shows leaves them out. *seen* tests other questions about trained concepts, *heldout*
questions about concepts held out. Both are written and answered by the teacher itself, with options or a number, so
that they can be graded. Training rows that hold an item of the test, or of an evaluation set that is named, are taken
out.

Limits: the test comes from the generator of the training rows, so it measures what was covered, not transfer to other
tests. A model's questions and answers are checked by nobody, and where it is weak the rows are weak. Options of a
held-out question may be those of trained concepts, so leaving out what one knows helps there. The taxonomy has been
voted on by nobody unless the card says so. The expert asks in a few wordings for each kind of question and knows
the concepts of its bank alone; its wrong options are what is true of other concepts, which nobody has checked for
being defensible too.
"""

from collections import Counter
from pathlib import Path

from data_builders.finish import Leaks, Made, finish
from data_builders.glan import agents, coverage, planning, sampling
from data_builders.glan.bank import read_bank
from data_builders.glan.expert import open_expert
from data_builders.glan.filters import filtered
from data_builders.glan.outline import folded, held_out
from data_builders.glan.rows import concept_id, graded_row, sft_row
from data_builders.glan.taxonomy import FILE as TAXONOMY
from data_builders.glan.taxonomy import chosen, read_taxonomy
from data_builders.quality.benchmarks import read_benchmark
from data_builders.quality.leaks import KINDS
from data_builders.quality.ledger import Ledger
from data_builders.quality.selection import SURPLUS
from data_builders.schema import order
from data_builders.teacher.asking import open_teacher
from data_builders.teacher.bill import bill
from data_builders.teacher.store import FILE

VERSION = 1
SHIPPED = Path(__file__).parent / "corpus"
SPARE = 2.0  # graded questions asked for each one wanted: some repeat, some have no answer that can be graded
ROW_TOKENS = 79  # of an sft row of the expert, counted as in the card; measured on the shipped bank
# For the bill of a model: subjects of a discipline, concepts of a syllabus, tokens of replies and of a syllabus shown.
SUBJECTS, CONCEPTS, LISTED, COURSE, ASKED = 150, 100, 3500, 2500, 120


def corpus_dir(spec):
    """The folder that holds the taxonomy (taxonomy.toml), evaluation sets, and the expert's bank."""
    return SHIPPED if spec.corpus == "shipped" else Path(spec.corpus).expanduser()


def _entries(spec, folder, ledger):
    """(disciplines of the run, the bank or None)."""
    entries = read_taxonomy(folder)
    if spec.teacher.kind != "expert":
        return chosen(entries, spec.disciplines, ledger), None
    bank = read_bank(folder)
    known = [entry.discipline for entry in entries if entry.discipline in bank.chapters and not entry.removed]
    return chosen(entries, spec.disciplines or known, ledger), bank


def forecast(spec, corpus_dir):
    """What a build will come to, without asking anyone; of a model as teacher also its `bill`."""
    entries, bank = _entries(spec, corpus_dir, Ledger())
    count, graded = len(entries), sum(spec.tests.model_dump().values())
    sft, test, rl = (count * each for each in (spec.questions, graded, spec.rl_questions))
    pairs = sft + round(SPARE * (test + rl))
    if bank is not None:
        names = {entry.discipline for entry in entries}
        courses = sum(len(bank.chapters[name].subject) for name in names & bank.chapters.keys())
        nodes, tokens = sum(discipline in names for discipline, _ in bank.concepts), sft * ROW_TOKENS
    else:
        courses = count * (spec.subjects or SUBJECTS)
        nodes, tokens = courses * CONCEPTS, sft * (ASKED + spec.teacher.reply_tokens)
    lists = count * spec.subject_queries
    requests = 2 * (lists + courses + pairs)
    told = {
        "nodes": nodes,
        "requests": requests,
        "rows": sft + rl + test,
        "sft": sft,
        "rl": rl,
        "test": test,
        "tokens": tokens,
    }
    if bank is not None:
        return told
    sent = LISTED * lists + 2 * COURSE * courses + (COURSE + 300 + ASKED) * pairs
    written = 2 * LISTED * lists + 2 * COURSE * courses + (ASKED + spec.teacher.reply_tokens) * pairs
    return told | {"bill": bill(spec.teacher, requests, sent, written)}


def build(spec, corpus_dir, out, seed, bar, say, replies=None):
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. `replies` is the file of stored replies (default: in `out`), from which an interrupted build goes on; a
    discipline that is added later is asked about alone. Raises DataError for a taxonomy or bank that cannot be used,
    for leaks above the threshold, and where a model's endpoint or budget ends the run.
    """
    ledger = Ledger()
    entries, bank = _entries(spec, corpus_dir, ledger)
    path = replies or out / FILE
    asker = open_expert(bank, spec.teacher, path, say) if bank else open_teacher(spec.teacher, path, say)
    try:
        subjects = planning.subjects(asker, entries, spec, ledger, bar)
        courses = planning.syllabuses(asker, subjects, spec, ledger, bar)
        samples, shown = _samples(courses, spec, seed)
        made = _written(asker, samples, shown, spec, ledger, bar)
        spent = {} if bank else {"teacher": asker.figures()}
    except BaseException:
        say(f"teacher: {asker.spent()} so far, kept in {path}")
        raise
    finally:
        asker.close()
    sft, figures = _trained(made, samples, shown, spec, ledger, seed)
    graded = {
        purpose: _graded(purpose, size, made, samples, shown, spec, ledger)
        for purpose, size in (("rl", spec.rl_questions), *spec.tests.model_dump().items())
    }
    tests = [row for purpose in spec.tests.model_dump() for row in graded[purpose]]
    wanted = len(entries) * sum(spec.tests.model_dump().values())
    taxonomy = read_taxonomy(corpus_dir)
    metrics = finish(
        out,
        "glan",
        VERSION,
        __doc__,
        Made(
            _nodes(courses),
            sft,
            graded["rl"],
            tests,
            {
                "taxonomy": taxonomy,
                "subjects": subjects,
                "syllabuses": courses,
                "samples": samples,
                "questions": [question for question, _ in made.values()],
                "pairs": [pair for _, pair in made.values() if pair],
            },
        ),
        ledger,
        Leaks(spec.leak_threshold, (), {name: read_benchmark(corpus_dir / name) for name in spec.benchmarks}, KINDS),
        say,
        teacher={"kind": spec.teacher.kind, "model": asker.model, "prompt_version": agents.prompt_versions()},
        corpus=f"{TAXONOMY}: {len(taxonomy)} disciplines, {len(entries)} of them used",
        votes=dict(Counter(entry.status.partition(":")[0] for entry in taxonomy)),
        samples=dict(Counter(f"strategy {sample.strategy}" for sample in samples))
        | {"fell back to one session": sum(sample.fell_back for sample in samples)},
        notes=_notes(spec, taxonomy, tests, wanted),
        **figures,
    )
    return metrics | {"requests": asker.budget.requests} | spent


def _samples(courses, spec, seed):
    """(samples, the syllabus that each one's prompt shows, by sample id).

    A training prompt shows no concept that is held out, so that no model can ask about one.
    """
    found, shown = [], {}
    sizes = {"train": spec.questions, "rl": spec.rl_questions, **spec.tests.model_dump()}
    for discipline in dict.fromkeys(course.discipline for course in courses):
        own = [course for course in courses if course.discipline == discipline]
        held = held_out(own, spec.heldout_share, seed) if spec.tests.heldout else set()
        trained = [course.only(lambda name, held=held: folded(name) not in held) for course in own]
        kept = [course.only(lambda name, held=held: folded(name) in held) for course in own]
        whole = {course.syllabus_id: course for course in own}
        for purpose, size in sizes.items():
            count = size if purpose == "train" else round(SPARE * size)
            drawn = sampling.samples(kept if purpose == "heldout" else trained, purpose, count, spec, seed)
            visible = whole if purpose == "heldout" else {course.syllabus_id: course for course in trained}
            shown |= {sample.sample_id: visible[sample.syllabus_id] for sample in drawn}
            found += drawn
    return found, shown


def _written(asker, samples, shown, spec, ledger, bar):
    """{sample id: (Question, Pair or None)}: joined by id, what failed is counted."""

    async def work(sample):
        question, pair, reason = await agents.write_pair(asker, sample, shown[sample.sample_id], spec.teacher.reasoner)
        return sample.sample_id, question, pair, reason

    made = {}
    for sample_id, question, pair, reason in planning.asked(asker, "questions", "pairs", samples, work, bar):
        if question is None:
            ledger.drop("questions", reason, sample_id)
            continue
        ledger.keep("questions")
        if pair is None:
            ledger.drop("answers", reason, question.question_id, question.text[:120])
        else:
            ledger.keep("answers")
        made[sample_id] = question, pair
    return made


def _trained(made, samples, shown, spec, ledger, seed):
    """(sft rows in a shuffled order, figures for the card)."""
    used = {
        made[sample.sample_id][0].question_id: sample
        for sample in samples
        if sample.purpose == "train" and made.get(sample.sample_id, (None, None))[1]
    }
    pairs = [made[sample.sample_id][1] for sample in used.values()]
    kept, figures = filtered(pairs, {own: sample.discipline for own, sample in used.items()}, spec.filters, ledger)
    rows = []
    for pair in kept:
        sample = used[pair.question_id]
        question = made[sample.sample_id][0]
        rows.append(sft_row(question, pair, sample, shown[sample.sample_id], spec.licence))
    concepts, sets = coverage.distinct(
        [[concept_id(sample.discipline, name) for name in sample.concepts] for sample in used.values()]
    )
    figures |= {"coverage": {"questions": len(used), "concepts": concepts, "concept pairs": sets}}
    return sorted(rows, key=lambda row: order(seed, "rows", row.id)), figures


def _graded(purpose, size, made, samples, shown, spec, ledger):
    """The graded rows of one purpose, at most `size` of each discipline, each prompt once."""
    rows, prompts, counts = [], set(), Counter()
    for sample in samples:
        question, pair = made.get(sample.sample_id, (None, None))
        if sample.purpose != purpose or pair is None:
            continue
        row, reason = graded_row(question, pair, sample, shown[sample.sample_id], spec.licence, spec.tolerance)
        if row and pair.instruction in prompts:
            row, reason = None, "same question"
        elif row and counts[sample.discipline] == size:
            row, reason = None, SURPLUS
        if row is None:
            ledger.drop(purpose, reason, question.question_id, question.text[:120])
            continue
        prompts.add(pair.instruction)
        counts[sample.discipline] += 1
        ledger.keep(purpose)
        rows.append(row)
    return rows


def _nodes(courses):
    """Every concept once, as the report reads nodes."""
    nodes = {}
    for course in courses:
        for lesson in course.lessons:
            for name in lesson.key_concepts:
                own = concept_id(course.discipline, name)
                path = [course.discipline, course.subject_name, lesson.name, name]
                text = f"{name}: {lesson.description}"
                nodes.setdefault(
                    own, {"node_id": own, "number": "", "path": path, "family": course.discipline, "text": text}
                )
    return list(nodes.values())


def _notes(spec, taxonomy, tests, wanted):
    notes = []
    if not any(entry.votes for entry in taxonomy):
        notes.append("Nobody has voted on the taxonomy.")
    if len(tests) < wanted:
        notes.append(f"{len(tests)} test items, {wanted} were asked for.")
    if spec.teacher.kind != "expert":
        notes.append("A model wrote questions and answers; none of them was checked by a person.")
        if not spec.benchmarks:
            notes.append("No evaluation set was named in data.benchmarks: rows were compared with the own test alone.")
    return notes
