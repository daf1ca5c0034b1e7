"""The test endpoint in a thread of this process, and small questions to ask it."""

import asyncio
import threading
from contextlib import contextmanager

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from data_builders.llm.asking import open_teacher
from data_builders.llm.chat import Chat
from data_builders.llm.table import Teacher


class Text(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


@contextmanager
def served(server, port=0):
    """The base URL of a running `Server`."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    async def start():
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        found.append((runner, site._server.sockets[0].getsockname()[1]))
        ready.set()

    async def stop(runner):
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def run():
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    runner, number = found[0]
    try:
        yield f"http://127.0.0.1:{number}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(stop(runner), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def table(url, **changes):
    small = {"concurrency": 16, "max_reply_bytes": 100_000}
    return Teacher(**{"kind": "openai", "model": "m", "base_url": url, **small, **changes})


def chat(number, schema=Text, **changes):
    values = {"temperature": 1.0, "max_tokens": 100, "prompt_version": "test/1", **changes}
    return Chat("text", "m", "You reply.", f"Question {number}", schema, **values)


def ask(url, path, chats, say=lambda text: None, **changes):
    """(answers in order, the `Asker` they came from)."""
    asker = open_teacher(table(url, **changes), path, say)
    try:
        return asker.each(chats, asker.ask), asker
    finally:
        asker.close()


class Bar:
    """A progress bar that shows nothing."""

    def advance(self, n=1, note=None):
        pass

    @classmethod
    @contextmanager
    def open(cls, title, total, unit):
        """The bar as builders ask for it."""
        yield cls()
