"""Whether a model knows the training split of a benchmark better than its test split, a sign of contamination.

    python -m benchmarks.loss_gap --model runs/export --train gsm8k/train.jsonl --test gsm8k/test.jsonl --rows 1000

Gap, in per cent: 100 * (L_test - L_train) / L_test (GLAN, arXiv 2402.13064, section 3), L being the mean cross-entropy,
in nats a token, of the answer after its question. About 0 for a model that has read neither; well above 0 where it has
read the training split: the paper tells 11.4 % for Orca 2 on GSM8K, 0.9 % for GLAN. The interval is a bootstrap over
rows, both splits drawn anew. A row is a JSON object with question and answer, or prompt with reply or completion as in
the files of a data artefact. `--adapter` is put on the model.

Both splits have to be of one kind: where they differ, as training and test rows of a recipe do, there is a gap without
any contamination, and only the difference to that of the base means something. A gap says nothing of rows that were
read in other words; use it beside the n-grams of data.benchmarks.
"""

import argparse
import random
from pathlib import Path

import torch

from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.gold_replies import batches_of
from recipes.models.training import read_rows

DRAWS = 2000  # of the bootstrap


def gap(test: float, train: float) -> float:
    """Per cent by which the loss on the training split is below that on the test split."""
    return 100 * (test - train) / test


def losses(model, tokenizer, rows: list[dict]) -> list[tuple[float, int]]:
    """(sum of the cross-entropy in nats, number of tokens) of the reply of each row; the order is by length."""
    found = []
    for batch in batches_of(tokenizer, rows, model.device):
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].float()
        labels = batch["labels"][:, 1:]
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
        found += list(zip(each.sum(1).tolist(), (labels != -100).sum(1).tolist(), strict=True))
    return found


def mean(found: list[tuple[float, int]]) -> float:
    """Mean over tokens."""
    return sum(loss for loss, _ in found) / sum(count for _, count in found)


def interval(test: list, train: list, seed: int) -> tuple[float, float]:
    """95 % interval of the gap, a percentile bootstrap over rows."""
    rng = random.Random(seed)
    drawn = sorted(
        gap(mean(rng.choices(test, k=len(test))), mean(rng.choices(train, k=len(train)))) for _ in range(DRAWS)
    )
    return drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS)]


def row_of(row: dict) -> dict:
    """The row with prompt (chat turns) and reply."""
    if "question" in row:
        return {"prompt": [{"role": "user", "content": row["question"]}], "reply": row["answer"]}
    return {"prompt": row["prompt"], "reply": row["reply"] if "reply" in row else row["completion"][0]["content"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="embedded", help='"embedded", a folder, or a hub id')
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=500, help="of each split, drawn")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    spec = Model(name=options.model)
    model, tokenizer = loader.load_reached(spec, options.adapter).eval(), loader.load_tokenizer(spec)
    found = {}
    for split, file in (("train", options.train), ("test", options.test)):
        rows = read_rows(file)
        rows = random.Random(options.seed).sample(rows, min(options.rows, len(rows)))
        found[split] = losses(model, tokenizer, [row_of(row) for row in rows])
        print(f"{split:<6} {len(rows)} rows, {sum(n for _, n in found[split]):,} tokens, loss {mean(found[split]):.4f}")
    low, high = interval(found["test"], found["train"], options.seed)
    print(f"gap    {gap(mean(found['test']), mean(found['train'])):+.2f} % ({low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
