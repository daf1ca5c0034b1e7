"""How many requests are out at once, when to hold back, when to give up, and what may be spent."""

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass

from data_builders.schema import DataError

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
        """Wait for a free place and the end of a pause; (time, number out) at the start of the request."""
        while True:
            pause = self.resume - self.clock()
            if pause > 0:
                await asyncio.sleep(pause)
            elif self.out < int(self.limit):
                self.out += 1
                self.highest = max(self.highest, self.out)
                return self.clock(), self.out
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
        latency = self.clock() - start[0]
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
        self.failing_since = max(self.failing_since or start[0], self.resume if retry_after else 0)
        if not refused:
            self.share_failed += RECENT * (1 - self.share_failed)
            if self.share_failed <= OFTEN:
                return
            self.share_failed = 0.0
        if start[0] >= self.cut_at:  # it was not out together with the one that the last cut began with
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


class BudgetSpent(DataError):
    """The budget is used up; every reply is kept."""


@dataclass
class Budget:
    """What one data set may cost, its stored replies included, so that the same command never spends the sum again.

    Limits of 0 are none. `price_in` and `price_out` are dollars per million tokens. A request is let out only where it
    fits together with those in flight, which are taken to be as long as the mean so far.
    """

    max_requests: int = 0
    max_tokens: int = 0
    max_cost: float = 0.0
    price_in: float = 0.0
    price_out: float = 0.0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    out: int = 0

    @property
    def tokens(self):
        return self.tokens_in + self.tokens_out

    @property
    def cost(self):
        return (self.tokens_in * self.price_in + self.tokens_out * self.price_out) / 1e6

    def count(self, raw):
        """A reply is used, new or stored."""
        self.requests += 1
        self.tokens_in += raw.tokens_in
        self.tokens_out += raw.tokens_out

    def check(self):
        """Raises BudgetSpent where one more request, beside those in flight, would go beyond a limit."""
        ahead = self.out + 1
        each = 1 / max(1, self.requests)
        for name, limit, used, more in (
            ("max_requests", self.max_requests, self.requests, ahead),
            ("max_tokens", self.max_tokens, self.tokens, ahead * self.tokens * each),
            ("max_cost", self.max_cost, self.cost, ahead * self.cost * each),
        ):
            if limit and used + more > limit:
                raise BudgetSpent(
                    "The teacher's budget is used up; every reply is kept.",
                    where=f"data.teacher.{name}",
                    got=f"{self.requests:,} requests, {self.tokens:,} tokens, ${self.cost:.2f}",
                    allowed=f"{limit:,}",
                    fix=f"raise data.teacher.{name} and give the same command again: it goes on from here",
                )
