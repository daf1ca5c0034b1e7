"""One call to an OpenAI-compatible chat endpoint: what is sent, what comes back, and what kind of failure it was.

Repeating, pacing and storing are not done here, and the client's own retries are switched off.
"""

import asyncio
import email.utils
import json
import os
import re
import time

from data_builders.schema import DataError, encode
from data_builders.teacher.chat import Raw, Unusable

CHARACTERS_PER_TOKEN = 4  # where the server does not count
OPTIONAL = ("seed", "temperature", "max_tokens")  # some servers refuse these by name
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

    Raises DataError where the client is not installed or the key's variable is empty.
    """

    def __init__(self, table, store):
        try:
            import httpx2
            import openai
        except ImportError:
            raise DataError(
                "The teacher's client is not installed.",
                where="data.teacher.kind",
                got="openai",
                allowed="the package openai",
                fix="pip install -c constraints.txt -e '.[teacher]'",
            ) from None
        self.openai, self.http, self.table, self.store = openai, httpx2, table, store
        self.key = os.environ.get(table.api_key_env, "") if table.api_key_env else ""
        if table.api_key_env and not self.key:
            raise DataError(
                "The teacher's key is not set.",
                where="data.teacher.api_key_env",
                got=f"no value in the environment variable {table.api_key_env}",
                allowed="a variable that holds the key",
                fix=f"export {table.api_key_env}=…",
            )
        self.traits, self.takes_schemas = store.traits(table.base_url), False
        self.client = None

    def _opened(self):
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
        """The `Raw` reply. Raises Passing, Rejected, or DataError where no later question can fare better."""
        left_out = set(self.traits)
        while True:
            try:
                raw = await self._once(chat, left_out)
            except (self.openai.BadRequestError, self.openai.UnprocessableEntityError) as error:
                trait = self._refused(chat, str(error.message), left_out)
                if trait is None:
                    if error.code == "content_filter":
                        return Raw("", "content_filter", _guess(chat.messages), 0)
                    raise Rejected(f"HTTP {error.status_code}: {self.clean(str(error.message))[:300]}") from None
                left_out.add(trait)
            else:
                self._learn(chat, left_out)
                return raw

    def _refused(self, chat, message, left_out):
        """What to leave out next time, or None where nothing is left that may be to blame.

        Servers put a schema that they do not take into many words; once one was taken, the answer has to speak of it.
        """
        for name in OPTIONAL:
            if name not in left_out and re.search(rf"\b{name}\b", message):
                return name
        blamed = not self.takes_schemas or re.search(r"schema|response_format|grammar", message)
        return "schema" if chat.schema and "schema" not in left_out and blamed else None

    def _learn(self, chat, left_out):
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
                response = await self._opened().post(
                    "/chat/completions", cast_to=self.http.Response, body=self._payload(chat, traits)
                )
        except (TimeoutError, api.APITimeoutError) as error:
            if time.monotonic() - started < 0.9 * self.table.timeout:  # aiohttp's refused connections come as this
                raise Passing("connection", self.clean(str(error.__cause__ or error))[:200]) from None
            raise Passing("timeout", f"no reply in {self.table.timeout:g} s") from None
        except api.RateLimitError as error:
            if error.code == "insufficient_quota":
                raise self._fatal("The teacher's account has no credit left.", error) from None
            raise Passing("429", retry_after=_retry_after(error.response.headers)) from None
        except (api.AuthenticationError, api.PermissionDeniedError) as error:
            raise self._fatal("The endpoint does not accept the key.", error) from None
        except api.NotFoundError as error:
            raise self._fatal("The endpoint does not know the path or the model.", error) from None
        except api.InternalServerError as error:
            wait = _retry_after(error.response.headers)
            raise Passing(f"HTTP {error.status_code}", self.clean(str(error.message))[:200], wait) from None
        except (api.BadRequestError, api.UnprocessableEntityError):
            raise
        except api.APIStatusError as error:
            raise Rejected(f"HTTP {error.status_code}: {self.clean(str(error.message))[:300]}") from None
        except api.APIConnectionError as error:
            for kind in (Unusable, Passing):
                if cause := _caused_by(error, kind):
                    return self._cut_off(chat, cause)
            raise Passing("connection", self.clean(repr(error.__cause__))[:200]) from None
        except Unusable as error:
            return self._cut_off(chat, error)
        return self._read(chat, response, time.monotonic() - started)

    def _cut_off(self, chat, cause):
        if isinstance(cause, Passing):
            raise cause
        return Raw("", "too large", _guess(chat.messages), chat.max_tokens)

    def _payload(self, chat, traits):
        messages = chat.messages
        payload = {"model": chat.model, "messages": messages}
        values = {"seed": chat.draw, "temperature": chat.temperature, "max_tokens": chat.max_tokens}
        payload |= {name: value for name, value in values.items() if name not in traits}
        if chat.top_p != 1.0 and "temperature" not in traits:  # a server that takes no temperature takes no top_p
            payload["top_p"] = chat.top_p
        if "max_tokens" in traits:
            payload["max_completion_tokens"] = chat.max_tokens  # its name at servers that refuse the older one
        if chat.schema and "schema" not in traits:
            named = {"name": chat.agent, "strict": True, "schema": wire_schema(chat.json_schema)}
            payload["response_format"] = {"type": "json_schema", "json_schema": named}
        elif chat.schema:
            asked = chat.system + IN_WORDS.format(schema=encode(wire_schema(chat.json_schema)))
            turns = [turn for turn in messages if turn["role"] != "system"]
            payload["messages"] = [{"role": "system", "content": asked}, *turns]
        return payload

    def _read(self, chat, response, seconds):
        try:
            body = json.loads(self.clean(response.text))
            choice = body["choices"][0]
            message = choice["message"]
            content = message.get("content") or ""
            thought = message.get("reasoning_content") or message.get("reasoning") or ""
            if not isinstance(content, str) or not isinstance(thought, str):
                raise TypeError("content is not text")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise Passing("unreadable body", "HTTP 200 without a chat completion") from None
        if thought and "<think>" not in content and chat.schema is None:
            content = f"<think>{thought}</think>\n{content}"
        finish = "refusal" if message.get("refusal") else str(choice.get("finish_reason") or "stop")
        usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
        return Raw(
            content,
            finish,
            _count(usage.get("prompt_tokens"), _guess(chat.messages)),
            _count(usage.get("completion_tokens"), len(content) // CHARACTERS_PER_TOKEN),
            round(seconds, 3),
        )

    async def _bound(self, response):
        """Every body is read through a limit, those of errors too; a compressed one could unfold beyond it."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Passing("compressed body", "although it was asked for without")
        response.stream = _bounded(response.stream, self.table.max_reply_bytes)

    def _fatal(self, what, error):
        return DataError(
            what,
            where=f"data.teacher, {self.table.base_url}",
            got=f"HTTP {error.status_code}: {self.clean(str(error.message))[:300]}",
            allowed=f"model {self.table.model!r}, key from {self.table.api_key_env or '(no variable named)'}",
            fix="correct data.teacher; every reply so far is kept",
        )


def wire_schema(schema):
    """The schema without limits of length and titles, which strict servers refuse; they are checked here afterwards."""
    if isinstance(schema, dict):
        dropped = ("minLength", "maxLength", "title")
        return {
            key: wire_schema(value) for key, value in schema.items() if key not in dropped or isinstance(value, dict)
        }
    return [wire_schema(item) for item in schema] if isinstance(schema, list) else schema


def _bounded(stream, most):
    from httpx2 import AsyncByteStream

    class Bounded(AsyncByteStream):
        async def __aiter__(self):
            size = 0
            async for piece in stream:
                size += len(piece)
                if size > most:
                    raise Unusable("too large", f"more than {most:,} bytes")
                yield piece

        async def aclose(self):
            await stream.aclose()

    return Bounded()


def _retry_after(headers):
    """Seconds from `retry-after-ms` or `Retry-After` (seconds or an HTTP date); 0.0 where there is none."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        text = headers.get("retry-after", "0").strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _caused_by(error, kind):
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None


def _guess(messages):
    return sum(len(turn["content"]) for turn in messages) // CHARACTERS_PER_TOKEN


def _count(value, otherwise):
    return value if isinstance(value, int) and value >= 0 else otherwise
