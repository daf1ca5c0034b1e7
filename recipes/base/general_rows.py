"""General rows in the forms that published instruction sets have, converted to the turns of this project.

JSONL, JSON list, CSV or TSV, plain or gzip
  prompt and completion (turns or strings)   messages   conversations (ShareGPT)   instruction, input, output (Alpaca)
  question and answer, and their like   ──►  {"prompt": [turn, …], "completion": [turn]}
  strings, {"text": …}                  ──►  {"text": …}

Of several turns the last assistant turn is learnt and those before it are the prompt. Other forms are refused by name.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from recipes.base.errors import RecipeError

OWN = "turns in prompt and completion"
STRINGS = "prompt and completion as strings"
MESSAGES, SHAREGPT, ALPACA = "messages", "ShareGPT", "Alpaca"
TEXT, PLAIN = "text", "plain strings"
PAIRS = (  # keys of a question and its reply, in published sets
    *(("question", "answer"), ("question", "response"), ("query", "response"), ("query", "answer")),
    *(("prompt", "response"), ("problem", "solution"), ("question", "output"), ("input", "output")),
)
FORMS = (
    "prompt and completion (turns or strings), messages, conversations (ShareGPT), instruction, input and output "
    "(Alpaca), question and answer, text, or plain strings; as JSONL, a JSON list or CSV, plain or gzip"
)
ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "bing", "bard"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
OTHERS = {  # keys that tell a form which has no single reply to learn
    ("chosen", "rejected"): "preference pairs",
    ("input_ids",): "token ids",
}
BINARY = {  # the first bytes of files that hold tables, and are not read here
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"PK\x03\x04": "a ZIP archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
}
LINE = 64 * 2**20  # characters of one line; gzip can make any number of them out of a few bytes
WHOLE = 2**30  # characters of a JSON list, which is read at once
CHECKED = 8 * 2**20  # characters of a file that are looked at before a run
HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass
class Counts:
    """How rows were read: {form: rows}, and {reason: rows} of those with nothing to learn."""

    forms: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def describe(self) -> str:
        """One line on what was converted or left out; empty where the rows had the project's own form."""
        parts = [f"{count:,} rows read as {form}" for form, count in self.forms.items() if form not in (OWN, TEXT)]
        parts += [f"{count:,} left out: {reason}" for reason, count in self.left_out.items()]
        return ", ".join(parts)


def read_general_rows(file: Path, texts: bool) -> tuple[list[dict[str, Any]], Counts]:
    """(rows, how they were read) of a whole file. Raises as `iterate_general_rows`."""
    counts = Counts()
    return list(iterate_general_rows(file, texts, counts)), counts


def iterate_general_rows(
    file: Path, texts: bool, counts: Counts | None = None, most: int | None = None
) -> Iterator[dict[str, Any]]:
    """Rows with `prompt` and `completion`, or with `text` where `texts` allows running text, in the file's order.

    Rows of the project's own form stay as they are, with all their keys. `most` ends the reading after so many
    characters of a file of lines.

    Raises:
        RecipeError: the file cannot be read, or a row is of no known form.
    """
    counts = counts or Counts()
    for where, value in iterate_records(file, most):
        form, row = convert(value, where)
        if "text" in row and not texts:
            raise RecipeError(
                "running text has no question and no reply to learn",
                where=where,
                got=f"{form}: {row['text'][:60]!r}",
                allowed="rows with a question and a reply: " + FORMS,
                fix="give running text to general of [cpt], or add a question to each row",
            )
        reason = find_lack(row)
        if reason:
            counts.left_out[reason] += 1
            continue
        counts.forms[form] += 1
        yield row


def find_lack(row: dict[str, Any]) -> str | None:
    """Why there is nothing to learn in a converted row, or None."""
    if "text" in row:
        return None if row["text"].strip() else "no text"
    if not row["completion"] or not str(row["completion"][-1]["content"]).strip():
        return "no reply"
    asked = any(turn["role"] != "system" and turn["content"] for turn in row["prompt"])
    return None if asked else "no question before the reply"


def check_general_rows(file: Path, texts: bool) -> None:
    """Read the first rows of a file, as a look before a run. Raises RecipeError where they cannot be used."""
    about = file.stat()
    fault = _find_fault(file, texts, about.st_size, about.st_mtime_ns)
    if fault is not None:
        raise fault


@lru_cache(64)
def _find_fault(file: Path, texts: bool, size: int, changed: int) -> RecipeError | None:
    counts = Counts()
    try:
        found = sum(1 for _ in iterate_general_rows(file, texts, counts, most=CHECKED))
    except RecipeError as error:
        return error
    if found:
        return None
    got = counts.describe() or "an empty file"
    return RecipeError("no row has anything to learn", where=str(file), got=got, allowed=FORMS, fix="mend the file")


def convert(value: object, where: str) -> tuple[str, dict[str, Any]]:
    """(name of the form, row with prompt and completion, or with text) of one record.

    Raises:
        RecipeError: it has no known form; the keys found are named.
    """
    if isinstance(value, str):
        return PLAIN, {"text": clean(value)}
    if not isinstance(value, dict):
        raise refuse(where, f"a {type(value).__name__} in place of an object")
    row = {key: entry for key, entry in value.items() if entry is not None}
    if "prompt" in row and "completion" in row:
        if isinstance(row["prompt"], list) and isinstance(row["completion"], list):
            return OWN, value | {key: check_turns(row[key], where) for key in ("prompt", "completion")}
        prompt, completion = (
            entry if isinstance(entry, list) else [{"role": role, "content": entry}]
            for entry, role in ((row["prompt"], "user"), (row["completion"], "assistant"))
        )
        return STRINGS, split_turns([*prompt, *completion], where)
    for key in ("messages", "conversations", "conversation"):
        if isinstance(row.get(key), list):
            first = row[key][0] if row[key] else {}
            form = SHAREGPT if isinstance(first, dict) and "from" in first else MESSAGES
            system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
            return form, split_turns([*system, *row[key]], where)
    reply = next((row[key] for key in ("output", "response", "completion") if key in row), None)
    if "instruction" in row and reply is not None:
        given = [row["instruction"], *(row[key] for key in ("input", "context") if row.get(key))]
        return ALPACA, pair("\n\n".join(read_content(part, where) for part in given), reply, row.get("system"), where)
    for asked, answered in PAIRS:
        if asked in row and answered in row:
            form = f"{asked} and {answered}"
            return form, pair(read_content(row[asked], where), row[answered], row.get("system"), where)
    if isinstance(row.get("text"), str):
        return TEXT, value | {"text": clean(row["text"])}
    other = next((name for keys, name in OTHERS.items() if all(key in row for key in keys)), "")
    raise refuse(where, f"{other + ', ' if other else ''}keys: {', '.join(map(str, value)) or 'none'}")


def pair(question: str, reply: object, system: object, where: str) -> dict[str, Any]:
    """A row of one question and its reply."""
    turns = [{"role": "system", "content": system}] if system else []
    return split_turns([*turns, {"role": "user", "content": question}, {"role": "assistant", "content": reply}], where)


def split_turns(turns: list[Any], where: str) -> dict[str, Any]:
    """{"prompt": turns before the last assistant turn, "completion": that turn}; what follows it is left out."""
    found = [read_turn(turn, where) for turn in turns]
    places = [place for place, turn in enumerate(found) if turn["role"] == "assistant"]
    if not places:
        return {"prompt": found, "completion": []}
    return {"prompt": found[: places[-1]], "completion": [found[places[-1]]]}


def read_turn(turn: object, where: str) -> dict[str, str]:
    """One turn as role and content, from OpenAI's keys or ShareGPT's. Raises RecipeError for another role."""
    if not isinstance(turn, dict):
        raise refuse(where, f"a turn that is a {type(turn).__name__}")
    role = str(turn.get("role", turn.get("from", "")))
    if role.lower() not in ROLES:
        raise refuse(where, f"a turn of {role!r}" if role else f"a turn with the keys {', '.join(map(str, turn))}")
    return {"role": ROLES[role.lower()], "content": read_content(turn.get("content", turn.get("value")), where)}


def read_content(content: object, where: str) -> str:
    """The text of a turn: a string, or OpenAI's list of text parts. Raises RecipeError for pictures and the like."""
    if content is None:
        return ""
    if isinstance(content, (int, float)):  # an answer that is a number
        content = str(content)
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        kinds = {part.get("type") for part in content} - {"text"}
        if kinds:
            raise refuse(where, f"a part of the kind {', '.join(map(str, kinds))}")
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise refuse(where, f"a text that is a {type(content).__name__}")
    return clean(content).strip()


def check_turns(turns: list[Any], where: str) -> list[Any]:
    """Turns of the project's own form, as they are. Raises RecipeError where one has no role or content."""
    for turn in turns:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str) or "content" not in turn:
            raise refuse(where, f"a turn {str(turn)[:60]}")
    return turns


def clean(text: str) -> str:
    """The text with a replacement character for half a surrogate pair, which no tokenizer takes."""
    return HALF_PAIR.sub("\ufffd", text)


def refuse(where: str, got: str) -> RecipeError:
    """The error of a row of another form."""
    return RecipeError(
        "a general row has another form",
        where=where,
        got=got,
        allowed=FORMS,
        fix="rename its keys to those of one of these forms",
    )


def iterate_records(file: Path, most: int | None = None) -> Iterator[tuple[str, Any]]:
    """("FILE, line N" or "FILE, row N", value) of every record: JSON values one a line, those of a list, rows of CSV.

    Raises:
        RecipeError: the file is not there, not UTF-8, damaged, or of another kind.
    """
    try:
        with open_text(file) as stream:
            yield from _records(file, stream, most)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise RecipeError(
            "the file cannot be read",
            where=str(file),
            got=f"{type(error).__name__}: {error}",
            allowed=FORMS + ", in UTF-8",
            fix="save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "mend the file, or name another",
        ) from None


@contextmanager
def open_text(file: Path) -> Iterator[TextIO]:
    """A text file in UTF-8, unpacked where it is gzip; a byte order mark does not count."""
    with file.open("rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        kind = next((name for magic, name in BINARY.items() if start.startswith(magic)), None)
        if kind is not None:
            fix = "write it as JSONL, for example datasets.load_dataset(…).to_json('general.jsonl')"
            raise RecipeError("this kind of file is not read", where=str(file), got=kind, allowed=FORMS, fix=fix)
        packed = start.startswith(b"\x1f\x8b")
        with io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, "utf-8-sig", newline="") as stream:
            yield stream


def _records(file: Path, stream: TextIO, most: int | None) -> Iterator[tuple[str, Any]]:
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    if suffix in (".csv", ".tsv"):
        yield from _table(file, stream, most)
        return
    first, blank = stream.readline(LINE), 0
    while first and not first.strip():
        first, blank = stream.readline(LINE), blank + 1
    rest = first + stream.read(WHOLE) if suffix == ".json" or first.lstrip()[:1] == "[" else None
    if rest is not None and (values := _whole(file, rest)) is not None:
        yield from ((f"{file}, row {number}", value) for number, value in enumerate(values, 1))
        return
    lines = stream if rest is None else io.StringIO(rest.removeprefix(first))
    yield from _lines(file, first, lines, blank, most)


def _whole(file: Path, text: str) -> list[Any] | None:
    """The list in a JSON document, or its first list of records; None where the text is one value a line."""
    if len(text) >= WHOLE:
        got = f"more than {WHOLE:,} characters"
        raise RecipeError("a JSON list is too large to be read at once", where=str(file), got=got, fix="make it JSONL")
    try:
        whole = json.loads(text)
    except ValueError as error:
        if str(error).startswith("Extra data") and not text.lstrip().startswith("["):
            return None
        raise RecipeError(
            "the file is not valid JSON", where=str(file), got=str(error), allowed="a list of objects", fix="mend it"
        ) from None
    except RecursionError:
        raise refuse(str(file), "values nested too deep") from None
    if not isinstance(whole, dict):
        return whole if isinstance(whole, list) else [whole]
    if {"messages", "conversations", "prompt", "text"} & set(whole):  # one record
        return [whole]
    return next((value for value in whole.values() if isinstance(value, list)), [whole])


def _lines(file: Path, line: str, stream: TextIO, number: int, most: int | None) -> Iterator[tuple[str, Any]]:
    """The values of a file of lines; `line` is the first one with a value, and `number` stand before it."""
    taken = 0
    while line and (most is None or taken < most):
        number, taken = number + 1, taken + len(line)
        where = f"{file}, line {number}"
        if len(line) >= LINE:
            raise refuse(where, f"a line of more than {LINE:,} characters")
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RecipeError(
                    "a line is not JSON",
                    where=where,
                    got=f"{line[:80].strip()} ({error})",
                    allowed="one JSON object or string a line",
                    fix="mend that line",
                ) from None
            yield where, value
        line = stream.readline(LINE)


def _table(file: Path, stream: TextIO, most: int | None) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(LINE)  # by default a field may have 131,072 characters
    head = stream.readline(LINE)
    separator = max(",;\t", key=head.count)
    names = next(csv.reader([head], delimiter=separator), [])
    taken = 0
    for number, fields in enumerate(csv.reader(stream, delimiter=separator), 1):
        if most is not None and taken > most:
            return
        taken += sum(map(len, fields))
        if any(fields):
            yield f"{file}, row {number}", dict(zip([name.strip() for name in names], fields))
