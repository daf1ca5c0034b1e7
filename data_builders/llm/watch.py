"""Whether a model's replies are worth going on with: a run of failures of one kind stops before the money is gone."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from data_builders.llm.replies import NO_CHOICES, TOOL_CALL
from data_builders.llm.table import Teacher
from recipes.base.errors import RecipeError
from recipes.base.redact import mask

FIRST = 3  # times `stop_after`: the first questions of an agent, of which SHARE may not fail
SHARE = 0.9
CHANCE = 1e-6  # that so many failures in a row are chance, where the agent fails often anyway
SHOWN = 200  # characters of the first reply that are shown
WIDER = "raise `reasoning_tokens`, what a reasoning model may write beside its answer"
KEEPS_FORM = (
    "take a model that keeps to the form that is asked for (`model`, for answers `reasoner`), or mend the prompt"
)
ADVICE = {
    "truncated": f"{WIDER}, or take another `model`",
    "reasoning only": f"{WIDER}, or start the server with the reasoning parser that fits the model",
    "empty": "look at what the server sends for one question; a reasoning model may need `reasoning_tokens`",
    "refused": "take another `model`, or look at what the prompt and the corpus ask for",
    "too large": "take a model that ends its replies, or raise `max_reply_bytes`",
    "rejected": "correct the table by what the server says, or take a model with a larger window",
    NO_CHOICES: "look at the server's log: it answers without a reply",
    TOOL_CALL: "start the server without tools, or take another `model`",
}


@dataclass
class Record:
    """What came of an agent's questions so far; `first` holds the first unusable reply of each kind."""

    usable: int = 0
    failed: Counter = field(default_factory=Counter)
    kind: str = ""
    row: int = 0
    first: dict[str, str] = field(default_factory=dict)
    out: int = 0
    waiting: deque = field(default_factory=deque)

    def usual(self) -> float:
        """The share of the questions before the present row that failed; 0.0 where none was answered."""
        before = self.failed.total() - self.row
        return (before + 1) / (before + self.usable + 2) if self.usable else 0.0


class Watch:
    """Counts for each agent what came of its questions, and says when to stop; see `Teacher.stop_after`."""

    def __init__(self, table: Teacher):
        self.most = 0 if table.kind == "expert" else table.stop_after  # rules cost nothing
        self.where = table.where
        self.records: dict[str, Record] = {}

    def record(self, agent: str) -> Record:
        """The `Record` of an agent."""
        return self.records.setdefault(agent, Record())

    @asynccontextmanager
    async def place(self, agent: str) -> AsyncIterator[None]:
        """Wait until a question of an agent may go out: until one is answered, `stop_after` are out at most."""
        record = self.record(agent)
        while self.most and not record.usable and record.out >= self.most:
            turn = asyncio.get_running_loop().create_future()
            record.waiting.append(turn)
            await turn
        record.out += 1
        try:
            yield
        finally:
            record.out -= 1
            self._wake(record)

    def _wake(self, record: Record) -> None:
        free = len(record.waiting) if record.usable else self.most - record.out
        while record.waiting and free > 0:
            turn = record.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def succeed(self, agent: str) -> None:
        """A question of the agent brought something that can be used."""
        record = self.record(agent)
        record.usable, record.row, record.kind = record.usable + 1, 0, ""
        self._wake(record)

    def fail(self, agent: str, kind: str, reply: str, model: str, spent: str) -> RecipeError | None:
        """A question of the agent was given up; the error that is to end the run, or None.

        `reply` is the last one, `spent` what all replies have cost.
        """
        record = self.record(agent)
        record.row = record.row + 1 if kind == record.kind else 1
        record.kind = kind
        record.failed[kind] += 1
        record.first.setdefault(kind, reply)
        if not self.most:
            return None
        usual, count = record.usual(), record.failed.total()
        most = max(self.most, math.ceil(math.log(CHANCE) / math.log(usual))) if usual else self.most
        if record.row >= most:
            return self._error(agent, kind, f"{record.row} questions in a row of agent {agent!r} failed", model, spent)
        if count + record.usable <= FIRST * self.most and count >= SHARE * FIRST * self.most:
            often = record.failed.most_common(1)[0][0]
            reasons = ", ".join(f"{number} {name}" for name, number in record.failed.most_common())
            what = f"{count} of the first {count + record.usable} questions of agent {agent!r} failed ({reasons})"
            return self._error(agent, often, what, model, spent)
        return None

    def _error(self, agent: str, kind: str, what: str, model: str, spent: str) -> RecipeError:
        first = " ".join(mask(self.records[agent].first[kind]).split())
        shown = f"{first[:SHOWN]}…" if len(first) > SHOWN else first or "(nothing)"
        return RecipeError(
            f"The model's replies cannot be used: {kind}.",
            where=f"{self.where}, model {model!r}",
            got=f"{what}; the first reply: {shown!r}; spent so far: {spent}",
            allowed=f"a reply that can be used within {self.most} questions ({self.where}.stop_after; 0: never stop)",
            fix=f"{ADVICE.get(kind, KEEPS_FORM)}, in {self.where}; every reply is kept, none is asked for twice",
        )
