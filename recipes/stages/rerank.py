"""A reranker: sampled replies of the supervised model, graded, train a judge that later picks one of several.

rl.jsonl ──► sampled replies ──► grade(row, reply) ──► right or wrong ──► reranker/ (head and LoRA)
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, list_models, start
from recipes.base.errors import RecipeError
from recipes.base.table import Table, runtime_field
from recipes.config.conflicts import Conflict, Scope

VERSION = 4
PLACE = 70
LEAVES = "reranker"
CHATS = True  # its base is asked in chat turns
TITLE = "Reranker"
UNREAD = ("rl",)  # kinds of steps before it whose models it does not get: it judges replies of the supervised model
TOKENS = 140  # of a prompt and a reply: first guess until a run is known
HELD_OUT = 8  # every eighth prompt is not trained on, and shows what picking is worth


class Config(Table):
    """A reranker that picks one of several sampled replies (ReFT, arXiv 2401.08967)."""

    prompts: int = Field(256, ge=8, description="prompts of rl.jsonl that are answered for it")
    samples: int = Field(8, ge=2, description="replies to each; ReFT: 100")
    temperature: float = Field(1.0, gt=0, le=2, description="sampling temperature")
    max_completion_length: int = Field(160, ge=1, description="tokens of a reply")
    rank: int = Field(16, ge=1, description="LoRA rank of the reranker")
    alpha: float = Field(32.0, gt=0, description="LoRA scale; the update is multiplied by alpha / rank")
    epochs: float = Field(3.0, gt=0, description="passes over the graded replies")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="peak of the schedule")
    batch_rows: int = Field(64, ge=1, description="replies per optimizer step")
    save_steps: int = runtime_field(100, "optimizer steps between checkpoints", ge=1)
    log_steps: int = runtime_field(10, "optimizer steps between lines of training.jsonl", ge=1)
    micro_batch: int = runtime_field(64, "replies at once, at most", ge=1)


CONFLICTS = [("builder=vsllava data.view=image rerank.prompts=16", "rerank")]


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """The reranker reads text."""
    if getattr(scope.data, "view", None) == "image":
        instead = "a recipe without [rerank], or a view of the data that is text"
        yield scope.conflict("", "the reranker reads text only", instead)


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"rows": ["rl.jsonl"], "models": MODEL_FILES}


def name_rows(spec: Any) -> str:
    """Stem of the file of rows that the step learns."""
    return "rl"


def forecast(spec, counts: dict, runs: Path) -> Work:
    table = spec.rerank
    replies = min(table.prompts, counts.get("rl", table.prompts)) * table.samples
    return Work(
        rows=replies,
        steps=max(1, math.ceil(replies / table.batch_rows * table.epochs)),
        tokens=round(replies * TOKENS * (1 + table.epochs)),
        notes=f"{replies} sampled replies",
    )


def run(spec, inputs: dict[str, Path], out: Path, runtime) -> dict:
    """Sample, grade, train; writes replies.jsonl, reranker/ and training.jsonl.

    The metrics hold the share of right replies among those to prompts held out, of those picked, and of prompts with a
    right one among their replies ("one", "picked", "any").

    Raises:
        RecipeError: no rl rows, rows with images, or replies that are all right or all wrong.
    """
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

    from eval.graders import grade_sampled
    from recipes.models import loader, reranker, training, vision

    table, tokenizer = spec.rerank, loader.load_tokenizer(spec.model)
    rows = training.read_rows(inputs["data"] / "rl.jsonl")[: table.prompts]
    vision.refuse(rows, "[rerank]", "a judge that reads text", "a recipe without this table")
    replies = sampled(spec, inputs, tokenizer, rows, out, runtime)
    by_id = {row["id"]: row for row in rows}
    kept = reranker.distinct(rows, replies)
    grades = grade_sampled(rows, kept)
    told = {"replies": len(replies), "distinct": len(kept), "right": sum(grades) / max(1, len(kept))}
    held = {row["id"] for row in rows[::HELD_OUT]}
    examples = [
        {
            "text": reranker.text_of(tokenizer, by_id[entry["id"]]["prompt"], entry["reply"]),
            "labels": [float(right == 1)],
        }
        for entry, right in zip(kept, grades, strict=True)
        if entry["id"] not in held
    ]
    if len({example["labels"][0] for example in examples}) < 2:
        raise RecipeError(
            "there is nothing to tell apart",
            where=str(inputs["data"] / "rl.jsonl"),
            got=f"{len(examples)} distinct replies, {told['right']:.0%} of them right",
            allowed="right and wrong replies",
            fix="raise rerank.prompts or rerank.samples, or drop the [rerank] table",
        )
    set_seed(spec.seed)
    judge = reranker.trainable(reranker.make_judge(spec.model, inputs), table.rank, table.alpha)
    dataset = Dataset.from_list(examples).map(
        lambda example: tokenizer(example["text"], add_special_tokens=False), remove_columns=["text"]
    )
    accumulation = math.ceil(table.batch_rows / table.micro_batch)
    with runtime.bar("rerank", 0, "steps") as bar:
        trainer = training.build(
            Trainer,
            judge,
            args=TrainingArguments(
                **training.common_arguments(table, spec.seed, out),
                num_train_epochs=table.epochs,
                per_device_train_batch_size=math.ceil(table.batch_rows / accumulation),
                gradient_accumulation_steps=accumulation,
                lr_scheduler_type="linear",
                warmup_steps=0.05,
            ),
            train_dataset=dataset,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.add_callback(training.Watch(bar, "rerank"))
        seconds = training.train(trainer, out)
    training.save_result(judge, out / "reranker")
    judged = {"step": next(reversed(list_models(inputs)), None)}
    (out / "reranker" / reranker.JUDGED).write_text(json.dumps(judged) + "\n", encoding="utf-8")
    history = training.write_history(trainer, out, {"loss": "loss", "learning_rate": "learning_rate"})
    training.forget_checkpoints(out)
    lengths = sum(map(len, dataset["input_ids"]))
    return {
        **told,
        **worth(judge.eval(), tokenizer, [row for row in rows if row["id"] in held], replies),
        "rows": len(examples),
        "steps": trainer.state.global_step,
        "tokens": round(lengths * (1 + table.epochs)),
        "train_seconds": round(seconds, 1),
        "final_loss": history[-1]["loss"] if history else None,
    }


def sampled(spec, inputs: dict[str, Path], tokenizer, rows: list[dict], out: Path, runtime) -> list[dict]:
    """`rerank.samples` replies of the supervised model to each row's prompt, kept in replies.jsonl."""
    from recipes.models import loader
    from recipes.models.sampling import sample_by_table

    table = spec.rerank
    if not rows:
        raise RecipeError(
            "there is nothing to sample from",
            where=str(inputs["data"] / "rl.jsonl"),
            got="0 rows",
            allowed="at least one",
            fix="drop the [rerank] table, or ask the builder for rl rows",
        )
    policy = loader.load_reached(*start(spec.model, inputs))
    return sample_by_table(policy, tokenizer, rows, out / "replies.jsonl", table.samples, table, spec.seed, runtime)


def worth(judge, tokenizer, rows: list[dict], replies: list[dict]) -> dict:
    """What picking is worth on prompts that were not trained on, as shares of 1."""
    from eval.graders import grade_all
    from recipes.models import reranker

    texts = [[entry["reply"] for entry in replies if entry["id"] == row["id"]] for row in rows]
    flat = [(row, text) for row, some in zip(rows, texts, strict=True) for text in some]
    grades = iter(grade_all([row for row, _ in flat], [text for _, text in flat]))
    right = [[next(grades) for _ in some] for some in texts]
    picked = reranker.pick(judge, tokenizer, [row["prompt"] for row in rows], texts)
    return {
        "held_out": len(rows),
        "one": sum(map(sum, right)) / max(1, len(flat)),
        "picked": sum(some[place] for some, place in zip(right, picked, strict=True)) / max(1, len(rows)),
        "any": sum(max(some) for some in right) / max(1, len(rows)),
    }
