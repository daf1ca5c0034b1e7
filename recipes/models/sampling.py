"""Sample replies of a model to rows, kept on disk as they come, and make training rows of the right ones."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from recipes.models.chat_form import decode_reply
from recipes.models.loader import stop_with


def sample_by_table(
    policy: Any, tokenizer: Any, rows: list[dict], file: Path, samples: int, own: Any, seed: int, runtime: Any
) -> list[dict]:
    """`sample_replies` with the temperature, the length and the batch of a stage's table, and its progress shown."""
    with runtime.bar(file.stem, len(rows) * samples, "replies") as bar:
        return sample_replies(
            policy,
            tokenizer,
            rows,
            file,
            samples,
            temperature=own.temperature,
            max_new_tokens=own.max_completion_length,
            batch_size=own.micro_batch,
            seed=seed,
            advance=bar.advance,
        )


def sample_replies(
    model, tokenizer, rows, file: Path, samples, *, temperature, max_new_tokens, batch_size, seed, advance
) -> list[dict]:
    """`samples` replies of `model` to every row's prompt, as {"id", "number", "reply"}, kept in the JSONL `file`.

    Replies are written batch by batch; after a kill the same call goes on behind the last whole batch and ends with the
    same file, because every batch has a seed of its own. A file belongs to one model and one setting. `advance(n)` is
    told of n more replies.
    """
    asked = [(row, number) for row in rows for number in range(samples)]
    have = whole_batches(file, len(asked), batch_size)
    advance(len(have))
    stop_with(tokenizer, model.eval())
    with open(file, "a", encoding="utf-8") as stream:
        for start in range(len(have), len(asked), batch_size):
            batch = asked[start : start + batch_size]
            torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed}/{start}".encode()).digest()[:4]))
            texts = [
                tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
                for row, _ in batch
            ]
            given = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
            with torch.no_grad():
                ids = model.generate(
                    **given,
                    do_sample=True,
                    temperature=temperature,
                    top_k=0,
                    top_p=1.0,
                    repetition_penalty=1.0,
                    max_new_tokens=max_new_tokens,
                    pad_token_id=tokenizer.pad_token_id,
                )
            replies = [decode_reply(tokenizer, reply) for reply in ids[:, given["input_ids"].size(1) :].tolist()]
            found = [
                {"id": row["id"], "number": number, "reply": reply}
                for (row, number), reply in zip(batch, replies, strict=True)
            ]
            stream.write("".join(json.dumps(entry) + "\n" for entry in found))
            stream.flush()
            have += found
            advance(len(found))
    return have


def whole_batches(file: Path, total: int, batch_size: int) -> list[dict]:
    """The stored replies of whole batches; what a kill left behind them is cut off the file."""
    lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
    lines = [line for line in lines if line.endswith(b"\n")][:total]
    kept = lines if len(lines) == total else lines[: len(lines) // batch_size * batch_size]
    file.write_bytes(b"".join(kept))
    return [json.loads(line) for line in kept]


def self_training_rows(rows, replies, gold, grade) -> list[dict]:
    """Rows for supervised fine-tuning: `gold`, and the distinct right replies to `rows` that gold does not hold.

    `rows` are rl rows, `replies` come from `sample_replies`, `gold` are sft rows, `grade(row, reply)` is 1.0 where a
    reply is right. Replies that differ only in white space count as one. A row's id is a hash of its content.
    """
    by_id = {row["id"]: row for row in rows}
    seen = {key_of(row["prompt"], row["completion"][0]["content"]) for row in gold}
    found = []
    for entry in replies:
        row, text = by_id[entry["id"]], entry["reply"].strip()
        key = key_of(row["prompt"], text)
        if key in seen or grade(row, text) < 1.0:
            continue
        seen.add(key)
        kept = {name: row[name] for name in ("prompt", "kind", "node_id", "fact_id", "family")}
        completion = [{"role": "assistant", "content": text}]
        lineage = {"self_training_of": row["id"], "number": entry["number"]}
        digest = hashlib.sha256(json.dumps([row["prompt"], text]).encode()).hexdigest()[:16]
        found.append({"id": digest, **kept, "completion": completion, "lineage": lineage})
    return [*gold, *found]


def key_of(prompt: list[dict], reply: str) -> tuple:
    return tuple(turn["content"] for turn in prompt), " ".join(reply.split())
