"""The questions that a teacher is asked, from a discipline to an answer, and how each reply is read.

Order, sampling and what each prompt is given follow GLAN (arXiv 2402.13064, section 2); its prompts are not public, and
those in `prompts/` are ours. A subject list and a syllabus are asked for in free text first; a second turn puts them
into a form that can be read, because asking for the form at once costs quality.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data_builders.glan.outline import Outline, Syllabus, read_subjects
from data_builders.glan.sampling import Sample
from data_builders.llm.chat import Chat, Unusable
from data_builders.llm.choices import CHOICES, clean_option
from data_builders.llm.prompts import prompt, quote_text
from recipes.base.hashing import stable_id
from recipes.base.reply_form import TAGS, Exchange, find_answers, render_prompt, visible, without_answer_marks

PROMPTS = Path(__file__).parent / "prompts"
PLAN = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 8000}
FORM = {"temperature": 0.0, "max_tokens": 8000}
QUESTION = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 1500}
ANSWER = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 4000}

Line = Annotated[str, Field(min_length=1, max_length=300)]


class Checked(BaseModel):
    """The reply of the examiner: a question with four options, or with none for a number."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    options: list[Line] = Field(max_length=CHOICES)
    concept: Line

    @field_validator("options")
    @classmethod
    def _four_or_none(cls, options):
        options = list(map(clean_option, options))
        if len(options) not in (0, CHOICES) or len({option.casefold() for option in options}) < len(options):
            raise ValueError("give four different options, or none")
        return options


@dataclass(frozen=True)
class Question:
    """A question on a concept set, as the artefact holds it. `options` and `concept` are those of graded ones."""

    question_id: str
    sample_id: str
    text: str
    options: tuple[str, ...]
    concept: str
    model: str
    temperature: float
    top_p: float
    asked: str

    @property
    def exchange(self) -> Exchange:
        """What is asked, without a reply: as it was written, or with its options and the request for the form."""
        return Exchange(question=self.text, options=self.options or None, asks_for="" if self.concept else None)


@dataclass(frozen=True)
class Pair:
    """A question with its answer, joined by the question's id."""

    question_id: str
    instruction: str
    response: str
    model: str
    temperature: float
    top_p: float
    asked: str


@dataclass(frozen=True)
class Written:
    """What came of a sample: question and answer, or None with the reason `dropped`.

    `syllabus` is the course as the question's prompt showed it.
    """

    sample: Sample
    syllabus: Syllabus
    question: Question | None = None
    pair: Pair | None = None
    dropped: str | None = None

    @property
    def answered(self) -> tuple[Question, Pair]:
        """Question and answer of a sample that has both."""
        assert self.question is not None and self.pair is not None, self.dropped
        return self.question, self.pair


def subjects_chat(entry, draw, model):
    """First turn: the subjects of a discipline in free text. `entry` is a taxonomy.Discipline."""
    source = prompt(PROMPTS / "subjects.md")
    user = source.fill(
        "user", discipline=entry.discipline, field=entry.field, sub_field=entry.sub_field, kind=entry.kind
    )
    system = source.fill("system")
    return Chat("subjects", model, system, user, None, **PLAN, prompt_version=source.id, draw=draw)


def jsonl_chat(first, text):
    """Second turn: the same list as JSON lines."""
    source = prompt(PROMPTS / "subjects.md")
    return Chat(
        "subjects jsonl", first.model, first.system, source.fill("jsonl"), None, **FORM, prompt_version=source.id,
        draw=first.draw, read=read_subjects, formed=True, earlier=((first.user, text),),
    )  # fmt: skip


def syllabus_chat(subject, model):
    """First turn: the syllabus of a subject in free text."""
    source, discipline = prompt(PROMPTS / "syllabus.md"), subject.discipline
    user = source.fill(
        "user",
        discipline=discipline,
        subject=subject.subject_name,
        level=subject.level,
        subtopics=", ".join(subject.subtopics),
    )
    system = source.fill("system", discipline=discipline)
    return Chat("syllabus", model, system, user, None, **PLAN, prompt_version=source.id)


def extract_chat(first, text):
    """Second turn: its sessions and key concepts as JSON."""
    source = prompt(PROMPTS / "syllabus.md")
    return Chat(
        "extract", first.model, first.system, source.fill("extract"), Outline, **FORM, prompt_version=source.id,
        earlier=((first.user, text),),
    )  # fmt: skip


def question_chat(sample, syllabus, model, checked=False):
    """A question on a sample's concepts: free, or with an answer that can be checked."""
    source = prompt(PROMPTS / ("checked.md" if checked else "question.md"))
    user = source.fill(
        "user",
        discipline=syllabus.discipline,
        subject=syllabus.subject_name,
        level=syllabus.level,
        syllabus=quote_text(course(syllabus)),
        sessions=quote_text("; ".join(syllabus.lessons[place].name for place in sample.lessons)),
        concepts=quote_text("; ".join(sample.concepts)),
        book="open" if sample.purpose == "heldout" else "closed",
    )
    system = source.fill("system", discipline=syllabus.discipline)
    agent, schema = ("checked", Checked) if checked else ("question", None)
    return Chat(agent, model, system, user, schema, **QUESTION, prompt_version=source.id, draw=sample.seed)


def course(syllabus):
    """The whole syllabus, as question prompts show it."""
    lines = [
        f"{number}. {lesson.name}: {lesson.description}\n   Key concepts: {'; '.join(lesson.key_concepts) or 'none'}"
        for number, lesson in enumerate(syllabus.lessons, 1)
    ]
    return "\n".join(lines)


def answer_chat(question, draw, model):
    """The question and nothing else."""
    form = {"read": check_form if question.concept else str, "thinks": True, "formed": bool(question.concept)}
    user = render_prompt(question.exchange)
    return Chat("answer", model, "", user, None, **ANSWER, prompt_version="", draw=draw, **form)


def check_form(text: str) -> str:
    """A reply that has exactly one filled answer block behind its thinking, which loses such marks. Raises Unusable."""
    opening, closing = TAGS.answer
    answers = find_answers(text)
    if len(answers) != 1 or not answers[0] or visible(text).count(opening) != 1:
        raise Unusable("wrong form", f"it does not have exactly one {opening}…{closing} block.")
    return without_answer_marks(text)


async def list_subjects(asker, entry, draw):
    """(Subjects or None, free text, reason for None) of one query."""
    first = subjects_chat(entry, draw, asker.model)
    listed = await asker.ask(first)
    if listed.dropped:
        return None, "", listed.dropped
    read = await asker.ask(jsonl_chat(first, listed.value))
    return read.value, listed.value, read.dropped


async def write_syllabus(asker, subject):
    """(Outline or None, free text, reason for None)."""
    first = syllabus_chat(subject, asker.model)
    written = await asker.ask(first)
    if written.dropped:
        return None, "", written.dropped
    extracted = await asker.ask(extract_chat(first, written.value))
    return extracted.value, written.value, extracted.dropped


async def write_pair(asker, sample, syllabus, reasoner):
    """The Written of a sample: the answer that it holds was given to its own question."""
    chat = question_chat(sample, syllabus, asker.model, checked=sample.purpose != "train")
    asked = await asker.ask(chat)
    if asked.dropped:
        return Written(sample, syllabus, dropped=asked.dropped)
    text, options, concept = _parts(asked.value)
    alien = bool(concept) and concept not in sample.concepts
    asker.check_record(asked.key, "names a concept that was not given" if alien else None, text)
    if alien:
        return Written(sample, syllabus, dropped="checked: names a concept that was not given")
    own = stable_id(sample.sample_id, text, options)
    told = (chat.model, chat.temperature, chat.top_p, asked.key)
    question = Question(own, sample.sample_id, text, options, concept, *told)
    chat = answer_chat(question, sample.seed, reasoner or asker.model)
    answered = await asker.ask(chat)
    if answered.dropped:
        return Written(sample, syllabus, question, dropped=answered.dropped)
    told = (chat.model, chat.temperature, chat.top_p, answered.key)
    return Written(sample, syllabus, question, Pair(own, render_prompt(question.exchange), answered.value, *told))


def _parts(value):
    if isinstance(value, str):
        return value.strip(), (), ""
    return " ".join(value.question.split()), tuple(value.options), value.concept


def prompt_versions():
    """The versions of all prompts."""
    return " ".join(prompt(PROMPTS / f"{name}.md").id for name in ("subjects", "syllabus", "question", "checked"))
