"""Damaged text restored by a model, or by rules: chunk by chunk, in order.

    documents, spent = repaired(table, [(id, text), …], replies, bar, say)

`table` is a `Repair`. A text is cut into chunks at the best ends there are (paragraph, line, sentence, word); each
chunk is a question of its own. A reply that is truncated, refused, empty or of another form, that lost a passage or
grew, or changed a number, a unit or a negation (see `meaning`), is asked for again, and then the raw chunk stays. Other
words may be changed to false ones within a passage, and nobody sees it. What came of each chunk is told in its
`status`. Chunks are joined by their number, whatever order replies come in. (arXiv 2408.15545 joined them as they came;
see section 5 of its recipe's sheet.)
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from data_builders.core.leaks import squeezed
from data_builders.llm.bill import bill
from data_builders.llm.chat import Chat, Unusable
from data_builders.llm.prompts import prompt, quote_text
from data_builders.llm.survey import survey
from data_builders.llm.table import Teacher
from data_builders.sources.meaning import find_change

PROMPT = Path(__file__).parent / "prompts" / "repair.md"
WINDOW, GRAM = 200, 8  # letters of a passage that is looked for in the reply, by runs of so many letters
# Share of a passage's runs that the reply has to hold. By benchmarks/repair_check.py (the shipped textbook, seed 0) 1
# of 216 passages of another chapter is found, and 229 of 233 where 6 % of the letters were replaced; the rest stay raw.
FOUND = 0.4
GROWN = 1.25, 50  # times the letters, and letters more, that a reply may have
CLEAN = re.compile(r"\s*<clean>(.*?)</clean>\s*", re.S)
PIECE = re.compile(r"\S+\s*")
LINE_END = re.compile(r"(?<=[a-z,])[ \t]*\n[ \t]*(?=[a-z(])")
# A line end that a reader has made a space; "two- and threefold" is no cut word.
CUT_WORD = re.compile(r"([a-z])- +(?!(?:and|or|to|nor)\b)([a-z])")
PAGE_NUMBER = re.compile(r"^[ \t]*\d{1,4}[ \t]*(?:\n|\Z)", re.M)


class Repair(Teacher):
    """The `[data.repair]` table: who restores the text of the corpus (expert: rules), and in pieces of which length."""

    where: ClassVar = "data.repair"

    words: int = Field(default=1024, ge=50, description="most words of a text that are sent at once")


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: `raw`, and `text` after the repair, without the white space `gap` that follows it.

    `status` is ok, raw_fallback or truncated; in the last two `text` is raw and `reason` says what was wrong.
    """

    id: str
    doc_id: str
    raw: str
    gap: str
    text: str = ""
    status: Literal["ok", "raw_fallback", "truncated"] = "ok"
    reason: str = ""
    asked: str = ""

    def row(self) -> dict[str, str]:
        """As it stands in a JSONL file of repairs."""
        return {name: getattr(self, name) for name in ("id", "doc_id", "status", "reason", "asked", "raw", "text")}


@dataclass(frozen=True)
class Repaired:
    """A document after the repair; its text is that of its chunks, joined as they were."""

    id: str
    chunks: tuple[Chunk, ...]

    @property
    def text(self) -> str:
        return "".join(chunk.text + chunk.gap for chunk in self.chunks)

    def entries(self, most: int = 2048) -> list[dict[str, Any]]:
        """The text cut again: rows {"id", "doc_id", "text", "chunk_ids"} of at most so many words."""
        found, start = [], 0
        spans, end = [], 0
        for chunk in self.chunks:
            spans.append((chunk.id, end, end + len(chunk.text)))
            end += len(chunk.text) + len(chunk.gap)
        for number, (body, gap) in enumerate(cut(self.text, most)):
            stop = start + len(body)
            inside = [id for id, first, last in spans if first < stop and start < last]
            found.append({"id": f"{self.id}/{number}", "doc_id": self.id, "text": body, "chunk_ids": inside})
            start = stop + len(gap)
        return found


def cut(text: str, most: int) -> list[tuple[str, str]]:
    """[(body, white space after it)] of at most `most` words each, which joined give the text from its first word on.

    Cut is in the second half of what may be taken, at the last end of the best kind: empty line, line, sentence, word.
    """
    pieces, found, start = PIECE.findall(text), [], 0
    while start < len(pieces):
        stop = start + most
        if stop < len(pieces):
            stop = max(range(start + most // 2 + 1, stop + 1), key=lambda end: (end_kind(pieces[end - 1]), end))
        whole = "".join(pieces[start:stop])
        body = whole.rstrip()
        found.append((body, whole[len(body) :]))
        start = stop
    return found


def end_kind(piece: str) -> int:
    """3 for a word before an empty line, 2 before a new line, 1 at the end of a sentence, else 0."""
    word = piece.rstrip()
    return min(2, piece.count("\n")) + 1 if "\n" in piece else int(word.endswith((".", "!", "?")))


def chunks_of(id: str, text: str, words: int) -> list[Chunk]:
    """The chunks of a document, nothing repaired yet."""
    return [Chunk(f"{id}:{number}", id, body, gap, body) for number, (body, gap) in enumerate(cut(text, words))]


def repaired(table, documents, path, bar, say):
    """([Repaired] in the order of the documents, {"replies", "cost", …} of a model or {}).

    `documents` are (id, text); `path` is the file of stored replies. Raises RecipeError where the endpoint or the
    budget ends the run.
    """
    groups = [chunks_of(id, text, table.words) for id, text in documents]
    chunks, spent = [chunk for group in groups for chunk in group], {}
    if table.kind == "expert":
        done = [_checked(chunk, by_rule(chunk.raw)) for chunk in chunks]
    else:
        done, spent = survey(table, path, chunks, _repair, bar, say, "repair", "chunks")
    result = iter(done)
    return [Repaired(id, tuple(next(result) for _ in group)) for (id, _), group in zip(documents, groups)], spent


def statuses(documents: Iterable[Repaired]) -> dict[str, Any]:
    """{"ok": n, "raw_fallback": n, "truncated": n, "reasons": {reason: n}} over the chunks of `Repaired` documents."""
    chunks, reasons = [chunk for document in documents for chunk in document.chunks], {}
    for chunk in chunks:
        if chunk.reason:
            reasons[chunk.reason] = reasons.get(chunk.reason, 0) + 1
    counts = {status: sum(chunk.status == status for chunk in chunks) for status in ("ok", "raw_fallback", "truncated")}
    return counts | {"reasons": dict(sorted(reasons.items()))}


def repair_bill(table, texts, lengths):
    """The bill of repairing the texts. A reply is taken to be as long as its chunk, where `lengths` knows no better."""
    if table.kind == "expert":
        return bill(table, 0, 0, 0)
    chats = [repair_chat(chunk, "") for text in texts for chunk in chunks_of("", text, table.words)]
    empty = repair_chat(Chunk("", "", "", ""), "").size
    sent = sum(chat.size for chat in chats)
    written = sum(lengths.of("repair", table.model, chat.size - empty) for chat in chats)
    return bill(table, len(chats), sent, written)


def repair_chat(chunk: Chunk, model: str) -> Chat:
    """The question to a model about one chunk."""
    source = prompt(PROMPT)
    most = 200 + 4 * len(chunk.raw.split())  # tokens, well above what words have, so that only a runaway is cut
    return Chat(
        "repair",
        model,
        source.fill("system"),
        source.fill("user", document=chunk.raw),
        None,
        temperature=0.0,
        max_tokens=most,
        prompt_version=source.id,
        read=partial(_read, chunk.raw),
        formed=True,
    )


async def _repair(asker, chunk):
    if quote_text(chunk.raw) != chunk.raw or "<clean" in chunk.raw or "</clean" in chunk.raw:
        return _raw(chunk, "repair: holds tags of the prompt, not asked")
    answer = await asker.ask(repair_chat(chunk, asker.model))
    if answer.dropped:
        return _raw(chunk, answer.dropped, answer.key)
    return Chunk(chunk.id, chunk.doc_id, chunk.raw, chunk.gap, answer.value, asked=answer.key)


def _read(raw: str, reply: str) -> str:
    """The text between the tags of a reply. Raises Unusable where it is not the whole of `raw`, restored."""
    found = CLEAN.fullmatch(reply)
    if found is None and "<clean>" in reply and "</clean>" not in reply:
        raise Unusable("truncated", "it stops before </clean>; copy the passage to its end.")
    if found is None or "<clean>" in found[1]:
        raise Unusable("wrong form", "it is not the passage between <clean> and </clean> and nothing else.")
    if fault := difference(raw, found[1]):
        raise Unusable(fault, f"{fault}: it has to be the whole passage, and nothing but the passage.")
    return found[1].strip()


def difference(raw: str, text: str) -> str | None:
    """What is wrong with `text` as restored `raw`: "truncated", "passage lost", "grown", what `changed` says, or None.

    Of a raw text each WINDOW of letters and digits has to be found again by its runs of GRAM; what is missing up to the
    end is a truncation. Numbers and negations are compared without page numbers on a line of their own. By
    benchmarks/repair_check.py (seed 0, 1 % of the letters and digits replaced) this refuses 2 of 96 pieces of 150 words
    that were restored well, and 4 of 15 of 1,024 words: a longer chunk holds more numbers that may be damaged.
    """
    old, new = squeezed(raw), squeezed(text)
    if len(new) > GROWN[0] * len(old) + GROWN[1]:
        return "grown"
    known = {new[at : at + GRAM] for at in range(max(1, len(new) - GRAM + 1))}
    starts = range(0, max(1, len(old) - WINDOW // 2), WINDOW)  # a short rest belongs to the last window
    windows = [old[at : at + WINDOW] if at != starts[-1] else old[at:] for at in starts]
    lost = [share_of(window, known) < FOUND for window in windows]
    if not any(lost):
        return find_change(by_rule(raw), by_rule(text))
    first = lost.index(True)
    return "truncated" if first and all(lost[first:]) else "passage lost"


def share_of(window: str, known: set[str]) -> float:
    runs = [window[at : at + GRAM] for at in range(max(1, len(window) - GRAM + 1))]
    return sum(run in known for run in runs) / len(runs)


def _raw(chunk: Chunk, reason: str, asked: str = "") -> Chunk:
    status = "truncated" if "truncated" in reason else "raw_fallback"
    return Chunk(chunk.id, chunk.doc_id, chunk.raw, chunk.gap, chunk.raw, status, reason, asked)


def _checked(chunk: Chunk, text: str) -> Chunk:
    fault = difference(chunk.raw, text)
    return _raw(chunk, f"rules: {fault}") if fault else Chunk(chunk.id, chunk.doc_id, chunk.raw, chunk.gap, text)


def by_rule(text: str) -> str:
    """The text without hyphens and breaks at line ends, page numbers on a line of their own, and runs of spaces.

    Ligatures become letters. Letters mistaken for one another stay: rules cannot tell.
    """
    text = PAGE_NUMBER.sub("", text)
    text = re.sub(r"([a-z])-[ \t]*\n[ \t]*([a-z])", r"\1\2", text)
    text = CUT_WORD.sub(r"\1\2", text)
    text = LINE_END.sub(" ", text)
    text = re.sub(r"[ \t]{2,}", " ", text)
    return re.sub("[ﬀ-ﬆ]", lambda match: match[0].casefold(), text).strip()
