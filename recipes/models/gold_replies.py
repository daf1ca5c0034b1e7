"""Batches of gold replies, for what is measured inside a model on given text."""

from typing import Any

import torch
from transformers import ProcessorMixin

from recipes.models import vision
from recipes.models.chat_form import encode_replies

ROWS = 128  # of each kind of text, evenly spread over the file
BATCH = 16


def spread_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most ROWS of them, at even distances."""
    step = max(1, len(rows) / ROWS)
    return [rows[int(number * step)] for number in range(min(ROWS, len(rows)))]


def batches_of(reader: Any, rows: list[dict[str, Any]], device: Any) -> list[dict[str, Any]]:
    """Batches of like length, padded right: input_ids, attention_mask, and labels that hold the reply's tokens; with
    what a processor makes of images."""
    if isinstance(reader, ProcessorMixin):
        return vision.batches_of(reader, rows, device, BATCH)
    encoded = encode_replies(reader, [(row["prompt"], row["reply"]) for row in rows])
    examples = [(asked + reply, len(asked)) for asked, reply in encoded]
    examples.sort(key=lambda example: len(example[0]))
    return [
        {name: tensor.to(device) for name, tensor in pad_right(examples[n : n + BATCH], reader.pad_token_id).items()}
        for n in range(0, len(examples), BATCH)
    ]


def pad_right(examples: list[tuple[list[int], int]], pad: int) -> dict[str, torch.Tensor]:
    longest = max(len(ids) for ids, _ in examples)
    fill = [longest - len(ids) for ids, _ in examples]
    return {
        "input_ids": torch.tensor([ids + [pad] * gap for (ids, _), gap in zip(examples, fill, strict=True)]),
        "attention_mask": torch.tensor(
            [[1] * len(ids) + [0] * gap for (ids, _), gap in zip(examples, fill, strict=True)]
        ),
        "labels": torch.tensor(
            [[-100] * start + ids[start:] + [-100] * gap for (ids, start), gap in zip(examples, fill, strict=True)]
        ),
    }
