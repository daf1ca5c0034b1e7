"""The batch interface of an OpenAI-compatible endpoint: questions as a file, results hours later, at a lower price.

Questions that wait at the same time go up as one batch. What is in a batch is written down before it is sent, and the
provider's id of it before it is first looked for, so a run that was killed finds its batches again and sends nothing
twice: of a batch that was being sent when the run died, the provider's list tells whether it was taken (it carries our
token). Every result goes into the store of replies as it is read, whether or not this run asked for it.
"""

import asyncio
import json
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, replace

from data_builders.llm.chat import Raw, guess
from data_builders.llm.endpoint import Endpoint, Passing, Rejected
from data_builders.llm.table import BATCH
from data_builders.llm.wire import lines_of
from recipes.base.errors import RecipeError
from recipes.base.jsonl import encode_json

FILE_BYTES = 190 * 2**20  # of one file of questions; OpenAI takes 200 MB
QUIET = 0.5  # seconds without a new question after which a batch is sent
LOOK, LONGEST_LOOK = 5.0, 60.0  # seconds between looks at a batch, at first and at most
TIMES = 4  # batches that one question may go into before it is given up
MARK = "recipes_batch"  # key of the token in a batch's metadata
NAMED = re.compile(rb'"custom_id": ?"(\w+)"')
OVER = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class Sent:
    """A question of a batch, as much as is needed to store its reply in a later run. See `Store.batched`."""

    key: str
    root: str
    agent: str
    model: str
    prompt_version: str
    sent: int


def note_sent(chat):
    root = replace(chat, mended=()).key
    return Sent(chat.key, root, chat.agent, chat.model, chat.prompt_version, chat.size)


class Batches(Endpoint):
    """An `Endpoint` whose questions are answered by batches."""

    def __init__(self, table, store, say):
        super().__init__(table, store)
        self.say, self.waiting, self.left_out, self.times = say, {}, {}, Counter()
        self.taken, self.faults = set(), {}  # keys of the batch that is read: with a reply or a refusal; with an error
        self.working, self.added, self.open = None, 0.0, {}  # open: token -> keys of the batches that are out

    async def complete(self, chat):
        """The `Raw` reply. Raises Rejected, or RecipeError where the interface is down or refuses the batch."""
        place = asyncio.get_running_loop().create_future()
        self.waiting[chat.key], self.added = (chat, place), time.monotonic()
        if self.working is None or self.working.done():
            self.working = asyncio.create_task(self._work())
        return await place

    async def close(self):
        if self.working is not None:
            self.working.cancel()
            await asyncio.gather(self.working, return_exceptions=True)
        await super().close()

    async def _work(self):
        """Send what waits and look at what is out, until nothing waits. An error goes to all that wait."""
        look, due = LOOK, time.monotonic()
        try:
            while any(not place.done() for _, place in self.waiting.values()):
                if self._fresh() and time.monotonic() - self.added >= QUIET:
                    await self._find()
                    if fresh := self._fresh():
                        await self._send_all(fresh)
                        look, due = LOOK, time.monotonic() + LOOK
                if time.monotonic() >= due:
                    ended = [await self._look(token) for token in list(self.open)]
                    look = LOOK if any(ended) else min(LONGEST_LOOK, 1.5 * look)
                    due = time.monotonic() + look
                await asyncio.sleep(min(QUIET / 2, max(0.0, due - time.monotonic())))
        except Exception as error:
            for _, place in self.waiting.values():
                if not place.done():
                    place.set_exception(error)
        self.waiting.clear()

    def _fresh(self):
        """The questions that wait and are in no batch."""
        out = set().union(*self.open.values())
        return [chat for key, (chat, place) in self.waiting.items() if key not in out and not place.done()]

    async def _find(self):
        """Take up the batches of other runs; of one without an id, ask the provider whether it was taken."""
        for token, id in self.store.batches(self.table.base_url):
            if token in self.open:
                continue
            id = id or await self.patiently(lambda token=token: self._listed(token))
            if id is None:
                self.store.end_batch(token)
                continue
            self.store.name_batch(token, id)
            self.open[token] = {row[0] for row in self.store.batched(token)}
            self.say(f"teacher: batch {id} of another run, {len(self.open[token]):,} questions, is waited for")

    async def _listed(self, token):
        """The provider's id of the batch that carries our token, or None."""
        async for batch in self.opened().batches.list(limit=100):
            if (batch.metadata or {}).get(MARK) == token:
                return batch.id
        return None

    async def _send_all(self, chats):
        """Send questions as one batch, or as several where one is too small for them."""
        lines, size = [], 0
        for chat in chats:
            self.times[chat.key] += 1
            if self.times[chat.key] > TIMES:
                self._fail(chat.key, Rejected(f"no reply from {TIMES} batches"))
                continue
            body = self.payload(chat, self.traits | self.left_out.get(chat.key, set()))
            asked = {"custom_id": chat.key, "method": "POST", "url": "/v1/chat/completions", "body": body}
            line = encode_json(asked).encode()
            if lines and (len(lines) == BATCH or size + len(line) > FILE_BYTES):
                await self._send(lines)
                lines, size = [], 0
            lines.append((chat, line))
            size += len(line) + 1
        if lines:
            await self._send(lines)

    async def _send(self, lines):
        token = uuid.uuid4().hex
        file = b"\n".join(line for _, line in lines) + b"\n"
        self.store.plan_batch(token, self.table.base_url, [note_sent(chat) for chat, _ in lines])
        self.open[token] = {chat.key for chat, _ in lines}
        attempts = Counter()

        async def upload():
            return await self.opened().files.create(file=(f"{token}.jsonl", file), purpose="batch")

        async def create():
            attempts["create"] += 1
            if attempts["create"] > 1 and (taken := await self._listed(token)):
                return taken  # the answer of the attempt before was lost on the way
            made = await self.opened().batches.create(
                input_file_id=uploaded.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={MARK: token},
            )
            return made.id

        uploaded = await self.patiently(upload)
        id = await self.patiently(create)
        self.store.name_batch(token, id)
        self.say(f"teacher: batch {id} sent, {len(lines):,} questions")

    async def _look(self, token):
        """Whether the batch is over; its results are then in the store and with those who wait for them."""
        id = dict(self.store.batches(self.table.base_url)).get(token)
        if id is None:  # another run has read it
            for key in self.open.pop(token):
                if key in self.waiting and (raw := self.store.get(key)) and not self.waiting[key][1].done():
                    self.waiting[key][1].set_result(raw)
            return True
        batch = await self.patiently(lambda: self.opened().batches.retrieve(id))
        if batch.status not in OVER:
            return False
        items = {row[0]: Sent(*row) for row in self.store.batched(token)}
        self.taken, self.faults = set(), {}
        for file in (batch.output_file_id, batch.error_file_id):
            if file:
                await self.patiently(lambda file=file: self._collect(file, items))
        self.store.end_batch(token)
        del self.open[token]
        self.say(f"teacher: batch {id} {batch.status}")
        if batch.status in ("failed", "cancelled"):
            told = "; ".join(f"{e.code}: {e.message}" for e in (batch.errors.data or [] if batch.errors else [])[:5])
            raise RecipeError(
                f"The provider's batch has {batch.status}.",
                where=f"data.teacher.batch, {id}",
                got=self.clean(told) or "no error told",
                allowed="a batch that is completed",
                fix="correct data.teacher by what it says; every reply so far is kept",
            )
        if self.table.stop_after and len(self.faults) >= self.table.stop_after and not self.taken:
            raise RecipeError(
                "Every line of the provider's batch is an error.",
                where=f"data.teacher.batch, {id}",
                got=f"{len(self.faults):,} errors and no reply; the first: {next(iter(self.faults.values()))}",
                allowed=f"a reply among {self.table.stop_after} lines (stop_after; 0: send them again)",
                fix="correct data.teacher by what it says, or leave out data.teacher.batch",
            )
        return True

    async def _collect(self, file, items):
        """Store every result of a file as its line is read. A line beyond the limit of bytes is a reply too large."""
        self.most_bytes, most = self.table.max_reply_bytes * (len(items) + 1), self.table.max_reply_bytes
        try:
            async with self.opened().files.with_streaming_response.content(file) as response:
                async for line in lines_of(response.iter_bytes(), 2 * most):
                    self._take(line, items, most)
        finally:
            self.most_bytes = most

    def _take(self, line, items, most):
        """One line of results: a reply goes into the store, a failure to who waits, or back into the queue."""
        try:
            found = json.loads(line)
            item, response = items.get(found.get("custom_id")), found.get("response") or {}
            body, status = response.get("body") or {}, response.get("status_code")
        except (ValueError, AttributeError, RecursionError):
            item, body, status = None, {}, None
        named = NAMED.search(line) if len(line) > most else None
        if named and named[1].decode() in items:
            item = items[named[1].decode()]
            self._keep(item, Raw("", "too large", item.sent, guess(most)))
        elif item and status == 200:
            try:
                self._keep(item, self.read(encode_json(body), 0.0, item.sent))
            except Passing as failure:  # no completion: what it was about is asked again
                self.faults[item.key] = self.clean(str(failure))
        elif item and status in (400, 422):
            self.taken.add(item.key)
            self._refusal(item, body.get("error") if isinstance(body.get("error"), dict) else {}, status)
        elif item and b"batch_expired" not in line:
            self.faults[item.key] = self.clean(line.decode(errors="replace"))[:300]

    def _keep(self, item, raw):
        self.taken.add(item.key)
        self.store.put(item, item.root, raw)
        chat, place = self.waiting.get(item.key, (None, None))
        if place and not place.done():
            self.learn(chat, self.traits | self.left_out.get(item.key, set()))
            place.set_result(raw)

    def _refusal(self, item, error, status):
        """As for a single question: something is left out next time, or the question is refused for good."""
        if item.key not in self.waiting:
            return
        chat, left_out = self.waiting[item.key][0], self.left_out.setdefault(item.key, set())
        message = self.clean(str(error.get("message")))
        if trait := self.refused(chat, message, self.traits | left_out):
            left_out.add(trait)
        elif error.get("code") == "content_filter":
            self._keep(item, Raw("", "content_filter", item.sent, 0))
        else:
            self._fail(item.key, Rejected(f"HTTP {status}: {message[:300]}"))

    def _fail(self, key, error):
        place = self.waiting[key][1]
        if not place.done():
            place.set_exception(error)
