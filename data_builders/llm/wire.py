"""What goes over the wire to a chat endpoint and comes back: schemas, bodies within a limit, waiting times, counts."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from data_builders.llm.chat import Unusable

if TYPE_CHECKING:
    from httpx2 import AsyncByteStream

Found = TypeVar("Found", bound=BaseException)


def wire_schema(schema: Any) -> Any:
    """The schema without limits of length and titles, which strict servers refuse; they are checked here afterwards."""
    if isinstance(schema, dict):
        dropped = ("minLength", "maxLength", "title")
        return {
            key: wire_schema(value) for key, value in schema.items() if key not in dropped or isinstance(value, dict)
        }
    return [wire_schema(item) for item in schema] if isinstance(schema, list) else schema


def limit_stream(stream: AsyncByteStream, most: int) -> AsyncByteStream:
    """The stream, which raises Unusable beyond `most` bytes."""
    from httpx2 import AsyncByteStream

    class Bounded(AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for piece in stream:
                size += len(piece)
                if size > most:
                    raise Unusable("too large", f"more than {most:,} bytes")
                yield piece

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()


async def lines_of(pieces: AsyncIterable[bytes], most: int) -> AsyncIterator[bytes]:
    """Yields the lines of a body that comes in pieces of bytes; of a line beyond `most` bytes no more than those."""
    line, full = b"", False
    async for piece in pieces:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield line if full else (line + end)[: most + 1]
            line, full = b"", False
        line, full = (line, full) if full else ((line + rest)[: most + 1], len(line) + len(rest) > most)
    if line:
        yield line


def retry_after(headers: Mapping[str, str]) -> float:
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


def caused_by(error: BaseException | None, kind: type[Found]) -> Found | None:
    """The first error of a kind in the chain of causes, or None."""
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None


def count(value: object, otherwise: int) -> int:
    """A count that a server states, or another where it states none."""
    return value if isinstance(value, int) and value >= 0 else otherwise
