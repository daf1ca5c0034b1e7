"""What tuning did to a model beside its scores: how far it drifted from the base, and where its routers send tokens."""

import torch
from transformers import ProcessorMixin

from recipes.models import vision
from recipes.models.divergence import mean_divergence
from recipes.models.loramoe.layer import LoraMoeLinear
from recipes.models.routing import mutual_information, routing_statistics

ROWS = 128  # of each kind of text, evenly spread over the file
BATCH = 16


def observe(model, reader, texts: dict[str, list[dict]], frozen=None) -> dict:
    """Drift and routing of the tuned model on gold replies.

    Args:
        model: the tuned model, its adapter active, or every weight trained and then `frozen` the base beside it.
        reader: its tokenizer, or its processor where rows have images.
        texts: kind of text ("domain", "general") -> rows with prompt and reply.

    Returns:
        {"drift": {kind: {"kl": mean KL(tuned ‖ base) in nats over reply tokens, "tokens": how many}}}, and for a
        LoRAMoE adapter "routing": the dictionary of `routing_statistics` with types named by kind, and
        "information": I(expert; kind) in nats by layer.
    """
    batches = {kind: batches_of(reader, spread(rows), model.device) for kind, rows in texts.items() if rows}
    found = {"drift": {}}
    for kind, some in batches.items():
        kl, tokens = mean_divergence(model, some, frozen)
        found["drift"][kind] = {"kl": kl, "tokens": tokens}
    if any(isinstance(module, LoraMoeLinear) for module in model.modules()):
        names = dict(enumerate(batches))
        typed = [
            batch | {"sample_type": torch.full((len(batch["input_ids"]),), number)}
            for number, kind in names.items()
            for batch in batches[kind]
        ]
        routing = routing_statistics(model, typed)
        found["information"] = mutual_information(routing)
        found["routing"] = {
            "tokens": {names[int(kind)]: count for kind, count in routing["tokens"].items()},
            "layers": {
                layer: {names[int(kind)]: weights for kind, weights in means.items()}
                for layer, means in routing["layers"].items()
            },
        }
    return found


def spread(rows: list[dict]) -> list[dict]:
    """At most ROWS of them, at even distances."""
    step = max(1, len(rows) / ROWS)
    return [rows[int(number * step)] for number in range(min(ROWS, len(rows)))]


def batches_of(reader, rows: list[dict], device) -> list[dict]:
    """Batches of like length, padded right: input_ids, attention_mask, and labels that hold the reply's tokens; with
    what a processor makes of images."""
    if isinstance(reader, ProcessorMixin):
        return vision.batches_of(reader, rows, device, BATCH)
    examples = []
    for row in rows:
        asked = reader.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        turns = [*row["prompt"], {"role": "assistant", "content": row["reply"]}]
        whole = reader.apply_chat_template(turns, tokenize=False)
        prompt, ids = reader([asked, whole], add_special_tokens=False)["input_ids"]
        examples.append((ids, len(prompt)))
    examples.sort(key=lambda example: len(example[0]))
    return [
        {name: tensor.to(device) for name, tensor in padded(examples[n : n + BATCH], reader.pad_token_id).items()}
        for n in range(0, len(examples), BATCH)
    ]


def padded(examples: list[tuple[list[int], int]], pad: int) -> dict[str, torch.Tensor]:
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
