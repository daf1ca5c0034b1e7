"""Forms in which servers and models send one and the same reply, each as a function from its text to a completion.

`TAKEN` hold the answer, `LOST` do not: for these the kind that is counted stands beside them, for a reply in JSON and
for one in tags. Every form was met at a server or in a model's output: the text says which.
"""

import html
import json
import re

THOUGHT = 'The user wants {"text": "a draft"}. I give it in <answer>…</answer> tags at the end.'
USAGE = {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70}


def completion(content, finish="stop", usage=USAGE, **message):
    """A chat completion with one choice."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"choices": [choice]} | ({"usage": usage} if usage else {})


def is_json(text):
    return text.startswith("{")


def _fenced(text):
    """Any chat model that was not held to a schema."""
    return completion(f"```{'json' if is_json(text) else 'xml'}\n{text}\n```")


def _in_prose(text):
    """The same; tags are asked for alone, so those stay as they are."""
    return completion(f"Sure! Here it is:\n\n{text}\n\nAnything else {{x}}?" if is_json(text) else text)


def _trailing_comma(text):
    """Small models."""
    return completion(f"{text[:-1]},}}" if is_json(text) else text)


def _other_case(text):
    """Small models, and those that were tuned on XML."""
    return completion(re.sub(r"<(/?)(\w+)>", lambda tag: f"< {tag[1]}{tag[2].capitalize()} >", text))


def _escaped(text):
    """Proxies that show replies on a web page."""
    return completion(html.escape(text, quote=is_json(text)))


def _invisible(text):
    """A byte-order mark in front, a zero-width space behind the first sign."""
    return completion(f"\ufeff{text[:1]}\u200b{text[1:]}\u200b\n")


def _tool_call(text):
    """Servers that make a schema a tool; a reply without a schema is no tool call."""
    if not is_json(text):
        return completion(text)
    call = {"id": "c1", "type": "function", "function": {"name": "reply", "arguments": text}}
    return completion(None, "tool_calls", tool_calls=[call])


def _decoded(text):
    """Proxies that decode a reply in JSON."""
    return completion(json.loads(text) if is_json(text) else text)


def _legacy(text):
    """Servers of the older completions interface."""
    return {"choices": [{"index": 0, "text": text, "finish_reason": "stop"}], "usage": USAGE}


def _list(*parts):
    return completion([dict(part) for part in parts])


def _text(text):
    return {"type": "text", "text": text}


TAKEN = {
    "plain": completion,
    "think block": lambda text: completion(f"<think>\n{THOUGHT}\n</think>\n\n{text}"),
    "closing tag alone": lambda text: completion(f"{THOUGHT}\n</think>\n\n{text}"),
    "thinking block": lambda text: completion(f"<thinking>{THOUGHT}</thinking>\n{text}"),
    "reasoning block": lambda text: completion(f"<reasoning>{THOUGHT}</reasoning>\n{text}"),
    "block in capitals": lambda text: completion(f"< THINK >{THOUGHT}</ Think >\n{text}"),
    "gpt-oss channels": lambda text: completion(
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final <|constrain|>json"
        f"<|message|>{text}<|return|>"
    ),
    "gpt-oss without special tokens": lambda text: completion(f"analysis{THOUGHT}assistantfinal{text}"),
    "magistral marks": lambda text: completion(f"[THINK]{THOUGHT}[/THINK]{text}"),
    "kimi marks": lambda text: completion(f"◁think▷{THOUGHT}◁/think▷{text}"),
    "thought and solution": lambda text: completion(
        f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>\n<|begin_of_solution|>{text}<|end_of_solution|>"
    ),
    "reasoning_content": lambda text: completion(text, reasoning_content=THOUGHT),
    "reasoning": lambda text: completion(text, reasoning=THOUGHT, reasoning_details=[{"type": "reasoning.text"}]),
    "reasoning_content alone": lambda text: completion("", reasoning_content=text),
    "reasoning alone, content null": lambda text: completion(None, reasoning=text),
    "block never closed": lambda text: completion(f"<think>\n{text}"),
    "text parts": lambda text: _list(_text(text[:9]), _text(text[9:])),
    "reasoning part and text part": lambda text: _list(
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHT}]},
        {"type": "output_text", "text": text, "annotations": []},
    ),
    "thinking part of a list": lambda text: _list({"type": "thinking", "thinking": [_text(THOUGHT)]}, _text(text)),
    "thinking part of a text": lambda text: _list({"type": "thinking", "thinking": THOUGHT}, _text(text)),
    "fenced": _fenced,
    "inside prose": _in_prose,
    "trailing comma": _trailing_comma,
    "tags in other case": _other_case,
    "escaped": _escaped,
    "invisible characters": _invisible,
    "tool call": _tool_call,
    "decoded": _decoded,
    "legacy": _legacy,
    "no usage": lambda text: completion(text, usage=None),
    "no finish reason": lambda text: completion(text, None, usage={"prompt_tokens": None}),
}
LOST = {
    "cut": (lambda text: completion(text[: len(text) // 2], "length"), "truncated", "truncated"),
    "cut while reasoning": (
        lambda text: completion(None, "max_tokens", reasoning_content=THOUGHT),
        "truncated",
        "truncated",
    ),
    "filtered": (lambda text: completion(text[:9], "content_filter"), "refused", "refused"),
    "refusal field": (lambda text: completion(None, refusal="I cannot help with that."), "refused", "refused"),
    "refusal part": (lambda text: _list({"type": "refusal", "refusal": "I cannot."}), "refused", "refused"),
    "no choices": (lambda text: {"choices": [], "usage": USAGE}, "no choices", "no choices"),
    "empty": (lambda text: completion(""), "empty", "empty"),
    "null": (lambda text: completion(None), "empty", "empty"),
    "reasoning and no answer": (
        lambda text: completion("", reasoning_content="I think."),
        "reasoning only",
        "reasoning only",
    ),
    "block and no answer": (lambda text: completion("<think>I think.</think>"), "reasoning only", "reasoning only"),
    "call of another tool": (
        lambda text: completion(None, "tool_calls", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
        "wrong schema",
        "tool call",
    ),
    "prose": (lambda text: completion("I would rather talk about it."), "invalid JSON", "wrong form"),
}
FORMS = TAKEN | {name: form for name, (form, _, _) in LOST.items()}
