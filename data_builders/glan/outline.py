"""Subjects and syllabuses: what a model's replies say, and which concepts are kept for the test."""

import re
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from data_builders.core.schema import order
from data_builders.llm.chat import Unusable, json_object

Name = Annotated[str, BeforeValidator(lambda text: " ".join(str(text).split())), Field(min_length=1, max_length=200)]
Text = Annotated[str, BeforeValidator(lambda text: " ".join(str(text).split())), Field(max_length=2000)]


class SubjectLine(BaseModel):
    """One line of the list of subjects."""

    model_config = ConfigDict(extra="ignore")

    subject_name: Name
    level: Name
    subtopics: list[Name] = Field(min_length=1, max_length=60)


@dataclass(frozen=True)
class Subjects:
    """The subjects of one query: (name, level, subtopics) each, and the lines that hold none."""

    found: tuple[SubjectLine, ...]
    bad: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """A subject of a discipline, from the query that named it first. `raw_text` is that query's free text."""

    subject_id: str
    discipline: str
    query_idx: int
    subject_name: str
    level: str
    subtopics: tuple[str, ...]
    raw_text: str


class LessonPart(BaseModel):
    """A class session as it is extracted from a syllabus."""

    model_config = ConfigDict(extra="ignore")

    name: Name
    description: Text = ""
    key_concepts: list[Name] = Field(max_length=40)


class Outline(BaseModel):
    """The reply of the extraction."""

    model_config = ConfigDict(extra="ignore")

    lessons: list[LessonPart] = Field(max_length=80)


@dataclass(frozen=True)
class Lesson:
    idx: int
    name: str
    description: str
    key_concepts: tuple[str, ...]


@dataclass(frozen=True)
class Syllabus:
    """The course of a subject. `raw_text` is the free text from which the lessons were extracted."""

    syllabus_id: str
    subject_id: str
    discipline: str
    subject_name: str
    level: str
    raw_text: str
    lessons: tuple[Lesson, ...]

    @property
    def concepts(self):
        """Names of its key concepts, in the order of its lessons."""
        return [concept for lesson in self.lessons for concept in lesson.key_concepts]

    def only(self, wanted):
        """The same course with the concepts for which `wanted(name)`; a lesson may be left without any."""
        lessons = [
            replace(lesson, key_concepts=tuple(name for name in lesson.key_concepts if wanted(name)))
            for lesson in self.lessons
        ]
        return replace(self, lessons=tuple(lessons))


def read_subjects(text):
    """The Subjects of a reply with one JSON object a line, in a code fence or not.

    Forgiven are prose around the lines, trailing commas and all that `json_object` forgives; a line of the list that
    holds no subject is counted as bad. Raises Unusable where there is no subject at all.
    """
    fenced = FENCED.findall(text)
    lines = [line.strip() for line in ("\n".join(fenced) if fenced else text).splitlines()]
    found, bad = [], []
    for line in lines:
        if not line or (not fenced and "{" not in line) or line in ("[", "]"):
            continue
        try:
            found.append(SubjectLine.model_validate(json_object(line)))
        except (Unusable, ValidationError):
            bad.append(line)
    if not found:
        raise Unusable("no subject", "it has no line with a JSON object of subject_name, level and subtopics.")
    return Subjects(tuple(found), tuple(bad))


FENCED = re.compile(r"```\w*[ \t]*\n(.*?)(?:```|\Z)", re.S)


def folded(name):
    """A name as it is compared: case and spaces aside."""
    return " ".join(name.casefold().split())


def lessons_of(outline, cap, ledger, source):
    """The lessons of an `Outline` that have concepts, at most `cap` (0: all); what goes is counted.

    A concept stands in the lesson that names it first.
    """
    known, kept = set(), []
    for part in outline.lessons:
        fresh = []
        for concept in part.key_concepts:
            if folded(concept) in known:
                ledger.drop("concepts", "named before in this syllabus", source, concept)
            else:
                known.add(folded(concept))
                fresh.append(concept)
        if not fresh:
            ledger.drop("sessions", "no key concept of its own", source, part.name)
        elif cap and len(kept) == cap:
            ledger.drop("sessions", "more than asked for", source, part.name)
        else:
            kept.append(Lesson(len(kept), part.name, part.description, tuple(fresh)))
            ledger.keep("concepts", len(fresh))
            ledger.keep("sessions")
    return tuple(kept)


def held_out(syllabuses, share, seed):
    """Folded names of the concepts of one discipline that no training row is to be about: about `share` of them.

    A concept that two courses name is one concept.
    """
    names = sorted({folded(name) for syllabus in syllabuses for name in syllabus.concepts})
    discipline = syllabuses[0].discipline if syllabuses else ""
    ranked = sorted(names, key=lambda name: order(seed, "held", discipline, name))
    return set(ranked[: max(1, round(share * len(names)))]) if len(names) > 1 else set()
