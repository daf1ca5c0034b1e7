"""The agents that turn a learning node into a record: one asks, one answers with thinking, one edits all but the
thinking.

After the pipeline of a successor of arXiv 2508.10409 as the recipe's sheet describes it; the paper's own prompts are
not known, and those in `prompts/` are ours. The node's text stands in the prompts as a quoted document.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data_builders.analogseeker.protocol import Reply
from data_builders.core.schema import order
from data_builders.core.thinking import clean_thinking
from data_builders.llm.chat import Chat, Unusable
from data_builders.llm.choices import CHOICES, clean_option, read_letter
from data_builders.llm.prompts import prompt, quote_text
from recipes.base.options import option_of
from recipes.base.reply_form import Exchange, render_question, split_reply, visible, without_answer_marks

PROMPTS = Path(__file__).parent / "prompts"
FORMS = {"mcq": "the letter of the right option alone", "open": "the final answer, at most 20 words"}
QUESTION = {"temperature": 1.0, "max_tokens": 500}
ANSWER = {"temperature": 1.0, "max_tokens": 10_000}
POST = {"temperature": 0.0, "max_tokens": 4_000}  # the sheet has 11,000, with the reasoning

Line = Annotated[str, Field(min_length=1, max_length=1200)]
Option = Annotated[str, Field(min_length=1, max_length=300)]
Part = Annotated[str, Field(min_length=1, max_length=40_000)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OpenQuestion(Strict):
    """The reply of the question agent."""

    question: Line

    @field_validator("question")
    @classmethod
    def _one_line(cls, text):
        return " ".join(text.split())


class ChoiceQuestion(OpenQuestion):
    """The same with four options."""

    options: list[Option] = Field(min_length=CHOICES, max_length=CHOICES)

    @field_validator("options")
    @classmethod
    def _bare(cls, options):
        return list(map(clean_option, options))


class Record(Strict):
    """The reply of the post-processor; the reasoning is not its business."""

    question: Line
    solution: Part
    answer: Line


def check_form(text: str) -> str:
    """The reply of the answer agent, if it has one think block, a solution and one answer block, in this order.

    The think block is the one that was asked for, or the model's own reasoning. Raises Unusable.
    """
    text = without_answer_marks(text)  # reasoning may speak of the form that was asked for
    parts = split_reply(text)
    if parts is None:
        raise Unusable("wrong form", "it is not one think block, a solution and one answer block, in this order.")
    if not all(parts):
        raise Unusable("wrong form", "the reasoning, the solution or the answer is empty.")
    return text


class Agents:
    """A teacher of kind openai or transformers; `asker` asks its questions. The subject of a request is a node."""

    version = 1

    def __init__(self, table, asker, gate=lambda request, reply: None):
        """`gate(request, reply)` says why no record can be made of a reply, or None."""
        self.table, self.asker, self.gate, self.name = table, asker, gate, f"{table.kind}:{table.model}"

    def ask(self, requests, arrived=lambda reply: None):
        """One Reply a request, in their order. Raises RecipeError where the run has to end early."""
        return self.asker.each(requests, self._record, arrived)

    async def _record(self, request):
        node, keys = request.subject, []

        async def ask(chat):
            answer = await self.asker.ask(chat)
            keys.append(answer.key)
            return answer

        asked = await ask(question_chat(request, self.asker.model))
        if asked.dropped:
            return self._declined(request, asked.dropped, keys)
        options = None
        if request.kind == "mcq":
            # Models like some letters better than others; here the content of the options decides their places.
            options = tuple(sorted(asked.value.options, key=lambda text: order(node["id"], request.draw, text)))
        question = asked.value.question
        answered = await ask(answer_chat(request, self.table.reasoner or self.asker.model, question, options))
        if answered.dropped:
            return self._declined(request, answered.dropped, keys)
        edited = await ask(post_chat(request, self.asker.model, question, options, answered.value))
        if edited.dropped:
            return self._declined(request, edited.dropped, keys)
        reply = self._reply(request, edited.value, options, split_reply(answered.value), keys)
        fault = reply.declined or self.gate(request, reply)
        self.asker.check_record(edited.key, fault, f"{edited.value.answer} | {answered.value}")
        return reply

    def _reply(self, request, record, options, answered, keys):
        answer = record.answer.strip()
        if options is not None:
            letter = read_letter(answered.answer, options)
            if letter is None or read_letter(answer, options) != letter:
                reason = "answer: names no option" if letter is None else "post: changed the answer"
                return self._declined(request, reason, keys)
            answer = letter
        if answer.casefold().rstrip(".") == "not stated":
            return self._declined(request, "answer: not stated in the node", keys)
        named = f"The right option is: {option_of(answer, options)}." if options else f"So: {answer}."
        return Reply(
            request=request.id,
            question=" ".join(record.question.split()),
            thinking=clean_thinking(answered.thinking) or named,
            solution=clean_thinking(record.solution) or named,
            answer=answer,
            options=options,
            asked=tuple(keys),
        )

    def _declined(self, request, reason, keys):
        return Reply(request=request.id, declined=reason, asked=tuple(keys))


def question_chat(request, model):
    """Question agent: one question about the node from one point of view."""
    source, node = prompt(PROMPTS / f"question_{request.kind}.md"), request.subject
    user = source.fill(
        "user",
        stance=prompt(PROMPTS / "stances.md").parts[request.stance],
        title=quote_text(node["title"]),
        document=quote_text(node["text"]),
        draw=str(request.draw + 1),
    )
    schema = ChoiceQuestion if request.kind == "mcq" else OpenQuestion
    version = f"{source.id} {prompt(PROMPTS / 'stances.md').id}"
    return Chat("question", model, source.fill("system"), user, schema, **QUESTION, prompt_version=version)


def answer_chat(request, model, question, options):
    """Answer agent: reasoning, solution and answer in tags."""
    source, node = prompt(PROMPTS / "answer.md"), request.subject
    shown = render_question(Exchange(question=question, options=options))
    user = source.fill(
        "user",
        title=quote_text(node["title"]),
        document=quote_text(node["text"]),
        question=quote_text(shown),
    )
    system = source.fill("system", form=FORMS[request.kind])
    form = {"read": check_form, "thinks": True, "formed": True}
    return Chat("answer", model, system, user, None, **ANSWER, prompt_version=source.id, **form)


def post_chat(request, model, question, options, reply):
    """Post-processor: the smallest edits of solution and answer, and strict JSON."""
    source, shown = prompt(PROMPTS / "post.md"), render_question(Exchange(question=question, options=options))
    user = source.fill("user", question=quote_text(shown), reply=quote_text(visible(reply).strip()))
    system = source.fill("system", form=FORMS[request.kind])
    return Chat("post", model, system, user, Record, **POST, prompt_version=source.id)
