"""The reply form: how a prompt asks for an answer, how a reply is written, and how the parts of a reply are read.

No other module knows the form. Rows hold fields (`Exchange`); `render_messages` makes chat turns of them, and nothing
parses those turns back. What a model writes is text: `visible`, `find_answers` and `split_reply` read it.

In the form `tags` a prompt is the question with its options and a last line "Give the final answer in <answer> tags.",
and a reply is

    <think>the reasoning</think>
    The solution in a sentence.
    <answer>the answer</answer>
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from recipes.base.options import LETTERS, list_options, option_of

Turns = list[dict[str, str]]  # [{"role", "content"}]


@dataclass(frozen=True)
class Form:
    """How the parts of a reply are marked, and the line that asks for it.

    Attributes:
        name: what a recipe calls the form.
        thinking, answer: the marks in front of and behind that part.
        request: the last line of a prompt; `{what}` is what is asked for, `{among}` the names that it may be one of.
    """

    name: str
    thinking: tuple[str, str]
    answer: tuple[str, str]
    request: str

    @property
    def marks(self) -> tuple[str, ...]:
        """All marks, in the order in which a reply has them."""
        return self.thinking + self.answer

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches every mark."""
        return re.compile("|".join(map(re.escape, self.marks)))

    @cached_property
    def requested(self) -> re.Pattern[str]:
        """Matches the first line, with the break before it, that lists an option or asks for this form."""
        request = re.escape(self.request).replace(r"\{what\}", ".*").replace(r"\{among\}", ".*")
        return re.compile(rf"(?:^|\n)(?=[{LETTERS}]\) |{request}(?:\n|$))")

    @cached_property
    def begun(self) -> re.Pattern[str]:
        """Matches every mark and what begins like one, in any case: `</THINK >`."""
        return re.compile("|".join(re.escape(mark.rstrip(">")) + r"\b" for mark in self.marks), re.I)


TAGS = Form(
    name="tags",
    thinking=("<think>", "</think>"),
    answer=("<answer>", "</answer>"),
    request="Give {what} in <answer> tags{among}.",
)
FORMS = {form.name: form for form in (TAGS,)}


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One question and its reply as fields.

    Attributes:
        question: what is asked, without options and without the request for the form.
        context: a text that the question is about; it stands behind the question, or before it with `context_first`.
        options: the options of a choice, or all answers that a closed question has.
        options_as: how the prompt shows them: as lettered lines; by name in the request, where several of them may be
            the answer; or not at all.
        asks_for: what the request says to give, as in "the value"; empty: "the right option" of lettered ones (or its
            letter, see `answer_as`), else "the final answer"; None: the prompt ends without a request.
        thinking, solution: the parts of the reply before its answer; None where it has no such part.
        answer: the gold answer; of lettered options the letter. Empty where the reply has no answer block.
        answer_as: what a reply says of lettered options: "words", the option's own, or its "letter". Graders take both.
            To find the letter of a text is a skill apart, which a very small model lacks; other bases answer so.
        program: the program that stands in the answer block and prints the answer.
        verbatim: the whole reply as its author wrote it, where it does not keep to the form; it is shown as it is.
    """

    question: str
    context: str = ""
    context_first: bool = False
    options: tuple[str, ...] | None = None
    options_as: Literal["letters", "names", "unlisted"] = "letters"
    asks_for: str | None = ""
    thinking: str | None = None
    solution: str | None = None
    answer: str = ""
    answer_as: Literal["words", "letter"] = "words"
    program: str = ""
    verbatim: str = ""

    @property
    def asked(self) -> str:
        """The question with its context as the prompt shows them: without options and request."""
        parts = (self.context, self.question) if self.context_first else (self.question, self.context)
        return "\n".join(part for part in parts if part)

    @property
    def lettered(self) -> bool:
        """Whether the prompt lists options by letter."""
        return bool(self.options) and self.options_as == "letters"

    @property
    def answer_text(self) -> str:
        """The answer as the reply says it. Raises ValueError where that of lettered options is not the letter of one of
        them."""
        if not (self.lettered and self.answer):
            return self.answer
        words = option_of(self.answer, self.options or ())
        return words if self.answer_as == "words" else self.answer


class Parts(NamedTuple):
    """The parts of a reply that keeps to the form, each without the white space around it."""

    thinking: str
    solution: str
    answer: str


def render_question(exchange: Exchange) -> str:
    """The user turn without its request: question, context and lettered options."""
    return "\n".join([exchange.asked, *([list_options(exchange.options or ())] if exchange.lettered else [])])


def render_prompt(exchange: Exchange, form: Form = TAGS) -> str:
    """The user turn."""
    if exchange.asks_for is None:
        return render_question(exchange)
    option = "the right option" if exchange.answer_as == "words" else "the letter of the right option"
    what = exchange.asks_for or (option if exchange.lettered else "the final answer")
    named = ", ".join(exchange.options or ()) if exchange.options_as == "names" else ""
    request = form.request.format(what=what, among=f", one or more of: {named}" if named else "")
    return f"{render_question(exchange)}\n{request}"


def render_reply(exchange: Exchange, form: Form = TAGS) -> str:
    """The assistant turn. Raises ValueError as `Exchange.answer_text`."""
    if exchange.verbatim:
        return exchange.verbatim
    parts = []
    if exchange.thinking is not None:
        parts.append(exchange.thinking.join(form.thinking))
    if exchange.solution is not None:
        parts.append(exchange.solution)
    if exchange.program:
        parts.append(f"\n{exchange.program}\n".join(form.answer))
    elif exchange.answer:
        parts.append(exchange.answer_text.join(form.answer))
    return "\n".join(parts)


def render_messages(exchange: Exchange, form: Form = TAGS) -> tuple[Turns, Turns]:
    """(turns of the prompt, turns of the reply), one each."""
    prompt, reply = render_prompt(exchange, form), render_reply(exchange, form)
    return [{"role": "user", "content": prompt}], [{"role": "assistant", "content": reply}]


def split_request(text: str, form: Form = TAGS) -> tuple[str, str]:
    """(what stands before lettered options and the request, the rest) of a prompt of which only the text is known."""
    found = form.requested.search(text)
    place = found.start() if found else len(text)
    return text[:place], text[place:]


def split_reply(reply: str, form: Form = TAGS) -> Parts | None:
    """The parts of a reply that keeps to the form: thinking, any text, answer, nothing before or after; else None."""
    reply = reply.strip()
    if any(reply.count(mark) != 1 for mark in form.marks):
        return None
    thinking, _, rest = reply.partition(form.thinking[1])
    solution, _, answer = rest.partition(form.answer[0])
    if not thinking.startswith(form.thinking[0]) or not answer.endswith(form.answer[1]):
        return None
    found = (thinking.removeprefix(form.thinking[0]), solution, answer.removesuffix(form.answer[1]))
    return Parts(*(part.strip() for part in found))


def split_thinking(reply: str, form: Form = TAGS) -> tuple[str | None, str]:
    """(chain of thought, what stands behind it) of a reply that begins with one; (None, reply) of another."""
    opening, closing = form.thinking
    if not reply.startswith(opening) or closing not in reply:
        return None, reply
    inside, _, rest = reply.removeprefix(opening).partition(closing)
    return inside, rest.lstrip("\n")


def visible(reply: str, form: Form = TAGS) -> str:
    """What follows the thinking; the whole reply where there is none."""
    return reply.rpartition(form.thinking[1])[2]


def without_answer_marks(reply: str, form: Form = TAGS) -> str:
    """A reply whose thinking has lost the marks of an answer, as reasoning about the form itself has them."""
    thinking, closing, behind = reply.rpartition(form.thinking[1])
    for mark in form.answer:
        thinking = thinking.replace(mark, "")
    return thinking + closing + behind


def before_thinking(text: str, form: Form = TAGS) -> str:
    """What stands before thinking that begins in a text; the whole text where none does."""
    return text.partition(form.thinking[0])[0]


def find_answers(reply: str, form: Form = TAGS) -> list[str]:
    """The texts of all answer blocks behind the thinking, in order, each without the white space around it."""
    # Split, not a lazy regular expression: thousands of opening marks without a closing one would make that quadratic.
    opening, closing = form.answer
    pieces = visible(reply, form).split(closing)[:-1]
    return [piece.rpartition(opening)[2].strip() for piece in pieces if opening in piece]


def without_marks(text: str, form: Form = TAGS) -> str:
    """A text with a space in the place of each mark."""
    return form.pattern.sub(" ", text)


def holds_mark(text: str, form: Form = TAGS) -> bool:
    """Whether a text holds a mark, or what begins like one."""
    return form.begun.search(text) is not None
