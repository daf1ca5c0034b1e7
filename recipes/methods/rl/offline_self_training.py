"""Offline self-training as a stage: sample once from the tuned model, learn its right replies beside the gold ones."""

from pathlib import Path

from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from eval.graders import grade
from recipes.models import training
from recipes.models.curriculum import drawn
from recipes.models.sampling import sample_replies, self_training_rows


def self_trained(spec, policy, tokenizer, rows: list[dict], out: Path, runtime) -> tuple[list[dict], dict, float]:
    """(supervised rows: the gold replies and the policy's own distinct right ones, metrics of the sampling, mean tokens
    of a sampled reply).

    As many replies are sampled as the other algorithms would sample, `group_size` for a prompt, but to no row twice;
    they stay in replies.jsonl, from which a stage that was killed goes on.
    """
    rl = spec.rl
    asked = drawn(rows, "random", min(len(rows), rl.steps * rl.prompts_per_step), spec.seed)
    with runtime.bar("replies", len(asked) * rl.group_size, "replies") as bar:
        replies = sample_replies(
            policy,
            tokenizer,
            asked,
            out / "replies.jsonl",
            rl.group_size,
            temperature=rl.temperature,
            max_new_tokens=rl.max_completion_length,
            batch_size=rl.micro_batch,
            seed=spec.seed,
            advance=bar.advance,
        )
    policy.train()
    gold = [row | {"completion": [{"role": "assistant", "content": row["reply"]}]} for row in rows]
    learnt = self_training_rows(rows, replies, gold, grade)
    by_id = {row["id"]: row for row in rows}
    right = sum(grade(by_id[entry["id"]], entry["reply"]) for entry in replies) / len(replies)
    written = tokenizer([entry["reply"] for entry in replies], add_special_tokens=False)["input_ids"]
    mean_reply = sum(len(ids) + 1 for ids in written) / len(written)  # the end token is not in the text
    return learnt, {"first_accuracy": right, "own_replies": len(learnt) - len(gold)}, mean_reply


def offline_trainer(spec, policy, tokenizer, rows: list[dict], out: Path, micro: int, accumulation: int):
    """Supervised fine-tuning of the policy on rows with a completion, as many a step as others sample replies."""
    set_seed(spec.seed)
    arguments = SFTConfig(
        **training.common_arguments(spec.rl, spec.seed, out),
        max_steps=spec.rl.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        lr_scheduler_type=training.schedule(spec.rl.scheduler),
        warmup_steps=spec.rl.warmup_steps,
        max_length=None,
        completion_only_loss=True,
    )
    dataset = Dataset.from_list([{key: row[key] for key in ("prompt", "completion")} for row in rows])
    return training.build(SFTTrainer, policy, args=arguments, train_dataset=dataset, processing_class=tokenizer)
