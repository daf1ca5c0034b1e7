"""What a teacher is asked and what it answers. A teacher has a `name`, a `version` and `ask(requests) -> replies`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from data_builders.schema import stable_id

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
    options: tuple[str, ...] | None = Field(None, description="the options A to D of a multiple-choice question")


REPLY_SCHEMA = Reply.model_json_schema()


@dataclass(frozen=True)
class Request:
    """One record wanted. `subject` is the fact or formula it is about, `values` the numbers of a calculation.

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

    def ask(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply a request, in their order, each carrying the id of its request."""
