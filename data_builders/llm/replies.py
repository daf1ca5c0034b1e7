"""Forms of reply as servers and models send them: which part is the answer, which is the model's own reasoning.

A server may give the reasoning in a field of its own, as a part of a list, or in front of the answer in marks that
depend on the model: `<think>`, `[THINK]` (Magistral), channels (gpt-oss), a closing mark alone where the chat template
opened the block. All of it is read from what the store keeps, so a better reader reads an old reply again.
"""

import html
import json
import re
from dataclasses import dataclass
from typing import Any

from recipes.base.jsonl import encode_json

NAMES = "think|thinking|thoughts?|reasoning|seed:think"
TOOL_CALL, NO_CHOICES = "tool call", "no choices"  # words for `finish` beside those of servers
CUT = ("length", "max_tokens", "max_output_tokens", "model_length")
FILTERED = ("content_filter", "safety", "recitation", "blocklist", "prohibited_content")
OPEN = re.compile(
    rf"<\s*(?:{NAMES})\s*>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>|<\|inner_prefix\|>", re.I
)
CLOSE = re.compile(
    rf"<\s*/\s*(?:{NAMES})\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>|<\|inner_suffix\|>", re.I
)
AROUND = re.compile(r"<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>")
TAG = re.compile(r"<\s*(/?)\s*(think|answer|clean)\s*>", re.I)
ESCAPED = re.compile(rf"&lt;(\s*/?\s*(?:{NAMES}|answer|clean)\s*)&gt;", re.I)
INVISIBLE = re.compile("[\ufeff\u200b\u2060]")  # byte-order mark, zero-width space, word joiner
CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)(?:(?!<\|message\|>).)*<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.S,
)
BARE_CHANNELS = re.compile(r"\s*analysis(.*?)assistantfinal(.*)", re.S)  # without the special tokens
FENCED_TAGS = re.compile(r"\s*```\w*[ \t]*\n(.*</\w+>)\s*```\s*", re.S)
BLOCKS = 20  # of reasoning that are looked for in one reply
SHOWN_KEYS = ("content", "role")  # keys of a message that the columns of the store hold whole


@dataclass(frozen=True)
class Reply:
    """What a model says: `text` is the answer, `thinking` the last piece of its reasoning; either may be empty."""

    text: str
    thinking: str = ""


@dataclass(frozen=True)
class Message:
    """The first choice of a chat completion. `finish` is the server's word in small letters, made uniform for replies
    that were cut ("length") and filtered ("content_filter"), else "refusal", TOOL_CALL (content holds the arguments) or
    NO_CHOICES. `plain`: the content and the word are all that it holds.
    """

    content: str
    thinking: str
    finish: str
    plain: bool


def read_message(body: dict[str, Any]) -> Message:
    """The `Message` of a decoded chat completion, whatever form its content has; what is unknown is left out."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if choice is None:
        return Message("", "", NO_CHOICES, False)
    message = choice.get("message")
    message = message if isinstance(message, dict) else {"content": choice.get("text")}
    content, thinking, refused = _read_content(message.get("content"))
    for key in ("reasoning_content", "reasoning", "thinking"):
        thinking = thinking or _read_content(message.get(key))[0]
    word = choice.get("finish_reason")
    finish = word.lower() if isinstance(word, str) and word else "stop"
    if finish in CUT:
        finish = "length"
    elif finish in FILTERED:
        finish = "content_filter"
    elif message.get("refusal") or refused:
        finish = "refusal"
    elif not content.strip() and (arguments := _read_call(message)) is not None:
        content, finish = arguments, TOOL_CALL
    others = any(value for key, value in message.items() if key not in SHOWN_KEYS)
    plain = isinstance(message.get("content"), str) and not others
    return Message(content, thinking, finish, plain)


def keep_body(body: dict[str, Any]) -> str:
    """What the store keeps of a completion that is not plain: its first choice without token scores, as JSON."""
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        first = {key: value for key, value in choices[0].items() if key not in ("logprobs", "token_ids")}
        return encode_json({"choices": [first]})
    return encode_json(body)


def _read_content(content: Any) -> tuple[str, str, bool]:
    """(text, reasoning, whether it holds a refusal) of a content: a text, null, an object, or a list of parts."""
    if isinstance(content, str):
        return content, "", False
    if isinstance(content, dict):
        if "type" not in content:
            return json.dumps(content, ensure_ascii=False), "", False  # an answer that was decoded on the way
        content = [content]
    if not isinstance(content, list):
        return "", "", False
    texts: list[str] = []
    thoughts: list[str] = []
    refused = False
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            continue
        kind = str(part.get("type", "text")).lower()
        held = next((part[key] for key in ("text", "content", "thinking", "reasoning", "summary") if part.get(key)), "")
        text, thought, inner = _read_content(held.get("value") if isinstance(held, dict) else held)
        refused |= inner or kind == "refusal"
        if re.search("think|reason|summary", kind):
            thoughts.append(text + thought)
        elif "text" in kind:
            texts.append(text)
            thoughts.append(thought)
    return "".join(texts), "\n".join(filter(None, thoughts)), refused


def _read_call(message: dict[str, Any]) -> str | None:
    """The arguments of the first tool call as text, or None where there is no call."""
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls else message.get("function_call")
    if not isinstance(call, dict):
        return None
    function = call.get("function", call)
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return arguments if isinstance(arguments, str) else encode_json(arguments or {})


def clean_text(text: str) -> str:
    """A reply without invisible characters, and with its tags as `<name>`, be they escaped, spaced or in capitals."""
    text = INVISIBLE.sub("", text)
    if ESCAPED.search(text):
        text = html.unescape(text) if "<" not in text else ESCAPED.sub(r"<\1>", text)
    return TAG.sub(lambda match: f"<{match[1]}{match[2].lower()}>", text)


def split_reply(text: str, thinking: str = "") -> Reply:
    """The answer of a reply and the reasoning before it; `thinking` is what the server gave apart.

    Of several blocks of reasoning the last that is not empty counts: a model that reasons by itself and was asked for a
    think block writes both. A block that is never closed leaves no answer.
    """
    text = clean_text(text)
    thoughts = [thinking]
    if channels := CHANNEL.findall(text):
        thoughts += [said for name, said in channels if name != "final"]
        text = next((said for name, said in reversed(channels) if name == "final"), "")
    elif bare := BARE_CHANNELS.fullmatch(text):
        thoughts.append(bare[1])
        text = bare[2]
    text, start = _without_fence(text), 0
    opened = OPEN.search(text)
    for _ in range(BLOCKS):
        opened = OPEN.search(text, start) if opened is not None and opened.start() < start else opened
        closed = CLOSE.search(text, start)
        if opened is not None and not text[start : opened.start()].strip():
            closed = CLOSE.search(text, opened.end())
            if closed is None:
                thoughts.append(text[opened.end() :])
                start = len(text)
        if closed is None:
            break
        begins = opened.end() if opened is not None and opened.end() <= closed.start() else start
        thoughts.append(text[begins : closed.start()])
        start = closed.end()
    text = text[start:]
    text = _without_fence(AROUND.sub("", text))
    found = [thought for thought in (OPEN.sub("", thought).strip() for thought in thoughts) if thought]
    return Reply(text.strip(), found[-1] if found else "")


def _without_fence(text: str) -> str:
    """A reply in tags without the code fence around it."""
    fenced = FENCED_TAGS.fullmatch(text)
    return fenced[1] if fenced else text
