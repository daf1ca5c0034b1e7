"""Many questions to one model, at once and in order: kept replies first, then the pace, the budget, the second chances.

`Asker.each(items, work)` runs `await work(item)` for every item and gives the results in the order of the items; `work`
may ask several questions, one after another, with `await asker.ask(chat)`.
"""

import asyncio
import importlib.util
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from data_builders.llm.chat import Answer, Chat, Raw, Unusable
from data_builders.llm.endpoint import Endpoint, Passing, Rejected
from data_builders.llm.pace import Budget, BudgetSpent, Pace, backoff
from data_builders.llm.store import Store
from data_builders.llm.table import Teacher
from data_builders.llm.watch import Watch
from recipes.base.errors import RecipeError

MENDS = 2  # times that an unusable reply is asked for again
TRIES = 8  # failures of one question after which it is given up, if the endpoint answers something else
LONGEST_WAIT = 600.0  # seconds beyond the patience that a server may ask for
REJECTED = 5  # first questions that may be rejected before one is answered
FIRST_PATIENCE = 10.0  # seconds, before the endpoint has answered for the first time
LOOK = 0.1  # seconds between looks at a question that another process is asking
CUT = 0.9  # share of its limit from which on a cut reply counts as cut there, and not at a lower one
BEAT = 2.0  # seconds between signs of life in the store
Item = TypeVar("Item")
Result = TypeVar("Result")


def open_teacher(table: Teacher, path: Path, say: Callable[[str], None] = lambda text: None) -> "Asker":
    """The `Asker` of a teacher's table (kind openai or transformers) with its store at `path`."""
    store = Store(path)
    if table.kind == "transformers":
        from data_builders.llm.local import Local, identity

        source = Local
        if table.use_vllm and importlib.util.find_spec("vllm") is not None:
            from data_builders.llm.offline import Offline as source
        return Asker(lambda: source(table), store, table, say, identity(table.model))
    if table.batch:
        from data_builders.llm.batch import Batches

        return Asker(lambda: Batches(table, store, say), store, table, say, table.model)
    return Asker(lambda: Endpoint(table, store), store, table, say, table.model)


class Source(Protocol):
    """What answers questions: an endpoint, its batches, or a local model."""

    async def complete(self, chat: Chat) -> Raw: ...

    async def close(self) -> None: ...


class Missing(Exception):
    """The store has no reply to a question yet, and nothing is to be asked now."""


class Asker:
    """Asks through `source()`, which is made at the first question that has no stored reply.

    `counts` holds how often a reply was "asked" (and paid for now), "stored" (known before), or failed in passing, and
    `unusable` what was wrong about which reply. `model` is the name that questions are to carry.
    """

    def __init__(
        self,
        source: Callable[[], Source],
        store: Store,
        table: Teacher,
        say: Callable[[str], None],
        model: str,
    ) -> None:
        self.make, self.store, self.table, self.say, self.model = source, store, table, say, model
        self.source: Source | None = None
        self.ended: BaseException | None = None
        self.counts, self.scanning = Counter(), False
        self.used, self.unusable = set(), {}
        self.watch, self.watched = Watch(table), set()
        self.budget = Budget(table)
        first, most = table.at_once
        self.pace, self.first, self.reached = Pace(first, most, table.patience), asyncio.Lock(), False

    def each(
        self,
        items: Iterable[Item],
        work: Callable[[Item], Awaitable[Result]],
        arrived: Callable[[Result], None] = lambda result: None,
    ) -> list[Result]:
        """[result of `await work(item)`] in the order of the items; `arrived(result)` as each one is there.

        Raises RecipeError where the run has to end early: budget, endpoint down, key refused, replies that all fail in
        one way (see `Teacher.stop_after`). Replies that are on their way are waited for and kept.
        """
        return asyncio.run(self._each(list(items), work, arrived))

    def figures(self) -> dict[str, Any]:
        """What the replies cost and what was in the way; it may differ from run to run.

        `perhaps_billed` are the requests of this run that were given up at `timeout`: they are in no other figure, and
        the provider may have answered and billed them.
        """
        used = {"replies": self.budget.requests, "cost": round(self.budget.cost, 6)}
        used |= {"tokens_in": self.budget.tokens_in, "tokens_out": self.budget.tokens_out}
        used |= {"perhaps_billed": self.counts["timeout"], "at_once": self.pace.highest}
        return used | {"counts": self.all_counts()}

    def all_counts(self) -> dict[str, int]:
        """{what happened: how often}: replies asked and stored, unusable replies, failures in passing."""
        return dict(sorted((self.counts + Counter(self.unusable.values())).items()))

    def spent(self) -> str:
        """What the replies of this data set come to, in words."""
        cost = f", ${self.budget.cost:.2f}" if self.budget.cost else ""
        given_up = self.counts["timeout"]
        late = f", {given_up:,} requests given up that may have been billed" if given_up else ""
        return f"{self.budget.requests:,} replies, {self.budget.tokens:,} tokens{cost}{late}"

    def close(self) -> None:
        self.store.close()

    async def _each(self, items, work, arrived):
        first, most = self.table.at_once
        self.pace = Pace(first, most, self.table.patience)
        self.first, self.ended = asyncio.Lock(), None
        results, open_ = await self._from_store(items, work, arrived)
        queue = iter(open_)

        async def worker():
            for index in queue:
                if self.ended:
                    return
                results[index] = await work(items[index])
                arrived(results[index])

        async def alive():
            while True:
                self.store.beat()
                await asyncio.sleep(BEAT)

        heart = asyncio.create_task(alive())
        # Twice as many workers as requests at once: some of them wait out a failure.
        workers = [asyncio.create_task(worker()) for _ in range(min(len(open_), 2 * most))]
        try:
            if workers:
                await self._finish(workers)
        finally:
            for task in [heart, *workers]:
                task.cancel()
            await asyncio.gather(heart, *workers, return_exceptions=True)
            if self.source is not None:
                await self.source.close()
        return results

    async def _from_store(self, items, work, arrived):
        """(results, None where open; the open places). What is known counts first, before more is spent."""
        results: list[Any] = [None] * len(items)
        open_, self.scanning = [], True
        for index, item in enumerate(items):
            try:
                results[index] = await work(item)
            except Missing:
                open_.append(index)
            else:
                arrived(results[index])
        self.scanning = False
        return results, open_

    async def _finish(self, workers):
        """Wait for the workers. The first error ends the run; what is in flight then still arrives and is kept."""
        done, pending = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        error = next((task.exception() for task in done if task.exception()), None)
        if error is None:
            return
        self.ended = self.ended or error
        if pending and not self.pace.down and isinstance(error, RecipeError):
            await asyncio.wait(pending, timeout=self.table.timeout)
        raise self.ended

    async def ask(self, chat: Chat) -> Answer:
        """The `Answer` to a question, from the store where it is there. Raises RecipeError where the run must end."""
        chat = self._widened(chat)
        root, agent = chat.key, chat.agent
        async with AsyncExitStack() as places:
            if not (self.table.batch or self.scanning):
                await places.enter_async_context(self.watch.place(agent))
            number = self.watch.begin(agent)
            try:
                return await self._answer(chat, root, number, places)
            finally:
                if root not in self.watched:
                    self.watch.drop(agent, number)

    async def _answer(self, chat: Chat, root: str, number: int, places: AsyncExitStack) -> Answer:
        """The `Answer` to the question that `Watch` knows by the number, with its second chances."""
        kind, raw, dropped = "", Raw(""), ""
        agent, model = chat.agent, chat.model
        for attempt in range(1 + MENDS):
            if attempt == 1 and self.table.batch and not self.scanning:  # a batch costs what is in it
                await places.enter_async_context(self.watch.place(agent))
            try:
                raw = await self._reply(chat, root)
                value = chat.value(raw)
            except Unusable as error:
                self.unusable[chat.key] = kind = error.kind
                mended = chat.mend(raw, error)
                chat = self._widened(mended) if chat.reasoning_tokens else mended  # else it is the wider one already
                dropped = f"{agent}: {kind}, asked {1 + MENDS} times"
            except Rejected as error:
                self._rejected(error)
                kind, raw, dropped = "rejected", Raw(str(error)), f"{agent}: {str(error).splitlines()[0][:80]}"
                break
            else:
                self._watch(root, agent, number)
                return Answer(root, value)
        self._watch(root, agent, number, kind, raw.content or raw.thinking or raw.body, model)
        return Answer(root, None, dropped)

    def _widened(self, chat: Chat) -> Chat:
        """The question with the table's tokens for reasoning; where its reply was cut at a lower limit, another one."""
        if not self.table.reasoning_tokens:
            return chat
        chat = replace(chat, reasoning_tokens=self.table.reasoning_tokens)
        stored = self.store.get(chat.key)
        if stored is not None and stored.finish == "length" and stored.tokens_out < CUT * chat.limit:
            return replace(chat, max_tokens=chat.limit, reasoning_tokens=0)
        return chat

    def check_record(self, key: str, fault: str | None, reply: str) -> None:
        """Tell what came of a record whose last reply, with that key, was of the right form: its fault, or None.

        Records that all have the same fault end the run as unusable replies do. Raises RecipeError.
        """
        self._watch(f"record {key}", "record", self.watch.begin("record"), fault, reply, self.model)

    def _watch(
        self, root: str, agent: str, number: int, kind: str | None = None, reply: str = "", model: str = ""
    ) -> None:
        """Count what came of a question, once. Raises RecipeError where the agent fails too often."""
        if root in self.watched:
            self.watch.drop(agent, number)
            return
        self.watched.add(root)
        if kind is None:
            self.watch.succeed(agent, number)
        elif error := self.watch.fail(agent, number, kind, reply, model, self.spent()):
            self.ended = self.ended or error
            raise self.ended

    def _rejected(self, error):
        """Raises RecipeError where the endpoint has rejected the first questions and answered none, kept ones included.

        A run that goes on asks only what is not kept, which may be just what is rejected again.
        """
        self.counts["rejected"] += 1
        if not (self.reached or self.counts["stored"]) and self.counts["rejected"] >= REJECTED:
            self.ended = self.ended or RecipeError(
                "The teacher rejects every question.",
                where=f"data.teacher, model {self.table.model!r}",
                got=str(error),
                allowed="an answer to one of the first questions",
                fix="correct data.teacher by what the answer says",
            )
            raise self.ended

    async def _reply(self, chat, root):
        while True:
            raw = self.store.get(chat.key)
            if raw is not None:
                self._use(chat, raw, "stored")
                return raw
            if self.scanning:
                raise Missing
            if self.ended:
                raise self.ended
            if self.store.claim(chat.key):
                break
            await asyncio.sleep(LOOK)
        try:
            need = await self.budget.enter(chat)
            try:
                raw = await self._first(chat)
                self.store.put(chat, root, raw)
                self._use(chat, raw, "asked")
            finally:
                self.budget.leave(need)
        except BaseException as error:
            if isinstance(error, BudgetSpent):
                self.ended = self.ended or error
            self.store.release(chat.key)
            raise
        return raw

    def _use(self, chat, raw, how):
        """Count a reply, however many items it serves."""
        if chat.key not in self.used:
            self.used.add(chat.key)
            self.counts[how] += 1
            self.budget.count(chat, raw)

    async def _first(self, chat):
        """The very first request goes out alone: a wrong key, name or address costs one request, not sixty-four.

        Of batches this is not so: they are few, and one takes hours.
        """
        self._opened()  # before any other request waits for it
        if not self.reached and not self.table.batch:
            async with self.first:
                if not self.reached:
                    raw = await self._send(chat, min(FIRST_PATIENCE, self.table.patience))
                    self.reached = True
                    return raw
        raw = await self._send(chat, self.table.patience)
        self.reached = True
        return raw

    def _opened(self) -> Source:
        """What answers, made where it is first needed."""
        source = self.source
        if source is None:
            source = self.source = self.make()
        return source

    async def _send(self, chat, patience):
        self.pace.patience = patience
        attempt = 0
        while True:
            start = await self.pace.enter()
            try:
                if self.ended:
                    raise self.ended
                raw = await self._opened().complete(chat)
                self.pace.good(chat.agent, start)
                return raw
            except Passing as failure:
                attempt += 1
                self.counts[failure.name] += 1
                self.pace.bad(start, failure.name == "429", failure.retry_after)
                wait, problem = max(failure.retry_after, backoff(attempt)), failure
            except RecipeError as error:
                self.ended = self.ended or error
                raise
            finally:
                self.pace.leave()
            await self._judge(chat, problem, attempt)
            await asyncio.sleep(wait)

    async def _judge(self, chat, failure, attempt):
        """After a failure: go on, or raise: Rejected for this question, RecipeError where the endpoint is down."""
        if self.ended:
            raise self.ended
        if self.counts[failure.name] == 1:
            self.say(f"teacher: {failure}; trying again")
        hopeless = failure.retry_after > self.table.patience + LONGEST_WAIT
        if not (self.pace.down or hopeless or (attempt >= TRIES and self.reached)):
            return
        if not hopeless and self.reached and await self._up(chat.model):
            if attempt >= TRIES:
                raise Rejected(f"no reply, {failure.name} {attempt} times")
        elif self.pace.down or hopeless:
            again = f", try again in {failure.retry_after:.0f} s" if failure.retry_after else ""
            self.ended = self.ended or RecipeError(
                "The teacher's endpoint is down; every reply so far is kept.",
                where=f"data.teacher.base_url, {self.table.base_url}",
                got=f"{self.pace.failures} failures in a row, the last one: {failure}{again}",
                allowed=f"a reply within {self.pace.patience:g} s",
                fix="start it again, then give the same command again: nothing is asked twice",
            )
            raise self.ended

    async def _up(self, model):
        """Whether the endpoint answers anything at all: a question of two words, which is not kept."""
        try:
            self.counts["probe"] += 1
            await self._opened().complete(Chat("probe", model, "Reply with OK.", "OK?", None, 0.0, 16, "probe/1"))
        except Passing:
            return False
        except Rejected:
            pass
        self.pace.good("probe", self.pace.clock())
        return True
