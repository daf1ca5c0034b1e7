"""How many requests are out at once, when to hold back, when to give up, and what may be spent."""

import asyncio
import random
import time
from collections import deque

from recipes.base.errors import RecipeError

SLOWER = 2.0  # times the usual latency of its kind from which on a reply is a reason not to grow
STEP = 0.25  # by how much the number grows in the first round trip after overload
OFTEN = 0.1  # share of failures among the last requests from which on those that are no refusal count as overload
RECENT = 0.02  # weight of the last request in that share
STRIKES = 3  # failures in a row, at the least, before an endpoint counts as down
LONGEST_BACKOFF = 60.0  # seconds


class Pace:
    """The number of requests in flight grows step by step, and overload takes away what was too much.

    Until something goes wrong every good reply adds one, which doubles the number each round trip. Every refusal (429)
    takes one, for one request was too many, but all that were out together take half of the number at most. More than
    OFTEN of the requests failing otherwise (5xx, timeout, cut connection) halve it, once for all that were out
    together. Afterwards it grows by STEP in a round trip, then by twice that, and so on: slowly near the number that
    failed, and soon fast again where that was a bad moment only. Replies that take SLOWER times their kind's usual
    latency do not let it grow.
    """

    def __init__(self, start, most, patience, clock=time.monotonic):
        self.limit, self.most, self.patience, self.clock = float(min(start, most)), most, patience, clock
        self.gain = 1.0  # by how much it grows for one good reply
        self.out, self.highest = 0, 0
        self.usual = {}
        self.resume = self.cut_at = clock()
        self.share_failed, self.least = 0.0, 1.0
        self.failures, self.failing_since = 0, None
        self.waiting = deque()

    async def enter(self):
        """Wait for a free place and the end of a pause; the time at which the request starts."""
        while True:
            pause = self.resume - self.clock()
            if pause > 0:
                await asyncio.sleep(pause)
            elif self.out < int(self.limit):
                self.out += 1
                self.highest = max(self.highest, self.out)
                return self.clock()
            else:
                place = asyncio.get_running_loop().create_future()
                self.waiting.append(place)
                try:
                    await place
                except asyncio.CancelledError:
                    if place.done() and not place.cancelled():
                        self._wake()
                    raise

    def leave(self):
        """The request is over, in whatever way."""
        self.out -= 1
        self._wake()

    def _wake(self):
        free = int(self.limit) - self.out
        while self.waiting and free > 0:
            place = self.waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1

    def good(self, kind, start):
        """A reply of some kind of request came."""
        self.failures, self.failing_since = 0, None
        self.share_failed *= 1 - RECENT
        latency = self.clock() - start
        usual = self.usual.get(kind, latency)
        self.usual[kind] = min(usual + 0.05 * (latency - usual), usual * 1.01)
        if latency <= SLOWER * usual and self.out >= 0.5 * self.limit:
            self.gain = min(1.0, self.gain * 2 ** (1 / self.limit))
            self.limit = min(self.most, self.limit + self.gain)

    def bad(self, start, refused, retry_after=0.0):
        """A request failed in passing; no request starts before `retry_after` seconds are over."""
        now = self.clock()
        self.resume = max(self.resume, now + retry_after)
        self.failures += 1
        self.failing_since = max(self.failing_since or start, self.resume if retry_after else 0)
        if not refused:
            self.share_failed += RECENT * (1 - self.share_failed)
            if self.share_failed <= OFTEN:
                return
            self.share_failed = 0.0
        if start >= self.cut_at:  # it was not out together with the one that the last cut began with
            self.cut_at, self.least = now, max(1.0, self.limit / 2)
        self.limit = max(self.least, self.limit - 1) if refused else min(self.limit, self.least)
        self.gain = STEP / self.limit

    @property
    def down(self):
        """Whether nothing but failures came for longer than the patience (seconds), pauses not counted."""
        waited = self.clock() - self.failing_since if self.failing_since is not None else 0.0
        return self.failures >= STRIKES and waited > self.patience


def backoff(attempt, rng=random):
    """Seconds to wait after the given number of failed attempts: doubling from a half, jittered, bounded."""
    return min(LONGEST_BACKOFF, 0.5 * 2 ** (attempt - 1)) * rng.uniform(0.5, 1.0)


class BudgetSpent(RecipeError):
    """The budget is used up; every reply is kept."""


class Budget:
    """What the questions of one table may cost, stored replies included: the same command never spends the sum again.

    A limit of 0 is none. A question is let out only where it fits beside those in flight. Each of them reserves its own
    tokens, guessed from its characters, and a reply as long as the mean of its agent's and model's so far; before the
    first of these, as long as it may get. What does not fit waits, for those in flight may cost less than they reserve.
    """

    def __init__(self, table):
        self.limits = {name: getattr(table, name) for name in ("max_requests", "max_tokens", "max_cost")}
        self.where, self.prices = table.where, table.prices
        self.requests, self.tokens_in, self.tokens_out, self.cost = 0, 0, 0, 0.0
        self.lengths = {}  # (agent, model): (replies, tokens of them together)
        self.out, self.reserved, self.waiting = 0, dict.fromkeys(self.limits, 0), deque()

    @property
    def tokens(self):
        return self.tokens_in + self.tokens_out

    def count(self, chat, raw):
        """A reply is used, new or stored."""
        replies, written = self.lengths.get((chat.agent, chat.model), (0, 0))
        self.lengths[chat.agent, chat.model] = replies + 1, written + raw.tokens_out
        self.requests += 1
        self.tokens_in += raw.tokens_in
        self.tokens_out += raw.tokens_out
        self.cost += self._dollars(chat, raw.tokens_in, raw.tokens_out)

    async def enter(self, chat):
        """Wait until the question fits; what it reserves, which `leave` takes back.

        Raises BudgetSpent where it does not fit although nothing is in flight.
        """
        place = asyncio.get_running_loop().create_future()
        self.waiting.append((chat, place))
        if len(self.waiting) == 1:
            self._wake()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and not place.exception():
                self.leave(place.result())
            raise

    def leave(self, need):
        """The question is over, in whatever way; its reply, where it has one, has been counted."""
        self.out -= 1
        for name in self.reserved:  # with nothing out exactly 0, which a sum of floats may miss
            self.reserved[name] = self.reserved[name] - need[name] if self.out else 0
        self._wake()

    def _wake(self):
        while self.waiting:
            chat, place = self.waiting[0]
            if not place.done():
                need = self._need(chat)
                over = self._over(need)
                if over and self.out:
                    return
                if over:
                    place.set_exception(self._spent(over, need))
                else:
                    self._reserve(need)
                    place.set_result(need)
            self.waiting.popleft()

    def _reserve(self, need):
        self.out += 1
        for name in self.reserved:
            self.reserved[name] += need[name]

    def _need(self, chat):
        """{limit: what the question may come to}."""
        replies, written = self.lengths.get((chat.agent, chat.model), (0, 0))
        reply = written / replies if replies else chat.limit
        cost = self._dollars(chat, chat.size, reply)
        return {"max_requests": 1, "max_tokens": chat.size + reply, "max_cost": cost}

    def _over(self, need):
        """The first limit that the need, with all that is used and reserved, goes beyond; None where it fits."""
        used = {"max_requests": self.requests, "max_tokens": self.tokens, "max_cost": self.cost}
        for name, limit in self.limits.items():
            if limit and used[name] + self.reserved[name] + need[name] > limit:
                return name
        return None

    def _dollars(self, chat, tokens_in, tokens_out):
        price_in, price_out = self.prices(chat.model)
        return (tokens_in * price_in + tokens_out * price_out) / 1e6

    def _spent(self, name, need):
        after = f"the next one may take {need['max_tokens']:,.0f} tokens, ${need['max_cost']:.4f}"
        return BudgetSpent(
            "The teacher's budget is used up; every reply is kept.",
            where=f"{self.where}.{name}",
            got=f"{self.requests:,} requests, {self.tokens:,} tokens, ${self.cost:.4f}; {after}",
            allowed=f"{self.limits[name]:,}",
            fix=f"raise {self.where}.{name} and give the same command again: it goes on from here",
        )
