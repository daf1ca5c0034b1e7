"""One question to a chat model and what its reply has to be: messages, digest, reading. No network in here.

The digest of a question is what makes it the same question: model, messages, schema, sampling and prompt version. Where
a model is reached is no part of it, so a reply that was paid for once serves every recipe.
"""

import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from data_builders.llm.replies import INVISIBLE, NO_CHOICES, TOOL_CALL, Reply, split_reply
from recipes.base.jsonl import encode_json
from recipes.base.reply_form import TAGS

CHARACTERS = 4.2  # per token of English prose, where nobody counts
SHOWN = 2000  # characters of an unusable reply that are shown to the model again
OBJECTS = 10  # places in a reply where a JSON object may begin that are tried
FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.S)
STRING_OR_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(\s*[}\]])', re.S)
# LaTeX commands whose first letter makes a JSON escape of their backslash, by that letter. Not among them are ne, ni
# and to: a new line or a tab may as well come before an "e", "i" or "o". WORDS are as doubtful, but too common.
COMMANDS = {
    "n": "abla|atural|earrow|eg|eq|ewline|exists|mid|onumber|orm|ot|otag|otin|warrow",
    "r": "angle|brace|ceil|floor|ho|ight|ightarrow|ightharpoonup|m|oot",
    "t": "ag|anh|au|ext|extbf|extit|extrm|exttt|frac|herefore|heta|hickapprox|ilde|imes|op|riangle",
}
WORDS = "nu|tan"
NAMES = "|".join([WORDS, *(f"{letter}(?:{rest})" for letter, rest in COMMANDS.items())])
COMMAND = rf"(?:{NAMES})(?![A-Za-z])|[bf](?=[A-Za-z])"  # nobody writes a backspace or a form feed
ESCAPE = re.compile(rf'\\({COMMAND})|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{{4}})|\\')
DOUBLED = re.compile(r"\\\\[A-Za-z]")  # a command as JSON has to write it
BROKEN = re.compile(
    r"[\x08\f]|(?:" + "|".join(rf"\{letter}(?:{rest})" for letter, rest in COMMANDS.items()) + r")(?![A-Za-z])"
)
STRING_OR_BRACE = re.compile(r'"(?:\\.|[^"\\])*"|[{}]', re.S)


@dataclass(frozen=True)
class Raw:
    """A reply as it came. `finish` is the server's word (stop, length, content_filter, …; see `replies.Message`), or
    "too large" where it was cut at the limit of bytes; `tokens_in` and `tokens_out` are the server's count, else a
    guess from the characters. `thinking` is reasoning that the server gave apart, and `body` the JSON that both were
    read from, where that holds more than the content.
    """

    content: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    thinking: str = ""
    body: str = ""


class Unusable(ValueError):
    """Why a reply cannot be used: `kind` is counted, the text is what the model is told."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Chat:
    """A question. `agent` names who asks, for counts and bill; `draw` sets apart questions that are equal otherwise.

    `earlier` holds (user turn, reply) pairs that come before it, for a question that goes on from a reply; with an
    empty `system` there is no system turn. The reply is a JSON object that fits `schema`, or with no schema what `read`
    makes of the text behind the model's reasoning (`read` raises Unusable); with `thinks` it reads the reasoning too,
    as one think block in front. `formed`: `read` asks for a form in tags or lines, which is also looked for where a
    server took the whole reply for reasoning. `mended` holds the unusable replies of this question so far, each with
    what was wrong. `reasoning_tokens` are granted beyond `max_tokens`; they make no other question.
    """

    agent: str
    model: str
    system: str
    user: str
    schema: type[BaseModel] | None
    temperature: float
    max_tokens: int
    prompt_version: str
    draw: int = 0
    read: Callable[[str], Any] = str
    mended: tuple[tuple[str, str], ...] = ()
    top_p: float = 1.0
    earlier: tuple[tuple[str, str], ...] = ()
    thinks: bool = False
    formed: bool = False
    reasoning_tokens: int = 0

    @property
    def limit(self) -> int:
        """Tokens that a reply may have, reasoning included."""
        return self.max_tokens + self.reasoning_tokens

    @cached_property
    def messages(self) -> list[dict[str, str]]:
        """The turns, as every chat endpoint takes them."""
        turns = [{"role": "system", "content": self.system}] if self.system else []
        for user, reply in self.earlier:
            turns += [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]
        turns.append({"role": "user", "content": self.user})
        for reply, problem in self.mended:
            turns += [
                {"role": "assistant", "content": reply or "(empty)"},
                {"role": "user", "content": f"That reply cannot be used: {problem} Give the whole reply again."},
            ]
        return turns

    @cached_property
    def size(self) -> int:
        """Tokens of the question, guessed."""
        return guess(sum(len(turn["content"]) for turn in self.messages))

    @cached_property
    def json_schema(self) -> dict[str, Any] | None:
        return schema_of(self.schema) if self.schema else None

    @cached_property
    def key(self) -> str:
        """SHA-256 of the question, the key of its reply in the store."""
        asked = [self.model, self.messages, self.json_schema, self.temperature, self.max_tokens, self.draw]
        asked += [self.prompt_version] if self.top_p == 1.0 else [self.prompt_version, self.top_p]
        return hashlib.sha256(encode_json(asked).encode()).hexdigest()

    def mend(self, raw: Raw, problem: Unusable) -> "Chat":
        """The same question asked again, with what was wrong about the reply."""
        return replace(self, mended=(*self.mended, (raw.content[:SHOWN], str(problem))))

    def value(self, raw: Raw) -> Any:
        """What the reply says. Raises Unusable."""
        if raw.finish == "too large":
            raise Unusable("too large", "it was far too long.")
        if raw.finish == "length":
            raise Unusable("truncated", f"it was cut off at {self.limit} tokens; be shorter.")
        if raw.finish in ("content_filter", "refusal"):
            raise Unusable("refused", "it was a refusal.")
        if raw.finish == NO_CHOICES:
            raise Unusable(NO_CHOICES, "it was empty.")
        if raw.finish == TOOL_CALL and self.schema is None:
            raise Unusable(TOOL_CALL, "it called a tool; there are none.")
        reply = split_reply(raw.content, raw.thinking)
        if not reply.text and not reply.thinking:
            raise Unusable("empty", "it was empty.")
        if reply.text:
            return (
                self._fitting(self.schema, raw.content) if self.schema else self.read(self._shown(reply, raw.content))
            )
        try:
            if self.schema:
                return self._fitting(self.schema, reply.thinking, last=True)
            if self.formed:
                return self.read(self._shown(split_reply(reply.thinking), reply.thinking))
        except Unusable:
            pass
        raise Unusable("reasoning only", "nothing follows the reasoning.")

    def _shown(self, reply: Reply, text: str) -> str:
        """The text that `read` is given. One in the form that was asked for stays as it came, apart from a tag that the
        model's chat template holds: later questions quote it, and those are known by every letter.
        """
        if not self.thinks or not reply.thinking:
            return reply.text
        asked, text = f"{reply.thinking.join(TAGS.thinking)}\n{reply.text}", text.strip()
        same = (
            whole for whole in (text, f"{TAGS.thinking[0]}{text}") if "".join(whole.split()) == "".join(asked.split())
        )
        return next(same, asked)

    def _fitting(self, schema: type[BaseModel], text: str, last: bool = False) -> BaseModel:
        """The first JSON object of the text that fits the schema, or the `last` one. Raises Unusable."""
        problem = None
        for one in reversed(list(json_objects(text))) if last else json_objects(text):
            try:
                return schema.model_validate(one)
            except ValidationError as error:
                problem = problem or error
        if problem is None:
            raise Unusable("invalid JSON", "it is not one JSON object.")
        faults = [".".join(map(str, item["loc"])) + ": " + item["msg"] for item in problem.errors()[:4]]
        raise Unusable("wrong schema", "it breaks the schema: " + "; ".join(faults) + ".") from None


def guess(characters: float) -> int:
    """Tokens of so many characters."""
    return round(characters / CHARACTERS)


@cache
def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a pydantic class; not to be changed."""
    return model.model_json_schema()


def json_object(text: str) -> dict[str, Any]:
    """The first JSON object of a reply, see `json_objects`. Raises Unusable where there is none."""
    for found in json_objects(text):
        return found
    raise Unusable("invalid JSON", "it is not one JSON object.")


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a reply: the whole text, in a code fence, or within prose.

    Forgiven are text before and after, trailing commas, raw line breaks in strings and the single backslashes of LaTeX:
    those that escape nothing, and in a reply that doubles none those before a whole name of NAMES. So a line that
    begins with the lone letter u is read as \\nu there. Reasoning before the answer is not searched; escapes of HTML
    are undone last. Raises Unusable for an object with broken escapes.
    """
    whole = INVISIBLE.sub("", text).strip()
    said = split_reply(text).text
    unescaped = html.unescape(said) if "&quot;" in said or "&#34;" in said else ""
    seen: list[dict[str, Any]] = []
    for part in (
        whole,
        *([said] if said != whole else []),
        *FENCE.findall(said),
        *_objects(said),
        unescaped,
        *_objects(unescaped),
    ):
        try:
            found = json.loads(_without_slips(part), strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if not isinstance(found, dict) or found in seen:
            continue
        if any(BROKEN.search(string) for string in _strings(found)):
            raise Unusable("broken escapes", "a backslash in it is single; JSON has to double that of \\\\tau.")
        seen.append(found)
        yield found


def _without_slips(text):
    text = STRING_OR_COMMA.sub(lambda match: match[1] or match[2], text)
    doubled = DOUBLED.search(text)

    def escaped(match):
        command = match[1] and (match[1] in "bf" or not doubled)
        return "\\" + match[0] if command or match[0] == "\\" else match[0]

    return ESCAPE.sub(escaped, text)


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _objects(text):
    """The balanced {...} pieces that begin at the first few braces."""
    start = -1
    for _ in range(OBJECTS):
        start = text.find("{", start + 1)
        if start < 0:
            return
        depth = 0
        for match in STRING_OR_BRACE.finditer(text, start):
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if depth == 0:
                yield text[start : match.end()]
                break


@dataclass(frozen=True)
class Answer:
    """What came of a question: its `value`, or None with the reason `dropped`.

    `key` is its key in the store; replies to it that were asked for again are stored with that key as their root.
    """

    key: str
    value: Any = None
    dropped: str | None = None
