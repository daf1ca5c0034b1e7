"""A clock for the batch interface that counts turns of its event loop: on a busy machine no time passes by itself."""

import asyncio
from types import SimpleNamespace

from data_builders.llm import batch

TURNS = 50  # of the loop in one wait: whoever has a question to put does so in them


def count_turns(set_name=setattr) -> None:
    """Give `data_builders.llm.batch` this clock, by `set_name(module, name, value)`."""
    now = 0.0

    async def sleep(seconds):
        nonlocal now
        for _ in range(TURNS):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        now += seconds

    set_name(batch, "time", SimpleNamespace(monotonic=lambda: now))
    set_name(batch, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    set_name(batch, "LOOK", batch.QUIET)
