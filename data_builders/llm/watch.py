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
PENDING, USABLE, VOID = "pending", "usable", "void"  # what may have come of a question beside a kind of failure


@dataclass
class Record:
    """What came of an agent's questions, in the order in which they began: replies that fail may well be the faster
    ones, or the slower. `first` holds the first unusable reply of each kind; `out` questions of the `begun` ones that
    took a place are not over.
    """

    outcomes: list[str] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    out: int = 0
    begun: int = 0
    waiting: deque = field(default_factory=deque)

    @property
    def failed(self) -> Counter:
        """{kind: questions that were given up for it}"""
        return Counter({kind: count for kind, count in self.counts.items() if kind != USABLE})

    def row(self, number: int) -> int:
        """How many questions beside one another failed in the same way as that one."""
        kind, length = self.outcomes[number], 1
        for places in (range(number - 1, -1, -1), range(number + 1, len(self.outcomes))):
            for place in places:
                if self.outcomes[place] not in (kind, VOID):
                    break
                length += self.outcomes[place] == kind
        return length

    def usual(self, row: int) -> float:
        """The share of the other questions that failed; 0.0 where none of them was answered."""
        others, usable = self.failed.total() - row, self.counts[USABLE]
        return (others + 1) / (others + usable + 2) if usable else 0.0


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
        """Wait until a question of an agent may go out: until one is answered, `stop_after` go, and the next so many
        when all of these are over.
        """
        record = self.record(agent)
        while self.most and not record.counts[USABLE] and record.begun >= self.most:
            turn = asyncio.get_running_loop().create_future()
            record.waiting.append(turn)
            await turn
        record.out += 1
        record.begun += 1
        try:
            yield
        finally:
            record.out -= 1
            record.begun = record.begun if record.out else 0
            self._wake(record)

    def _wake(self, record: Record) -> None:
        free = len(record.waiting) if record.counts[USABLE] else self.most - record.begun
        while record.waiting and free > 0:
            turn = record.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def begin(self, agent: str) -> int:
        """The number of a question that begins now."""
        outcomes = self.record(agent).outcomes
        outcomes.append(PENDING)
        return len(outcomes) - 1

    def drop(self, agent: str, number: int) -> None:
        """The question counts for nothing: it was not asked, or it was counted before."""
        outcomes = self.record(agent).outcomes
        outcomes[number] = VOID
        while outcomes and outcomes[-1] == VOID:
            outcomes.pop()

    def succeed(self, agent: str, number: int) -> None:
        """The question brought something that can be used."""
        record = self.record(agent)
        record.outcomes[number] = USABLE
        record.counts[USABLE] += 1
        self._wake(record)

    def fail(self, agent: str, number: int, kind: str, reply: str, model: str, spent: str) -> RecipeError | None:
        """The question was given up; the error that is to end the run, or None.

        `reply` is the last one, `spent` what all replies have cost.
        """
        record = self.record(agent)
        record.outcomes[number] = kind
        record.counts[kind] += 1
        record.first.setdefault(kind, reply)
        if not self.most:
            return None
        row = record.row(number)
        usual = record.usual(row)
        if row >= (max(self.most, math.ceil(math.log(CHANCE) / math.log(usual))) if usual else self.most):
            return self._error(agent, kind, f"{row} questions in a row of agent {agent!r} failed", model, spent)
        begun = Counter(record.outcomes[: FIRST * self.most])
        failed = Counter({kind: count for kind, count in begun.items() if kind not in (PENDING, USABLE, VOID)})
        if failed.total() >= SHARE * FIRST * self.most:
            reasons = ", ".join(f"{count} {kind}" for kind, count in failed.most_common())
            what = f"{failed.total()} of the first {begun.total()} questions of agent {agent!r} failed ({reasons})"
            return self._error(agent, failed.most_common(1)[0][0], what, model, spent)
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
