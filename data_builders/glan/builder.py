"""Instructions and answers from a taxonomy of human knowledge, with no seed data, after GLAN (arXiv 2402.13064).

Source: the taxonomy of the recipe (fields, sub-fields, disciplines) and a teacher. For each discipline the teacher
lists subjects, writes a syllabus for each, and for every question gets a fresh set of key concepts, of one class
session or of two, with the whole syllabus; it answers in a separate call that shows the question alone. Teachers are a
model, or the expert: rules over a bank of definitions, relations and formulas, written for this recipe, that answer the
same requests. What was made on the way stands in subjects, syllabuses, samples, questions and pairs (.jsonl).

Splits are by concept. A share of each discipline's concepts is held out: no training question is about one of them, and
the syllabus that its prompt shows leaves them out. *seen* tests other questions about trained concepts, *heldout*
questions about concepts held out: each brings the facts that it and its wrong options need, so training can help with
how to read and use them, and cannot with knowing them. Both are written and answered by the teacher itself, with
options or a number, so that they can be graded. Training rows that hold an item of the test, or of an evaluation set
that is named, are taken out.

Limits: the test comes from the generator of the training rows, so it measures what was covered, not transfer to other
tests. A model's questions and answers are checked by nobody, and where it is weak the rows are weak. The taxonomy has
been voted on by nobody unless the card says so. The expert asks in a few wordings for each kind of question and knows
the concepts of its bank alone; its wrong options are what is true of other concepts, without those that also_true.toml
names as defensible: one reading of the bank by one person.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.build import Leaks, Made, finish
from data_builders.core.leaks import KINDS
from data_builders.core.ledger import Ledger, require_rows
from data_builders.core.progress import Bar, Say
from data_builders.glan import agents, assembly, planning, sampling
from data_builders.glan.bank import Bank, read_bank
from data_builders.glan.expert import open_expert
from data_builders.glan.outline import folded, held_out
from data_builders.glan.spec import Spec
from data_builders.glan.taxonomy import FILE as TAXONOMY
from data_builders.glan.taxonomy import Discipline, chosen, read_taxonomy
from data_builders.llm import REPLIES
from data_builders.llm.asking import open_teacher
from data_builders.llm.bill import Lengths, bill, together

VERSION = 3
SHIPPED = Path(__file__).parent / "corpus"
SPARE = 2.0  # graded questions asked for each one wanted: some repeat, some have no answer that can be graded
ROW_TOKENS = 88  # of an sft row of the expert, counted as in the card; measured on the shipped bank
# For the bill of a model: subjects of a discipline and concepts of a syllabus; tokens of a list of subjects, of a
# syllabus, of a question, and of a prompt without the three.
SUBJECTS, CONCEPTS, LISTED, COURSE, ASKED, PROMPT = 150, 100, 3500, 2500, 120, 300


def corpus_dir(spec: Spec) -> Path:
    """The folder that holds the taxonomy (taxonomy.toml), evaluation sets, and the expert's bank."""
    return SHIPPED if spec.corpus == "shipped" else Path(spec.corpus).expanduser()


def _entries(spec: Spec, folder: Path, ledger: Ledger) -> tuple[list[Discipline], Bank | None]:
    """(disciplines of the run, the bank or None)."""
    entries = read_taxonomy(folder)
    if spec.teacher.kind != "expert":
        return chosen(entries, spec.disciplines, ledger), None
    bank = read_bank(folder)
    known = [entry.discipline for entry in entries if entry.discipline in bank.chapters and not entry.removed]
    return chosen(entries, spec.disciplines or known, ledger), bank


def plan(spec: Spec, folder: Path, ledger: Ledger) -> tuple[list[Discipline], Bank | None, dict[str, int]]:
    """(disciplines of the run, the expert's bank or None, questions asked in each discipline by purpose), for the
    forecast as for the build."""
    wanted = {"train": spec.questions, "rl": spec.rl_questions, **spec.tests.model_dump()}
    asked = {purpose: size if purpose == "train" else round(SPARE * size) for purpose, size in wanted.items()}
    disciplines, bank = _entries(spec, folder, ledger)
    return disciplines, bank, asked


def forecast(spec: Spec, corpus_dir: Path, replies: Path | None = None) -> dict[str, Any]:
    """What a build will come to, without asking anyone; of a model as teacher also its `bill`."""
    lengths = Lengths(replies)
    entries, bank, asked = plan(spec, corpus_dir, Ledger())
    count, graded = len(entries), sum(spec.tests.model_dump().values())
    sft, test, rl = (count * each for each in (spec.questions, graded, spec.rl_questions))
    pairs = count * sum(asked.values())
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
    model, reasoner = spec.teacher.model, spec.teacher.reasoner or spec.teacher.model
    listed, as_lines = (lengths.of(agent, model, LISTED) for agent in ("subjects", "subjects jsonl"))
    course, outline = (lengths.of(agent, model, COURSE) for agent in ("syllabus", "extract"))
    question, answer = lengths.of("question", model, ASKED), lengths.of("answer", reasoner, spec.teacher.reply_tokens)
    sent = (2 * PROMPT + listed) * lists + (2 * PROMPT + course) * courses + (PROMPT + outline) * pairs
    written = (listed + as_lines) * lists + (course + outline) * courses + question * pairs
    answers = bill(spec.teacher, pairs, question * pairs, answer * pairs, reasoner)
    whole = together([bill(spec.teacher, requests - pairs, sent, written), answers])
    return told | {"bill": whole | {"guessed": sorted(lengths.guessed)}}


def build(
    spec: Spec, corpus_dir: Path, out: Path, seed: int, bar: Bar, say: Say, replies: Path | None = None
) -> dict[str, Any]:
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. `replies` is the file of stored replies (default: in `out`), from which an interrupted build goes on; a
    discipline that is added later is asked about alone. Raises RecipeError for a taxonomy or bank that cannot be used,
    for leaks above the threshold, where a model's endpoint, budget or replies end the run, and where no training row is
    left.
    """
    ledger, tests_outside = Ledger(), read_benchmarks(spec.benchmarks)
    entries, bank, asked = plan(spec, corpus_dir, ledger)
    path = replies or out / REPLIES
    asker = open_expert(bank, spec.teacher, path, say) if bank else open_teacher(spec.teacher, path, say)
    try:
        subjects = planning.subjects(asker, entries, spec, ledger, bar)
        courses = planning.syllabuses(asker, subjects, spec, ledger, bar)
        written = _written(asker, _samples(courses, asked, spec, seed), spec, ledger, bar)
        spent = {} if bank else {"teacher": asker.figures()}
    except BaseException:
        say(f"teacher: {asker.spent()} so far, kept in {path}")
        raise
    finally:
        asker.close()
    require_rows([entry for entry in written if entry.pair], ledger, "the answered questions of the teacher")
    sft, figures = assembly.trained(written, spec, ledger, seed)
    graded = {
        purpose: assembly.grade_rows(purpose, size, written, spec, ledger)
        for purpose, size in (("rl", spec.rl_questions), *spec.tests.model_dump().items())
    }
    tests = [row for purpose in spec.tests.model_dump() for row in graded[purpose]]
    wanted = len(entries) * sum(spec.tests.model_dump().values())
    taxonomy, samples = read_taxonomy(corpus_dir), [entry.sample for entry in written]
    metrics = finish(
        out,
        "glan",
        VERSION,
        __doc__,
        Made(
            assembly.nodes(courses),
            sft,
            graded["rl"],
            tests,
            {
                "taxonomy": taxonomy,
                "subjects": subjects,
                "syllabuses": courses,
                "samples": samples,
                "questions": [entry.question for entry in written if entry.question],
                "pairs": [entry.pair for entry in written if entry.pair],
            },
            answer_as=spec.answer_as,
        ),
        ledger,
        Leaks(spec.leak_threshold, (), tests_outside, KINDS),
        say,
        flow=[
            (("questions",), ("answers",)),
            (("answers",), ("filters", "rl", *spec.tests.model_dump())),
            (("filters", "rl"), ("decontamination",)),
        ],
        teacher={"kind": spec.teacher.kind, "model": asker.model, "prompt_version": agents.prompt_versions()},
        corpus=f"{TAXONOMY}: {len(taxonomy)} disciplines, {len(entries)} of them used",
        votes=dict(Counter(entry.status.partition(":")[0] for entry in taxonomy)),
        samples=dict(Counter(f"strategy {sample.strategy}" for sample in samples))
        | {"fell back to one session": sum(sample.fell_back for sample in samples)},
        notes=_notes(spec, taxonomy, tests, wanted),
        **figures,
    )
    return metrics | {"requests": asker.budget.requests} | spent


def _samples(courses, asked, spec, seed):
    """[(sample, the syllabus that its prompt shows)]; `asked` are the questions of a discipline by purpose.

    A training prompt shows no concept that is held out, so that no model can ask about one.
    """
    found = []
    for discipline in dict.fromkeys(course.discipline for course in courses):
        own = [course for course in courses if course.discipline == discipline]
        held = held_out(own, spec.heldout_share, seed) if spec.tests.heldout else set()
        trained = [course.only(lambda name, held=held: folded(name) not in held) for course in own]
        kept = [course.only(lambda name, held=held: folded(name) in held) for course in own]
        for purpose, count in asked.items():
            drawn_from, shown = (kept, own) if purpose == "heldout" else (trained, trained)
            visible = {course.syllabus_id: course for course in shown}
            drawn = sampling.samples(drawn_from, purpose, count, spec, seed)
            found += [(sample, visible[sample.syllabus_id]) for sample in drawn]
    return found


def _written(asker, samples, spec, ledger, bar):
    """[agents.Written], one a sample; each holds its own sample, and what failed is counted."""

    async def work(item):
        sample, visible = item
        return await agents.write_pair(asker, sample, visible, spec.teacher.reasoner)

    made = planning.ask_each(asker, "questions", "pairs", samples, work, bar)
    for entry in made:
        if entry.question is None:
            ledger.drop("questions", entry.dropped, entry.sample.sample_id)
            continue
        ledger.keep("questions")
        if entry.pair is None:
            ledger.drop("answers", entry.dropped, entry.question.question_id, entry.question.text[:120])
        else:
            ledger.keep("answers")
    return made


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
