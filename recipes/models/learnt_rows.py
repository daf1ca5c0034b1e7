"""Rows as a trainer of given text gets them: tokens with a mask of what is learnt, or turns where images stand by."""

from typing import Any

from recipes.base.errors import RecipeError
from recipes.base.reply_form import split_thinking
from recipes.config.schema import WORLD
from recipes.models import vision
from recipes.models.chat_form import ChatForm, chat_form_of, encode_replies

Rows = list[dict[str, Any]]


def make_examples(reader: Any, rows: Rows) -> tuple[Rows, list[int]]:
    """(what a trainer gets of each row, tokens of each row): of texts "input_ids" and "completion_mask", which is 1
    where a token is learnt: the reply and its one end token. Of rows with images their turns, which the trainer's
    collator renders.

    Raises:
        RecipeError: images stand beside a template whose replies rendering alone does not give.
    """
    kinds = [{"sample_type": int(row.get("kind") == WORLD)} for row in rows]
    if vision.shown(rows):
        form = chat_form_of(reader)
        lengths = vision.lengths_of(reader, rows)
        turns = [{"prompt": row["prompt"], "completion": write_turns(row["completion"], form)} for row in rows]
        both = [turn | kind for turn, kind in zip(turns, kinds, strict=True)]
        return vision.with_images(both, rows, lengths), lengths
    encoded = encode_rows(reader, rows)
    examples = [
        {"input_ids": asked + reply, "completion_mask": [0] * len(asked) + [1] * len(reply)} | kind
        for (asked, reply), kind in zip(encoded, kinds, strict=True)
    ]
    return examples, [len(asked) + len(reply) for asked, reply in encoded]


def encode_rows(reader: Any, rows: Rows) -> list[tuple[list[int], list[int]]]:
    """(tokens of the prompt, tokens of the reply with its end token) of rows with a completion."""
    pairs = [(row["prompt"] + row["completion"][:-1], row["completion"][-1]["content"]) for row in rows]
    return encode_replies(reader, pairs)


def write_turns(completion: Rows, form: ChatForm) -> Rows:
    """The turns of a reply, its chain of thought in the field that the template reads."""
    if not form.channel:
        return completion
    if any("leaves out" in text for text in form.mended):
        raise RecipeError(
            f"the chat template {form.template} leaves the chain of thought out of replies, and rows have images",
            where="model.chat_template",
            got="turns that the trainer renders itself, images and all",
            allowed="a template that writes chains of thought",
            fix="set model.chat_template to another, or choose a view of the data that is text",
        )
    thinking, rest = split_thinking(completion[-1]["content"])
    turn = {"role": "assistant", "content": rest, "reasoning_content": thinking or ""}
    return [*completion[:-1], turn]
