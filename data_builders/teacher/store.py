"""Replies kept as they arrive, so that an interrupted run asks nothing twice."""

import json

from data_builders.schema import DataError, encode, stable_id
from data_builders.teacher.protocol import REPLY_SCHEMA, Reply


def key(teacher, request):
    """What makes a question to a teacher the same question: who is asked, for what, in which form."""
    return stable_id(teacher.name, teacher.version, request.id, sorted(REPLY_SCHEMA["properties"]))


def ask_stored(teacher, requests, path, arrived):
    """Replies to `requests` in order, from the file at `path` where it has them, else from the teacher and then stored.

    Each new reply is one line, flushed as it arrives. A last line cut off by a kill is removed and asked again. Calls
    `arrived(reply)` once for each reply. Raises DataError for a damaged file or a teacher that breaks its protocol.
    """
    known = _load(path)
    keys = [key(teacher, request) for request in requests]
    missing = list({k: request for k, request in zip(keys, requests, strict=True) if k not in known}.items())
    for k in dict.fromkeys(k for k in keys if k in known):
        arrived(known[k])
    count = 0
    with path.open("a", encoding="utf-8") as stream:
        for (k, request), reply in zip(missing, teacher.ask([request for _, request in missing]), strict=False):
            if reply.request != request.id:
                raise DataError(
                    "A teacher's reply does not belong to the request.",
                    where=f"teacher {teacher.name}",
                    got=reply.request,
                    allowed=request.id,
                    fix="make the teacher keep ids and order",
                )
            stream.write(encode({"key": k, "reply": reply.model_dump()}) + "\n")
            stream.flush()
            known[k] = reply
            count += 1
            arrived(reply)
    if count < len(missing):
        raise DataError(
            "A teacher gave too few replies.",
            where=f"teacher {teacher.name}",
            got=f"{count} replies",
            allowed=f"{len(missing)}, one a request",
            fix="run again: the replies that came are kept",
        )
    return [known[k] for k in keys]


def _load(path):
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as stream:
            stream.truncate(whole)
    known = {}
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            row = json.loads(line)
            known[row["key"]] = Reply.model_validate(row["reply"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                "A stored reply is damaged.",
                where=f"{path}:{number}",
                got=str(error).splitlines()[0],
                allowed="one stored reply a line",
                fix="delete that line; it will be asked again",
            ) from None
    return known
