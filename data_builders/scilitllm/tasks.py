"""The six kinds of synthetic rows (SciLitIns, arXiv 2408.15545): what a teacher is asked for and what a reply must be.

A reply is one JSON object with text, question and answer; `fault` says why one of the right form is not taken.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data_builders.core.patterns import ASSISTANT, SOURCE
from data_builders.core.schema import order
from data_builders.core.thinking import clean_thinking
from data_builders.llm.choices import CHOICES
from data_builders.scilitllm import molecules
from recipes.base.options import letter_of
from recipes.base.reply_form import Exchange, holds_mark

ENTITIES = 2  # fewest entities of an extraction

Line = Annotated[str, Field(min_length=1, max_length=1200)]
Chain = Annotated[str, Field(min_length=1, max_length=40_000)]
Text = Annotated[str, Field(min_length=20, max_length=20_000)]


class Written(BaseModel):
    """What every teacher's reply holds: a text of its own, a question on it, the reasoning, the answer."""

    model_config = ConfigDict(extra="forbid")

    text: Text
    question: Line
    reasoning: Chain
    answer: Line

    @field_validator("question", "reasoning", "answer")
    @classmethod
    def _one_line(cls, value):
        value = " ".join(value.split())
        if not value:
            raise ValueError("must not be empty")
        return value

    @field_validator("reasoning", mode="before")
    @classmethod
    def _clean(cls, value):
        return clean_thinking(value) or "So:" if isinstance(value, str) and value.strip() else value

    def fault(self):
        """Why the reply is not taken, or None; the reasoning was cleaned."""
        fields = (self.text, self.question, self.answer)
        if any(map(holds_mark, fields)):
            return "think or answer tag inside a field"
        if any(ASSISTANT.search(field) for field in fields):
            return "speaks as an assistant, or refuses"
        return "speaks of the text it was made from" if SOURCE.search(self.question) else None


class Extracted(Written):
    """A table or entities; cells and entities are parted by ";" and have to stand in the text."""

    def parts(self):
        return [part.strip() for part in self.answer.split(";") if part.strip()]

    def fault(self):
        text = plain(self.text)
        if len(self.parts()) < ENTITIES:
            return "fewer than two things extracted"
        missing = [word for part in self.parts() for word in plain(part).split() if word not in text.split()]
        return "extracts what the text does not have" if missing else super().fault()


class Chosen(Written):
    """Four options, of which the answer is one."""

    options: list[Line] = Field(min_length=CHOICES, max_length=CHOICES)

    def fault(self):
        if len({plain(option) for option in self.options}) < CHOICES:
            return "options are not four"
        return super().fault() if self.answer in self.options else "answer is no option"


class Decided(Written):
    """A statement that is true or false by the text."""

    answer: Literal["true", "false"]


class Molecule(BaseModel):
    """A molecule in words, and as SMILES; `text` may be empty."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=20_000)
    question: Line
    reasoning: Line
    answer: Line

    def fault(self):
        return None if molecules.is_valid(self.answer) else "not a valid SMILES string"


@dataclass(frozen=True)
class Task:
    """One kind: its name as published, the class of a reply, the kind of its test rows and their grader.

    `options` are the answers that there are to every question of the kind, where it is a closed one.
    """

    name: str
    reply: type[BaseModel]
    kind: str
    grader: str
    options: tuple[str, ...] | None = None


TASKS = {
    task.name: task
    for task in (
        Task("table_extraction", Extracted, "extraction", "overlap"),
        Task("entity_extraction", Extracted, "extraction", "overlap"),
        Task("multiple_choice", Chosen, "choice", "choice"),
        Task("T_F", Decided, "true_false", "text", ("true", "false")),
        Task("molGen_wocontext", Molecule, "molecules", "verbatim"),
        Task("molGen_wcontext", Molecule, "molecules", "verbatim"),
    )
}


@dataclass(frozen=True)
class Record:
    """A synthetic question with its answer, ready to be a row. `options` is None but for a choice.

    `split` is sft or test; `asked` is the key of the teacher's reply in the store, "" for rules.
    """

    id: str
    task: str
    domain: str
    split: str
    text: str
    question: str
    reasoning: str
    answer: str
    options: tuple[str, ...] | None
    keywords: tuple[str, ...]
    teacher: str
    asked: str

    @property
    def exchange(self) -> Exchange:
        """Its question, with its text as context, and its reply."""
        closing, closed = ("So the right option is" if self.options else "So"), TASKS[self.task].options
        return Exchange(
            question=self.question,
            context=self.text,
            options=self.options or closed,
            options_as="letters" if self.options else "unlisted",
            thinking=self.reasoning,
            solution=f"{closing}: {self.answer}.",
            answer=letter_of(self.answer, self.options) if self.options else self.answer,
        )


def record(job, written, teacher, asked):
    """The Record of a reply that has no fault; a model's options change places by their content."""
    options = getattr(written, "options", None)
    if options:
        options = tuple(sorted(options, key=lambda option: order(job.id, option)))
    fields = {name: getattr(written, name).strip() for name in ("text", "question", "reasoning", "answer")}
    return Record(
        id=job.id,
        task=job.task,
        domain=job.domain,
        split=job.split,
        options=options,
        keywords=job.keywords,
        teacher=teacher,
        asked=asked,
        **fields,
    )


def plain(text):
    """Lower-case words and numbers, single-spaced."""
    return " ".join(re.findall(r"[^\W_]+(?:\.\d+)?", text.casefold()))
