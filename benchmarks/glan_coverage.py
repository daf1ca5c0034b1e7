"""What sampling from a taxonomy covers, beside ways of asking that skip a part of it.

    python -m benchmarks.glan_coverage --questions 500 1000 2000 4000 8000 --seed 42

The expert of the recipe `glan` writes the same number of questions over the same disciplines in four ways:

fresh     a new set of concepts, of one class session or of two, and a new seed for every question: the recipe
single    the same, of one session always
repeated  a set of one session for every ten questions, asked again with another seed, as an open port of GLAN does
one       one prompt for each discipline, with its first five concepts, for all of its questions: no taxonomy below it

Printed for each number N of questions: different concepts; different pairs of concepts that stood together in a
prompt, and both per thousand questions; exact and near duplicates per thousand (near: Jaccard similarity of word
triples of at least 0.8 to one that stays); the share of different word pairs. Duplicates depend on the teacher: the
expert has a few wordings, so take the ratio between the ways, not the level.
"""

import argparse
import tempfile
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from data_builders.core.ledger import Ledger
from data_builders.glan import agents, builder, coverage, planning, sampling
from data_builders.glan.bank import read_bank
from data_builders.glan.expert import open_expert
from data_builders.glan.rows import concept_id
from data_builders.glan.spec import Spec
from data_builders.glan.taxonomy import read_taxonomy

AGAIN = 10  # questions from one concept set in the repeated way
WAYS = ("fresh", "single", "repeated", "one")


def no_bar(title, total, unit):
    return nullcontext(SimpleNamespace(advance=lambda count, note: None))


def drawn(way, courses, count, seed):
    """`count` samples of one discipline."""
    if way == "fresh":
        return sampling.samples(courses, "train", count, Spec(), seed)
    single = sampling.samples(courses, "train", count, Spec(single=1.0), seed)
    if way == "single":
        return single
    if way == "repeated":
        return [replace(single[place // AGAIN], seed=sample.seed) for place, sample in enumerate(single)]
    names = tuple(name for course in courses for name in course.concepts)[: sampling.MOST]
    return [replace(single[0], concepts=names, seed=sample.seed) for sample in single]


def in_turns(lists):
    """Items of several lists, one of each in turn."""
    return [item for items in zip(*lists, strict=True) for item in items]


def measured(way, asker, courses, size, seed):
    """The figures of about `size` questions: whole turns through the disciplines."""
    each = size // len(courses)
    samples = in_turns([drawn(way, own, each, seed) for own in courses.values()])
    shown = {course.syllabus_id: course for own in courses.values() for course in own}

    async def work(sample):
        return await asker.ask(agents.question_chat(sample, shown[sample.syllabus_id], asker.model))

    texts = [answer.value for answer in asker.each(samples, work) if answer.value]
    sets = [[concept_id(sample.discipline, name) for name in sample.concepts] for sample in samples]
    concepts, pairs = coverage.distinct(sets)
    return {"questions": len(texts), "concepts": concepts, "pairs": pairs, **coverage.repeats(texts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--questions", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    bank, spec = read_bank(builder.SHIPPED), Spec(subject_queries=1)
    entries = [entry for entry in read_taxonomy(builder.SHIPPED) if entry.discipline in bank.chapters]
    with tempfile.TemporaryDirectory() as folder:
        asker = open_expert(bank, spec.teacher, Path(folder) / "store", print)
        courses = defaultdict(list)
        for course in planning.syllabuses(
            asker, planning.subjects(asker, entries, spec, Ledger(), no_bar), spec, Ledger(), no_bar
        ):
            courses[course.discipline].append(course)
        print(f"{len(courses)} disciplines, {len(bank.concepts)} concepts, seed {options.seed}")
        heads = ("way", "questions", "concepts", "per 1000", "pairs", "per 1000", "exact", "near", "distinct2")
        print("  ".join(f"{head:>9}" for head in heads) + "   (exact and near: per 1000)")
        for way in WAYS:
            for size in options.questions:
                found = measured(way, asker, courses, size, options.seed)
                n = found["questions"] / 1000
                told = [way, found["questions"]]
                for key in ("concepts", "pairs"):
                    told += [found[key], round(found[key] / n)]
                told += [round(found["exact"] / n), round(found["near"] / n), found["distinct_2"]]
                print("  ".join(f"{value!s:>9}" for value in told))
        asker.close()


if __name__ == "__main__":
    main()
