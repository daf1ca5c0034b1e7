"""A local endpoint that plays an OpenAI-compatible teacher: answers by rules, fails by seed, and writes down both.

    python tests/helpers/teacher_server.py --port 8099 --faults 0.3 --log asked.jsonl

Its answer depends on the question alone (the first two messages and the seed of the request), so a reply that comes at
the second attempt is the one that the first would have brought. A question meets at most `STUBBORN` failures of each
family. One line a request goes to the log: digest of the whole request, and what was done with it.
"""

import argparse
import asyncio
import email.utils
import hashlib
import json
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.helpers.reply_forms import FORMS

STUBBORN = 2  # failures of one question in passing; unusable replies are at most as many
PASSING = ("408", "409", "425", "429", "429 date", "500", "503", "hung", "cut", "garbage body")
UNUSABLE = ("invalid JSON", "wrong schema", "empty", "truncated", "refused", "huge")
HUGE = 2**30  # bytes that the largest reply would have
WORD = re.compile(r"[A-Za-z][A-Za-z-]{3,}")


def digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def dice(*parts):
    return random.Random(digest([str(part) for part in parts]))


def tokens(text):
    """Words and signs times 1.25: not the count by characters that the builder's bill is made with."""
    return round(1.25 * len(re.findall(r"\w+|[^\w\s]", text)))


def document(text):
    return re.search(r"<document[^>]*>\n(.*?)\n</document>", text, re.S)[1]


def sentences(text):
    found = [line.strip() for line in re.split(r"(?<=[.!?])\s+|\n", text)]
    return [line for line in found if len(WORD.findall(line)) >= 6] or [text[:300] + " and every further word of it"]


def answer(payload, words=120):
    """What the model says: which agent asks shows in the system prompt."""
    system, user = (message["content"] for message in payload["messages"][:2])
    rng = dice(user, payload.get("seed"))
    if system.startswith("You write exam questions"):
        sentence = rng.choice(sentences(document(user)))
        terms = rng.sample([*WORD.findall(sentence), "drive", "level", "shift", "ratio"], 4)
        number = rng.randrange(10**6)
        question = f"In design review {number}, which term goes with {terms[0]} and {terms[1]} of the circuit?"
        if "four options" not in system:
            return json.dumps({"question": question})
        made = [terms[2], f"{terms[3]} of {number}", f"no {terms[0]}", f"twice the {terms[1]}"]
        return json.dumps({"question": question, "options": made})
    if system.startswith("You answer exam questions"):
        options = re.findall(r"^([A-D])\) (.*)$", user, re.M)
        told = " ".join(rng.choice(("current", "voltage", "gain", "noise", "slope", "device")) for _ in range(words))
        final = (
            rng.choice(options)[0]
            if options
            else f"the {rng.choice([*WORD.findall(document(user)), 'device'])} number {words}"
        )
        return f"<think>{told}</think>\nEach step follows from the one before.\n<answer>{final}</answer>"
    if system.startswith("You edit"):
        question = re.search(r"<question>\n(.*)\n", user)[1]
        parts = re.search(r"<think>(.*?)</think>\s*(.*?)\s*<answer>(.*?)</answer>", user, re.S)
        return json.dumps(dict(zip(("question", "thinking", "solution", "answer"), (question, *parts.groups()))))
    if system.startswith("You judge"):
        aspects = re.findall(r"^- (\w+): ", system, re.M)
        told = " ".join(rng.choice(("one", "step", "word", "term")) for _ in range(40))
        weak = rng.random() < 0.15
        return json.dumps({"why": told} | {name: rng.choice((1, 2, 4) if weak else (4, 5)) for name in aspects})
    if system.startswith("You restore"):
        return f"<clean>\n{document(user)}\n</clean>"
    return json.dumps({"text": f"reply {rng.randrange(10**9)}"})


class Server:
    """`faults` is the share of requests that fail in passing, and of the others the share with an unusable reply, of
    the kinds in `only`; `room` the requests it takes at once (0: any number), each of which lasts `latency`
    seconds; `schema` says whether it takes a JSON schema; `words` is the length of a worked answer. Each question is
    answered in one of `forms` (names of `reply_forms.FORMS`), drawn by seed; `says` is what the model says.

    After `hold_after` answers it gives no more: every further request waits, and `holding` is set by the first. `hang`
    is how many seconds a request lasts whose client has to give it up; 0 is for ever.
    """

    def __init__(
        self,
        faults=0.0,
        seed=0,
        latency=0.0,
        room=0,
        schema=True,
        log=None,
        words=120,
        hang=0.0,
        only=PASSING + UNUSABLE,
        forms=(),
        says=None,
        hold_after=None,
    ):
        self.only, self.forms = only, forms
        self.says = says or (lambda payload: answer(payload, self.words))
        self.faults, self.seed, self.latency, self.room, self.schema = faults, seed, latency, room, schema
        self.words, self.hang, self.log, self.hold_after = words, hang, log, hold_after
        self.holding = threading.Event()
        self.seen, self.busy, self.done, self.lines = {}, 0, 0, []
        self.headers, self.begun, self.last, self.written = [], None, 0.0, 0

    def run_until_held(self, command, after):
        """Run a program until `after` answers have been given in all and a request more is held, then SIGKILL it."""
        self.hold_after = after
        self.holding.clear()
        process = subprocess.Popen(command)
        while not self.holding.wait(0.1):
            assert process.poll() is None, "it ended before it came so far"
        process.kill()
        process.wait()

    def app(self):
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/stats", self.stats)
        return app

    async def stats(self, request):
        return web.json_response({"done": self.done, "lines": len(self.lines), "span": self.last - self.begun})

    def write(self, payload, what):
        line = {"asked": digest(payload), "what": what, "turns": len(payload["messages"]), "time": time.time()}
        self.lines.append(line)
        if self.log:
            with open(self.log, "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")

    def fault(self, payload):
        """The failure that this request meets, or None."""
        question = digest([payload["messages"][:2], payload.get("seed")])
        for kinds, where in ((PASSING, digest(payload)), (UNUSABLE, question)):
            family = tuple(kind for kind in kinds if kind in self.only)
            met = self.seen.get((family, where), 0)
            rng = dice(self.seed, kinds, question, met, len(payload["messages"]))
            if family and met < STUBBORN and rng.random() < self.faults:
                self.seen[family, where] = met + 1
                return rng.choice(family)
        return None

    async def chat(self, request):
        payload = await request.json()
        self.begun = self.begun or time.monotonic()
        self.headers.append(dict(request.headers))
        if not self.schema and "response_format" in payload:
            self.write(payload, "schema refused")
            return _error(400, "unknown field response_format")
        if self.room and self.busy >= self.room:
            self.write(payload, "429")
            return _error(429, "too many requests", {"Retry-After": "0.05"})
        self.busy += 1
        try:
            fault = self.fault(payload)
            if fault in PASSING:
                self.write(payload, fault)
                return await self.passing(fault, request)
            await asyncio.sleep(self.latency)
            if fault == "huge":
                self.write(payload, fault)
                return await self.huge(request)
            if self.hold_after is not None and self.done >= self.hold_after:
                self.holding.set()
                await asyncio.Event().wait()
            self.write(payload, fault or "answered")
            self.done += 1
            self.last = time.monotonic()
            return web.json_response(self.completion(payload, fault))
        finally:
            self.busy -= 1

    async def passing(self, fault, request):
        if fault == "429":
            return _error(429, "slow down", {"Retry-After": "0.02"})
        if fault == "429 date":
            return _error(429, "slow down", {"Retry-After": email.utils.formatdate(time.time(), usegmt=True)})
        if fault in ("408", "409", "425", "500", "503"):
            return _error(int(fault), "internal " + request.headers.get("Authorization", ""))
        if fault == "hung":
            await (asyncio.sleep(self.hang) if self.hang else asyncio.Event().wait())
            return _error(500, "late")
        if fault == "cut":
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")
            request.transport.close()
            return web.Response()
        return web.Response(text="<html>Bad gateway</html>")

    async def huge(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        piece = b'{"choices": ' + b" " * 65536
        for _ in range(HUGE // len(piece)):
            self.written += len(piece)
            try:
                await response.write(piece)
            except (ConnectionError, asyncio.CancelledError):
                return response
        return response

    def form(self, payload):
        """The name of the form in which a question is answered, or None; the same for all its attempts."""
        question = digest([payload["messages"][:2], payload.get("seed")])
        return dice(self.seed, "form", question).choice(self.forms) if self.forms else None

    def completion(self, payload, fault):
        if fault is None and (form := self.form(payload)):
            return FORMS[form](self.says(payload)) | {"id": "chatcmpl-1", "object": "chat.completion", "created": 0}
        content, finish, refusal = self.says(payload), "stop", None
        json_wanted = content.startswith("{")
        if fault == "invalid JSON":
            content = content[: len(content) // 2] if json_wanted else re.sub("(answer|clean)>", "tag>", content)
        elif fault == "wrong schema":
            content = '{"reply": 1}' if json_wanted else re.sub("(<(think|clean)>)", r"\1\1", content)
        elif fault == "empty":
            content = ""
        elif fault == "truncated":
            content, finish = content[:40], "length"
        elif fault == "refused":
            content, refusal = "", "I cannot help with that."
        elif json_wanted and not self.schema:
            content = f"Sure! Here it is:\n```json\n{content[:-1]},}}\n```\nAnything else?"
        message = {"role": "assistant", "content": content, "refusal": refusal}
        sent = sum(tokens(turn["content"]) for turn in payload["messages"])
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": payload["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": sent, "completion_tokens": tokens(content), "total_tokens": 0},
        }


def _error(status, text, headers=None):
    body = {"error": {"message": text, "type": "error", "param": None, "code": None}}
    return web.json_response(body, status=status, headers=headers)


def main(kind=Server):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=8099)
    options.add_argument("--faults", type=float, default=0.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--latency", type=float, default=0.0)
    options.add_argument("--room", type=int, default=0)
    options.add_argument("--words", type=int, default=120)
    options.add_argument("--hang", type=float, default=0.0)
    options.add_argument("--hold-after", type=int)
    options.add_argument("--log")
    options.add_argument("--forms", nargs="*", choices=FORMS, default=())
    options.add_argument(
        "--no-hang",
        dest="only",
        action="store_const",
        const=("429", "500", "cut", *UNUSABLE[:4]),
        default=PASSING + UNUSABLE,
    )
    options.add_argument("--no-schema", dest="schema", action="store_false")
    chosen = vars(options.parse_args())
    port = chosen.pop("port")
    web.run_app(kind(**chosen).app(), host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
