"""How many requests are out at once, when to hold back, when to give up, and what may be spent."""

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass

from data_builders.schema import DataError

SLOWER = 2.0  # times the usual latency of its kind from which on a reply is a reason not to grow
NEAR = 0.9  # share of the ceiling up to which the number grows fast again
MANY = 3  # refusals among requests that were out together which show where the ceiling is
OFTEN = 0.1  # share of failed requests, of late, from which on failures that are no refusal count as overload
STRIKES = 3  # failures in a row, at the least, before an endpoint counts as down
LONGEST_BACKOFF = 60.0  # seconds


class Pace:
    """Additive increase, multiplicative decrease of the requests in flight.

    Until something goes wrong every good reply adds one, which doubles the number each round trip. Overload halves it,
    once for all requests that were out together; overload is a refusal (429), or more than OFTEN of the requests
    failing otherwise (5xx, timeout, cut connection). Then it grows fast to NEAR of the ceiling, and from there by one
    in four round trips. Replies that take SLOWER times their kind's usual latency do not let it grow.

    The ceiling is the number at which it failed; where MANY were refused together, the fewest that were out when one
    of them was sent.
    """

    def __init__(self, start, most, patience, clock=time.monotonic):
        self.limit, self.most, self.patience, self.clock = float(min(start, most)), most, patience, clock
        self.out, self.highest, self.ceiling = 0, 0, float("inf")
        self.usual = {}
        self.resume = self.cut_at = clock()
        self.share_failed, self.refused = 0.0, []
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
        self.share_failed *= 0.95
        latency = self.clock() - start[0]
        usual = self.usual.get(kind, latency)
        self.usual[kind] = min(usual + 0.05 * (latency - usual), usual * 1.01)
        if latency <= SLOWER * usual and self.out >= 0.5 * self.limit:
            near = self.limit >= NEAR * self.ceiling
            self.limit = min(self.most, self.limit + (1 / (4 * self.limit) if near else 1))

    def bad(self, start, refused, retry_after=0.0):
        """A request failed in passing; no request starts before `retry_after` seconds are over."""
        now = self.clock()
        self.resume = max(self.resume, now + retry_after)
        self.failures += 1
        self.failing_since = max(self.failing_since or start[0], self.resume if retry_after else 0)
        self.share_failed += 0.05 * (1 - self.share_failed)
        if start[0] < self.cut_at:  # it was out together with the one that has halved the number
            self.refused += [start[1]] if refused else []
            if len(self.refused) >= MANY:
                self.ceiling = min(self.refused)
        elif refused or self.share_failed > OFTEN:
            known = self.ceiling if self.ceiling < float("inf") else 0
            self.ceiling, self.cut_at, self.refused = max(self.limit, 0.98 * known), now, [start[1]]
            self.limit = max(1.0, self.limit / 2)

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
