"""What a teacher is asked for a record and what it answers; `in_order` holds it to that.

A teacher has a `name`, a `version` and `ask(requests, arrived) -> replies`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id

PROMPT_VERSION = 1


class Reply(BaseModel):
    """A teacher's reply to one request: the record, or `declined` with the reason why there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: str
    declined: str | None = None
    question: str = ""
    thinking: str = ""
    solution: str = ""
    answer: str = ""
    options: tuple[str, ...] | None = Field(
        default=None, description="the options A to D of a multiple-choice question"
    )
    asked: tuple[str, ...] = Field(default=(), description="keys in the store of the questions that it was made from")


REPLY_SCHEMA = Reply.model_json_schema()


@dataclass(frozen=True)
class Request:
    """One record wanted. `subject` is the fact, formula or node it is about, `values` the numbers of a calculation.

    `kind` is mcq, open or calc; `wording` picks the question, `draw` varies the options; `seed` settles every choice.
    """

    node_id: str
    family: str
    stance: str
    kind: str
    wording: int
    draw: int
    split: str
    subject: dict
    values: dict[str, str] | None
    seed: int

    @cached_property
    def id(self):
        return stable_id(self.node_id, self.kind, self.wording, self.draw, self.subject, self.values, self.seed)

    @property
    def schema(self):
        """The JSON schema its reply must satisfy."""
        return REPLY_SCHEMA


class Teacher(Protocol):
    name: str
    version: int

    def ask(self, requests: Iterable[Request], arrived: Callable[[Reply], None]) -> Iterable[Reply]:
        """One reply a request, in their order, each carrying the id of its request; `arrived` as each one is there."""
        ...


def in_order(teacher, requests, arrived):
    """The replies to `requests`, in order. Raises RecipeError for a teacher that breaks its protocol."""
    replies = []
    for request, reply in zip(requests, teacher.ask(requests, arrived), strict=False):
        if reply.request != request.id:
            raise RecipeError(
                "A teacher's reply does not belong to the request.",
                where=f"teacher {teacher.name}",
                got=reply.request,
                allowed=request.id,
                fix="make the teacher keep ids and order",
            )
        replies.append(reply)
    if len(replies) < len(requests):
        raise RecipeError(
            "A teacher gave too few replies.",
            where=f"teacher {teacher.name}",
            got=f"{len(replies)} replies",
            allowed=f"{len(requests)}, one a request",
            fix="make the teacher reply to every request, with `declined` where it has no record",
        )
    return replies
