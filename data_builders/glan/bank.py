"""The expert's bank: concepts of some disciplines, each with a definition, a relation and perhaps a formula."""

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_builders.core import arithmetic
from data_builders.sources.facts import Formula, Given
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id

FOLDER, ALSO = "bank", "also_true.toml"
LEAST = 8  # combinations of values that a formula needs
LONGEST = 11  # words of a definition: shorter than the 13 words by which the leak gate knows a test item again
Text = Annotated[str, Field(min_length=1)]
Verb = Literal[
    "depends on", "needs", "gives", "has", "causes", "reduces", "comes from", "is measured in", "consists of",
    "is used for",
]  # fmt: skip


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FormulaEntry(Strict):
    """A computable relation: `given` lists (symbol, quantity, unit, values)."""

    quantity: Text
    symbol: Text
    unit: str
    expression: Text
    given: tuple[tuple[Text, Text, str, tuple[int | float, ...]], ...] = Field(min_length=1)


class Concept(Strict):
    """`article` goes in front of the name where it stands in a sentence."""

    name: Text
    article: Literal["", "a", "an", "the"] = ""
    meaning: Text
    relation: tuple[Verb, Text]
    formula: FormulaEntry | None = None

    @property
    def noun(self) -> str:
        return f"{self.article} {self.name}".strip()

    def solver(self) -> Formula:
        """Its formula, where it has one, as the teachers' arithmetic wants it."""
        entry = self.formula
        assert entry is not None, f"{self.name} has no formula"
        return Formula(
            id=stable_id(self.name),
            stance="analysis",
            quantity=entry.quantity,
            symbol=entry.symbol,
            unit=entry.unit,
            expression=entry.expression,
            statement=self.meaning,
            questions=("{givens}",),
            wrong=("0",),
            given=tuple(Given(symbol=s, quantity=q, unit=u, values=v) for s, q, u, v in entry.given),
        )


class LessonEntry(Strict):
    name: Text
    about: Text
    concept: tuple[Concept, ...] = Field(min_length=1)


class SubjectEntry(Strict):
    name: Text
    level: Text
    subtopics: tuple[Text, ...] = Field(min_length=1)
    lesson: tuple[LessonEntry, ...] = Field(min_length=1)


class Chapter(Strict):
    """One file of the bank: a discipline of the taxonomy."""

    discipline: Text
    subject: tuple[SubjectEntry, ...] = Field(min_length=1)


class Bank:
    """All chapters of a folder. `concepts` maps (discipline, name) to Concept, `identity` names the content.

    `also` maps (discipline, name) to the values of other concepts that would be right too, and so are no wrong options.
    """

    def __init__(self, chapters, identity, also=()):
        self.chapters = {chapter.discipline: chapter for chapter in chapters}
        self.identity = identity
        self.also = dict(also)
        self.concepts = {
            (chapter.discipline, concept.name): concept
            for chapter in chapters
            for subject in chapter.subject
            for lesson in subject.lesson
            for concept in lesson.concept
        }


def read_bank(folder):
    """The Bank of a corpus folder. Raises RecipeError that lists what is wrong in which file."""
    folder = Path(folder) / FOLDER
    chapters, faults, content = [], [], hashlib.sha256()
    for file in sorted(folder.glob("*.toml")):
        text = file.read_text(encoding="utf-8-sig")
        content.update(text.encode())
        try:
            chapters.append(Chapter.model_validate(tomllib.loads(text)))
        except tomllib.TOMLDecodeError as error:
            faults.append(f"{file.name}: {error}")
        except ValidationError as error:
            faults += [f"{file.name}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    faults += list(_faults(chapters))
    also, wrong = _read_also(folder.parent / ALSO, chapters)
    faults += wrong
    content.update(repr(sorted(also.items())).encode())
    if faults or not chapters:
        raise RecipeError(
            "The expert's bank cannot be used.",
            where=str(folder),
            got="\n".join(faults[:10]) or "no .toml file",
            allowed="see Chapter in data_builders/glan/bank.py",
            fix="mend the entries named, or ask a model: data.teacher.kind",
        )
    return Bank(chapters, content.hexdigest()[:12], also)


def _read_also(file, chapters):
    """({(discipline, name): values}, faults) of the file beside the bank, which may be missing."""
    if not file.is_file():
        return {}, []
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        return {}, [f"{file.name}: {error}"]
    found, faults = {}, []
    known = {
        chapter.discipline: {
            concept.name: concept.relation[1]
            for subject in chapter.subject
            for lesson in subject.lesson
            for concept in lesson.concept
        }
        for chapter in chapters
    }
    for discipline, entries in table.items():
        for name, values in entries.items():
            own = known.get(discipline, {})
            faults += [f"{file.name}: no concept {name!r} in {discipline}"] if name not in own else []
            others = set(own.values()) - {own.get(name)}
            faults += [f"{file.name}: {name}: no other concept has {text!r}" for text in values if text not in others]
            found[discipline, name] = tuple(values)
    return found, faults


def _faults(chapters):
    """What would make an answer ambiguous: the expert has to know a concept again from its name or definition."""
    names, meanings = {}, {}
    for chapter in chapters:
        for subject in chapter.subject:
            for concept in (concept for lesson in subject.lesson for concept in lesson.concept):
                where = f"{chapter.discipline}, {concept.name}"
                for known, text in ((names, concept.name), (meanings, concept.meaning)):
                    if text.casefold() in known:
                        yield f"{where}: {text!r} stands also at {known[text.casefold()]}"
                    known[text.casefold()] = where
                if len(concept.meaning.split()) > LONGEST:
                    yield f"{where}: the definition is longer than {LONGEST} words"
                if concept.formula:
                    formula = concept.solver()
                    if len(arithmetic.combinations(formula, 0, LEAST)) < LEAST:
                        yield f"{where}: fewer than {LEAST} combinations of values come out exactly"
