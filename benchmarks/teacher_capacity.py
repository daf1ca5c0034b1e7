"""How much of an endpoint's capacity the openai teacher uses, and what it wastes and loses, beside a plain loop.

    python -m benchmarks.teacher_capacity --questions 2000 --rounds 3

A local endpoint (a process of its own) answers every question after 200 ms and takes 64 at once; what comes beyond is
refused with 429 and Retry-After. Capacity is 64 / 0.2 s = 320 replies a second. Share used = replies x 0.2 s / (64 x
seconds from the first request to the last reply). Wasted = requests that brought no usable reply; lost = questions left
without an answer. At 320 replies a second there are 3 ms for each, of which client and server take 2 ms of processor
time; with a longer `--latency` that time counts for less, and the pace alone decides. Three settings:

known     the client is told that 64 fit
unknown   the client is allowed 128 at once and has to find out
faults    64 fit; 2 % of the requests fail in passing (429, 500, cut connection) and 2 % of the replies are unusable

Ours asks through the store (each reply is on disk before the next step), the loop is `asyncio.Semaphore` over the same
client of the package openai without retries, and the same with the client's own two retries. With `--distilabel PYTHON`
also distilabel in that interpreter (see `teacher_distilabel.py`). All take turns, on new stores; medians over the
rounds.
"""

import argparse
import asyncio
import functools
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import openai
from pydantic import BaseModel, ConfigDict

from data_builders.llm.asking import open_teacher
from data_builders.llm.chat import Chat
from data_builders.llm.table import Teacher

SERVER = Path(__file__).parents[1] / "tests" / "helpers" / "teacher_server.py"
ROOM = 64
SETTINGS = {"known": (64, 0.0), "unknown": (128, 0.0), "faults": (64, 0.02)}


class Text(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


def questions(count):
    document = "A current mirror copies a current. " * 40  # about 400 tokens, a short node
    return [
        Chat("text", "m", "You reply.", f"Question {n}: {document}", Text, 1.0, 200, "bench/1") for n in range(count)
    ]


def ours(url, chats, most):
    """Number of usable answers."""
    with tempfile.TemporaryDirectory() as folder:
        table = Teacher(kind="openai", model="m", base_url=url, concurrency=most, timeout=30)
        asker = open_teacher(table, Path(folder) / "replies.sqlite")
        try:
            return sum(answer.value is not None for answer in asker.each(chats, asker.ask))
        finally:
            asker.close()


def loop(url, chats, most, retries=0):
    """A semaphore over the same client: what fails is lost."""

    async def everything():
        gate, client = asyncio.Semaphore(most), openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=retries)

        async def one(chat):
            named = {"type": "json_schema", "json_schema": {"name": "text", "schema": chat.json_schema}}
            async with gate:
                try:
                    reply = await client.chat.completions.create(
                        model="m", messages=chat.messages, response_format=named, seed=0, timeout=30
                    )
                    return bool(Text.model_validate_json(reply.choices[0].message.content))
                except (openai.OpenAIError, ValueError):
                    return False

        try:
            return sum(await asyncio.gather(*map(one, chats)))
        finally:
            await client.close()

    return asyncio.run(everything())


CLIENTS = {"ours": ours, "loop": loop, "loop, 2 retries": lambda *args: loop(*args, retries=2)}


def distilabel(python, url, chats, most):
    """The same by distilabel; in the setting with faults it does not look into the replies."""
    script = Path(__file__).with_name("teacher_distilabel.py")
    done = subprocess.run(
        [python, script, url, str(len(chats)), str(most)], capture_output=True, text=True, encoding="utf-8", check=True
    )
    return int(re.search(r"^replies (\d+)$", done.stdout, re.M)[1])


def measure(client, chats, most, faults, latency):
    """(share of the capacity used, requests wasted, questions lost, seconds)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", port, "--latency", latency, "--room", ROOM, "--faults", faults, "--no-hang"]
    server = subprocess.Popen([sys.executable, SERVER, *map(str, options)])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        answered = client(f"http://127.0.0.1:{port}/v1", chats, most)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats") as reply:
            stats = json.load(reply)
    finally:
        server.kill()
        server.wait()
    share = stats["done"] * latency / (ROOM * stats["span"])
    return share, stats["lines"] - answered, len(chats) - answered, stats["span"]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--questions", type=int, default=2000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--latency", type=float, default=0.2, help="seconds that the endpoint takes for a reply")
    options.add_argument("--distilabel", metavar="PYTHON", help="an interpreter that has distilabel")
    chosen = options.parse_args()
    chats, found, clients = questions(chosen.questions), {}, dict(CLIENTS)
    if chosen.distilabel:
        clients["distilabel"] = functools.partial(distilabel, chosen.distilabel)
    for _ in range(chosen.rounds):
        for setting, (most, faults) in SETTINGS.items():
            for name, client in clients.items():
                found.setdefault((setting, name), []).append(measure(client, chats, most, faults, chosen.latency))
    capacity = ROOM / chosen.latency
    print(f"{chosen.questions} questions, {chosen.rounds} rounds, medians; capacity {capacity:.0f} replies/s")
    print(f"{'setting':<9}{'client':<17}{'share used':>11}{'seconds':>9}{'wasted':>8}{'lost':>6}")
    for (setting, name), rounds in found.items():
        share, wasted, lost, seconds = (statistics.median(column) for column in zip(*rounds))
        print(f"{setting:<9}{name:<17}{share:>11.1%}{seconds:>9.1f}{wasted:>8.0f}{lost:>6.0f}")


if __name__ == "__main__":
    main()
