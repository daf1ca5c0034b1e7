"""Sample once from the tuned model, then learn its right replies beside the gold ones."""

from typing import Any

from datasets import Dataset
from transformers import Trainer, set_seed
from trl import SFTConfig, SFTTrainer

from eval.graders import grade
from recipes.models import training
from recipes.models.learnt_rows import make_examples
from recipes.models.prompt_order import drawn
from recipes.models.rl_context import RlContext
from recipes.models.sampling import sample_by_table, self_training_rows


def make_offline_trainer(context: RlContext) -> Trainer:
    """Supervised fine-tuning of the policy on gold and own right replies, as many a step as others sample replies.

    As many replies are sampled as the other algorithms would sample, `group_size` for a prompt, but to no row
    twice; they stay in replies.jsonl, from which a step that was killed goes on.
    """
    rl = context.rl
    rows, metrics = sample_right_replies(context)
    context.metrics |= metrics | {"rows": len(rows)}
    set_seed(context.seed)
    arguments = SFTConfig(
        **training.common_arguments(rl, context.seed, context.out),
        max_steps=rl.steps,
        per_device_train_batch_size=context.micro,
        gradient_accumulation_steps=context.accumulation,
        lr_scheduler_type=training.schedule(rl.scheduler),
        warmup_steps=rl.warmup_steps,
        max_length=None,
        completion_only_loss=True,
    )
    dataset = Dataset.from_list(make_examples(context.reader, rows)[0])
    return training.build(
        SFTTrainer, context.policy, args=arguments, train_dataset=dataset, processing_class=context.reader
    )


def sample_right_replies(context: RlContext) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(supervised rows: the gold replies and the policy's own distinct right ones, metrics of the sampling)."""
    rl, rows, tokenizer = context.rl, context.rows, context.reader
    asked = drawn(rows, "random", min(len(rows), rl.steps * rl.prompts_per_step), context.seed)
    file = context.out / "replies.jsonl"
    replies = sample_by_table(context.policy, tokenizer, asked, file, rl.group_size, rl, context.seed, context.runtime)
    context.policy.train()
    gold = [row | {"completion": [{"role": "assistant", "content": row["reply"]}]} for row in rows]
    learnt = self_training_rows(rows, replies, gold, grade)
    by_id = {row["id"]: row for row in rows}
    right = sum(grade(by_id[entry["id"]], entry["reply"]) for entry in replies) / len(replies)
    written = tokenizer([entry["reply"] for entry in replies], add_special_tokens=False)["input_ids"]
    mean_reply = sum(len(ids) + 1 for ids in written) / len(written)  # the end token is not in the text
    metrics = {"first_accuracy": right, "own_replies": len(learnt) - len(gold), "completion_length": mean_reply}
    return learnt, metrics
