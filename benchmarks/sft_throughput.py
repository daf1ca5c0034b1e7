"""SFT throughput in real tokens per second: this project, `trl sft` with its defaults, and a bare PyTorch loop.

Real tokens are those that are not padding. Same model, same rows, same LoRA, same learning rate and schedule, eight
rows a step (TRL's default), one pass, one process, arms in turn. Prints the ratios and the loss of every arm on the
same held-out rows before and after.

    python -m benchmarks.sft_throughput --data runs/analogseeker/embedded/data-XXXXXXXX --rows 512
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import trl.trainer.utils
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from recipes.artifacts.steps import spec_of
from recipes.config.schema import Model
from recipes.models import loader, training
from recipes.stages import sft
from tests.helpers.tables import sft_table

SEED = 42
ROWS = 8  # of a step: the default of TRL's per_device_train_batch_size
HEAD_CHOICE = trl.trainer.utils._use_triton  # as TRL has it, before recipes.models.training changes it


def tokens_of(tokenizer, row) -> tuple[list[int], int]:
    """(ids of the whole exchange, length of the prompt part)."""
    prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    return tokenizer(whole, add_special_tokens=False)["input_ids"], len(
        tokenizer(prompt, add_special_tokens=False)["input_ids"]
    )


def pad(examples, pad_id: int) -> dict[str, torch.Tensor]:
    """Right-padded input_ids, attention_mask and labels, each [rows, longest]; prompts carry label -100."""
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.tensor([e + [pad_id] * (longest - len(e)) for e, _ in examples])
    mask = torch.tensor([[1] * len(e) + [0] * (longest - len(e)) for e, _ in examples])
    labels = ids.masked_fill(mask == 0, -100)
    for row, (_, prompt) in zip(labels, examples, strict=True):
        row[:prompt] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@torch.no_grad()
def held_out_loss(model, examples, pad_id: int) -> float:
    """Mean negative log-likelihood of the assistant tokens, in fp32."""
    total, count = 0.0, 0
    model.eval()
    for start in range(0, len(examples), 32):
        batch = {k: v.to(model.device) for k, v in pad(examples[start : start + 32], pad_id).items()}
        n = (batch["labels"][:, 1:] != -100).sum().item()
        total += model(**batch).loss.item() * n
        count += n
    return total / count


def adapter(table: sft.Config) -> LoraConfig:
    return LoraConfig(
        r=table.adapter.rank,
        lora_alpha=table.adapter.alpha,
        lora_dropout=table.adapter.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def ours(stage, tokenizer, rows, examples, folder):
    mean = sum(len(ids) for ids, _ in examples) / len(examples)
    base = loader.load_base(stage.model, training=True)
    return sft.make_trainer(stage, base, tokenizer, Dataset.from_list(rows), mean, folder)


def trl_defaults(stage, tokenizer, rows, examples, folder):
    """What `trl sft --use_peft` does with nothing set but where to write, the learning rate and the LoRA sizes."""
    trl.trainer.utils._use_triton = HEAD_CHOICE
    set_seed(SEED)
    arguments = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        learning_rate=stage.sft.learning_rate,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=loader.device() == "cpu",
    )
    return training.build(
        SFTTrainer,
        loader.load_base(stage.model),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=adapter(stage.sft),
    )


def bare_loop(stage, tokenizer, examples):
    """The least code that does the same work.

    Batches of rows of like length, the same attention, bf16 where the hardware has it, loss on the learnt positions
    alone, AdamW, a linear rate.
    """
    set_seed(SEED)
    model = get_peft_model(loader.load_base(stage.model, training=True), adapter(stage.sft))
    base = model.get_base_model()
    order = sorted(examples, key=lambda e: -len(e[0]))
    starts = list(range(0, len(order), ROWS))
    random.Random(SEED).shuffle(starts)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=stage.sft.learning_rate, weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, len(starts))
    model.train()
    began = time.monotonic()
    for start in starts:
        batch = {k: v.to(model.device) for k, v in pad(order[start : start + ROWS], tokenizer.pad_token_id).items()}
        target = batch.pop("labels")[:, 1:]
        with torch.autocast(loader.device(), torch.bfloat16, enabled=loader.fast_bf16()):
            hidden = base.model(**batch, use_cache=False).last_hidden_state[:, :-1]
            loss = F.cross_entropy(base.lm_head(hidden[target != -100]).float(), target[target != -100])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), stage.sft.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a data artefact")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all arms; the median is printed")
    args = parser.parse_args()
    tokenizer = loader.load_tokenizer(Model())
    with open(args.data / "sft.jsonl", encoding="utf-8") as lines:
        rows = [{k: r[k] for k in ("prompt", "completion")} for r in map(json.loads, lines)]
    rows, held = rows[: args.rows], rows[args.rows : args.rows + 256]
    examples, held = [tokens_of(tokenizer, r) for r in rows], [tokens_of(tokenizer, r) for r in held]
    real = sum(len(ids) for ids, _ in examples)
    table = sft_table(epochs=1.0, batch_tokens=round(ROWS * real / len(rows)), scheduler="linear", warmup_ratio=0.0)
    stage = spec_of("sft", model=Model(), sft=table, seed=SEED)
    print(
        f"{len(rows)} rows, {real} real tokens, {torch.get_num_threads()} threads, device {loader.device()}, "
        f"loss before {held_out_loss(loader.load_base(stage.model), held, tokenizer.pad_token_id):.4f}"
    )
    speeds, losses = {}, {}
    for _ in range(args.rounds):
        for name, make in (("ours", ours), ("trl defaults", trl_defaults), ("bare loop", None)):
            with tempfile.TemporaryDirectory() as folder:
                if make is None:
                    model, seconds = bare_loop(stage, tokenizer, examples)
                else:
                    trainer = make(stage, tokenizer, rows, examples, Path(folder))
                    trainer.args.save_strategy = "no"
                    began = time.monotonic()
                    trainer.train()
                    model, seconds = trainer.model, time.monotonic() - began
            speeds.setdefault(name, []).append(real / seconds)
            losses[name] = held_out_loss(model, held, tokenizer.pad_token_id)
    median = {name: sorted(values)[len(values) // 2] for name, values in speeds.items()}
    for name, value in median.items():
        print(
            f"{name:14s} {value:8.0f} tokens/s  (rounds {', '.join(f'{v:.0f}' for v in speeds[name])})  "
            f"loss after {losses[name]:.4f}"
        )
    print(
        f"ours / trl defaults {median['ours'] / median['trl defaults']:.2f}x   "
        f"ours / bare loop {median['ours'] / median['bare loop']:.2f}"
    )


if __name__ == "__main__":
    main()
