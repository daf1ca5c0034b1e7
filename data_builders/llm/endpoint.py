"""One call to an OpenAI-compatible chat endpoint: what is sent, what comes back, and what kind of failure it was.

Repeating, pacing and storing are not done here, and the client's own retries are switched off.
"""

import asyncio
import json
import os
import re
import time

from data_builders.llm.chat import Raw, Unusable, guess
from data_builders.llm.pace import backoff
from data_builders.llm.replies import keep_body, read_message
from data_builders.llm.wire import caused_by, count, limit_stream, retry_after, wire_schema
from recipes.base.errors import RecipeError
from recipes.base.jsonl import encode_json

OPTIONAL = ("seed", "temperature", "max_tokens")  # some servers refuse these by name
TOO_SOON = (408, 409, 425)  # request timeout, conflict, too early: refusals of the moment, not of the question
IN_WORDS = "\n\nReply with one JSON object and nothing else, no code fence. It has to fit this JSON schema:\n{schema}"


class Passing(Exception):
    """A failure that may be over the next time: `name` is counted, `retry_after` is what the server asks for, s."""

    def __init__(self, name, detail="", retry_after=0.0):
        super().__init__(f"{name}{': ' if detail else ''}{detail}")
        self.name, self.retry_after = name, retry_after


class Rejected(Exception):
    """The endpoint will not answer this question, whenever it is asked."""


class Endpoint:
    """`table` is the teacher's table, `store` remembers what this endpoint does not take.

    Raises RecipeError where the client is not installed or the key's variable is empty.
    """

    def __init__(self, table, store):
        try:
            import httpx2
            import openai
        except ImportError:
            raise RecipeError(
                "The teacher's client is not installed.",
                where="data.teacher.kind",
                got="openai",
                allowed="the package openai",
                fix="pip install -c constraints.txt -e '.[teacher]'",
            ) from None
        self.openai, self.http, self.table, self.store = openai, httpx2, table, store
        self.key = os.environ.get(table.api_key_env, "") if table.api_key_env else ""
        if table.api_key_env and not self.key:
            raise RecipeError(
                "The teacher's key is not set.",
                where="data.teacher.api_key_env",
                got=f"no value in the environment variable {table.api_key_env}",
                allowed="a variable that holds the key",
                fix=f"export {table.api_key_env}=…",
            )
        self.traits, self.takes_schemas = store.traits(table.base_url), False
        self.client, self.most_bytes = None, table.max_reply_bytes

    def opened(self):
        """The client; it belongs to the event loop in which it is first used, and is made anew after `close`."""
        if self.client is None:
            # Over aiohttp a request costs half the processor time of the client's default transport.
            http = self.openai.DefaultAioHttpClient(
                event_hooks={"response": [self._bound]},
                limits=self.http.Limits(max_connections=self.table.concurrency + 8),
                follow_redirects=False,  # a key is not carried to another host
            )
            self.client = self.openai.AsyncOpenAI(
                api_key=self.key or "none",
                base_url=self.table.base_url,
                max_retries=0,
                timeout=self.table.timeout,
                http_client=http,
                default_headers={"Accept-Encoding": "identity"},
            )
        return self.client

    async def close(self):
        if self.client is not None:
            await self.client.close()
            self.client = None

    def clean(self, text):
        """A text of the server without the key, should it repeat that."""
        return text.replace(self.key, "***") if self.key else text

    async def complete(self, chat):
        """The `Raw` reply. Raises Passing, Rejected, or RecipeError where no later question can fare better."""
        left_out = set(self.traits)
        while True:
            try:
                raw = await self._once(chat, left_out)
            except (self.openai.BadRequestError, self.openai.UnprocessableEntityError) as error:
                trait = self.refused(chat, str(error.message), left_out)
                if trait is None:
                    if error.code == "content_filter":
                        return Raw("", "content_filter", chat.size, 0)
                    raise Rejected(f"HTTP {error.status_code}: {self.clean(str(error.message))[:300]}") from None
                left_out.add(trait)
            else:
                self.learn(chat, left_out)
                return raw

    def refused(self, chat, message, left_out):
        """What to leave out next time, or None where nothing is left that may be to blame.

        Servers put a schema that they do not take into many words; once one was taken, the answer has to speak of it.
        """
        for name in OPTIONAL:
            if name not in left_out and re.search(rf"\b{name}\b", message):
                return name
        blamed = not self.takes_schemas or re.search(r"schema|response_format|grammar", message)
        return "schema" if chat.schema and "schema" not in left_out and blamed else None

    def learn(self, chat, left_out):
        """Remember what it was answered without, for good."""
        self.takes_schemas |= chat.schema is not None and "schema" not in left_out
        for trait in left_out - self.traits:
            self.traits.add(trait)
            self.store.learn(self.table.base_url, trait)

    async def _once(self, chat, traits):
        started, api = time.monotonic(), self.openai
        try:
            async with asyncio.timeout(self.table.timeout):
                # The path by hand: to check the payload's types takes the client longer than all the rest.
                response = await self.opened().post(
                    "/chat/completions", cast_to=self.http.Response, body=self.payload(chat, traits)
                )
        except (api.BadRequestError, api.UnprocessableEntityError):
            raise
        except (TimeoutError, Unusable, api.OpenAIError) as error:
            for cause in (caused_by(error, Unusable), caused_by(error, Passing)):
                if cause:
                    return self._cut_off(chat, cause)
            raise self.failure(error, started) from None
        seconds = time.monotonic() - started
        return self.read(response.text, seconds, chat.size)

    async def patiently(self, make):
        """The result of `await make()`, repeated while it fails in passing, for as long as the patience lasts."""
        began, attempt = time.monotonic(), 0
        while True:
            started = time.monotonic()
            try:
                async with asyncio.timeout(self.table.timeout):
                    return await make()
            except (TimeoutError, self.openai.OpenAIError) as error:
                problem = self.failure(error, started)
            if isinstance(problem, Passing):
                attempt += 1
                wait = max(problem.retry_after, backoff(attempt))
                if time.monotonic() + wait - began < self.table.patience:
                    await asyncio.sleep(wait)
                    continue
            if isinstance(problem, RecipeError):
                raise problem
            raise RecipeError(
                "The teacher's endpoint does not answer.",
                where=f"data.teacher.base_url, {self.table.base_url}",
                got=str(problem),
                allowed=f"an answer within {self.table.patience:g} s",
                fix="give the same command again later: what was sent is taken up",
            )

    def failure(self, error, started):
        """What an error of the client is: Passing, Rejected, or a RecipeError. `started` is when the call began."""
        api = self.openai
        if isinstance(error, TimeoutError | api.APITimeoutError):
            if time.monotonic() - started < 0.9 * self.table.timeout:  # aiohttp's refused connections come as this
                return Passing("connection", self.clean(str(error.__cause__ or error))[:200])
            return Passing("timeout", f"no reply in {self.table.timeout:g} s")
        if not isinstance(error, api.APIStatusError):
            return Passing("connection", self.clean(repr(error.__cause__ or error))[:200])
        wait, text = retry_after(error.response.headers), self.clean(str(error.message))
        if isinstance(error, api.RateLimitError):
            if error.code == "insufficient_quota":
                return self.fatal("The teacher's account has no credit left.", error)
            return Passing("429", retry_after=wait)
        if isinstance(error, api.AuthenticationError | api.PermissionDeniedError):
            return self.fatal("The endpoint does not accept the key.", error)
        if isinstance(error, api.NotFoundError):
            return self.fatal("The endpoint does not know the path or the model.", error)
        if isinstance(error, api.InternalServerError) or error.status_code in TOO_SOON:
            return Passing(f"HTTP {error.status_code}", text[:200], wait)
        return Rejected(f"HTTP {error.status_code}: {text[:300]}")

    def _cut_off(self, chat, cause):
        if isinstance(cause, Passing):
            raise cause
        return Raw("", "too large", chat.size, chat.limit)

    def payload(self, chat, traits):
        messages = chat.messages
        payload = {"model": chat.model, "messages": messages}
        values = {"seed": chat.draw, "temperature": chat.temperature, "max_tokens": chat.limit}
        payload |= {name: value for name, value in values.items() if name not in traits}
        if chat.top_p != 1.0 and "temperature" not in traits:  # a server that takes no temperature takes no top_p
            payload["top_p"] = chat.top_p
        if "max_tokens" in traits:
            payload["max_completion_tokens"] = chat.limit  # its name at servers that refuse the older one
        if chat.schema and "schema" not in traits:
            named = {"name": chat.agent, "strict": True, "schema": wire_schema(chat.json_schema)}
            payload["response_format"] = {"type": "json_schema", "json_schema": named}
        elif chat.schema:
            asked = chat.system + IN_WORDS.format(schema=encode_json(wire_schema(chat.json_schema)))
            turns = [turn for turn in messages if turn["role"] != "system"]
            payload["messages"] = [{"role": "system", "content": asked}, *turns]
        return payload

    def read(self, text: str, seconds: float, sent: int) -> Raw:
        """The `Raw` reply of a body, a chat completion in any form; `sent` tokens if it counts none.

        Raises Passing for anything else, and for a failure of the model behind the server that is told in a body.
        """
        try:
            body = json.loads(self.clean(text))
            choices, failed = body.get("choices"), body.get("error")
            if isinstance(choices, list) and choices and isinstance(choices[0], dict):
                failed = failed or choices[0].get("error")
            if failed:
                raise Passing("error in the body", encode_json(failed)[:200])
            if not isinstance(choices, list):
                raise TypeError("no choices")
            message = read_message(body)
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise Passing("unreadable body", "HTTP 200 without a chat completion") from None
        usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
        return Raw(
            message.content,
            message.finish,
            count(usage.get("prompt_tokens"), sent),
            count(usage.get("completion_tokens"), guess(len(message.content) + len(message.thinking))),
            round(seconds, 3),
            message.thinking,
            "" if message.plain else keep_body(body),
        )

    async def _bound(self, response):
        """Every body is read through a limit, those of errors too; a compressed one could unfold beyond it."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Passing("compressed body", "although it was asked for without")
        response.stream = limit_stream(response.stream, self.most_bytes)

    def fatal(self, what, error):
        return RecipeError(
            what,
            where=f"data.teacher, {self.table.base_url}",
            got=f"HTTP {error.status_code}: {self.clean(str(error.message))[:300]}",
            allowed=f"model {self.table.model!r}, key from {self.table.api_key_env or '(no variable named)'}",
            fix="correct data.teacher; every reply so far is kept",
        )
