"""`python -m recipes embedded build`: make the embedded base model from nothing but this folder.

world.py ──► tokenizer (byte-level BPE, single digits) ──► pre-training (next token, resumable) ──► model/ (bf16, card, general test)

Seeded: step n always reads the same documents. A killed build goes on from its last checkpoint with the same command.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import time
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from recipes.embedded.world import BALANCED, SUMS_FIRST, Item, Mixture, documents, general_test

MODEL = Path(__file__).parent / "model"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.role == 'assistant' %}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{ message.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
VOCABULARY, LENGTH, ROWS = 3072, 512, 16  # tokens; tokens a row; rows a step
SUMS_STEPS = 1100  # steps of the first phase
GENERAL_TEST_SEED, GENERAL_TEST_ROWS = 7, 150  # rows of each of the three kinds


def chat(item: Item) -> tuple[str, str]:
    """The exchange as (prompt part, part that is learnt)."""
    return f"<|im_start|>user\n{item.prompt}<|im_end|>\n<|im_start|>assistant\n", f"{item.reply}<|im_end|>"


def train_tokenizer(seed: int, sample: int = 60_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE; digits stay single, an operator keeps the spaces around it, so that a sum is short and its digits are aligned."""
    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(r" [*+/=\-] | ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    source = documents(random.Random(f"tokenizer {seed}"), SUMS_FIRST)
    marks = re.compile("|".join(map(re.escape, SPECIAL + TAGS)))
    texts = (
        marks.sub("", d if isinstance(d, str) else "".join(chat(d)))
        for d, _ in zip(source, range(sample), strict=False)
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens(TAGS)
    fast.chat_template = TEMPLATE
    return fast


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def batch(
    tokenizer, step: int, seed: int, mixture: Mixture, held_out: frozenset[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of one step, both [ROWS, LENGTH]; prompts of exchanges are read, not learnt (label -100)."""
    source = documents(random.Random(f"{seed} {step}"), mixture, held_out)
    inputs, labels = [], []
    while len(inputs) < ROWS * LENGTH:
        parts = []
        for _ in range(64):
            document = next(source)
            if isinstance(document, str):
                parts.append((document + "<|endoftext|>", True))
            else:
                prompt, reply = chat(document)
                parts += [(prompt, False), (reply, True), ("\n", False)]
        encoded = tokenizer([text for text, _ in parts], add_special_tokens=False)["input_ids"]
        for ids, (_, learnt) in zip(encoded, parts, strict=True):
            inputs += ids
            labels += ids if learnt else [-100] * len(ids)
    size = ROWS * LENGTH
    return torch.tensor(inputs[:size]).view(ROWS, LENGTH), torch.tensor(labels[:size]).view(ROWS, LENGTH)


def optimizers(model, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_at(step: int, steps: int, warmup: int = 50, decay: float = 0.4) -> float:
    """Warm-up, constant, then a linear fall to 2 % over the last `decay` of the steps."""
    return min(1.0, (step + 1) / warmup, max(0.02, (steps - step) / (decay * steps)))


def pretrain(steps: int, rate: float, seed: int, work: Path, out: Path, compiled: bool) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    work.mkdir(parents=True, exist_ok=True)
    rows = general_test(GENERAL_TEST_SEED, GENERAL_TEST_ROWS)
    held_out = frozenset(row["prompt"][0]["content"] for row in rows)
    tokenizer = train_tokenizer(seed)
    model = new_model(tokenizer, seed).to(device)
    opts = optimizers(model, rate)
    checkpoint, start, history, spent = work / "checkpoint.pt", 0, [], 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["plan"] != [steps, rate, seed]:
            raise SystemExit(
                f"{checkpoint} belongs to steps, rate, seed = {state['plan']}, not {[steps, rate, seed]}: give the same values, or another --work folder"
            )
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
        start, history, spent = state["step"], state["history"], state["seconds"]
        print(f"going on from step {start}", flush=True)

    def loss_of(inputs, labels):
        with torch.autocast(device, torch.bfloat16):
            return model(input_ids=inputs, labels=labels, use_cache=False).loss

    forward = torch.compile(loss_of) if compiled else loss_of
    began, mean = time.time() - spent, None
    for step in range(start, steps):
        inputs, labels = batch(tokenizer, step, seed, SUMS_FIRST if step < SUMS_STEPS else BALANCED, held_out)
        for opt in opts:
            for group in opt.param_groups:
                group["lr"] = rate * rate_at(step, steps)
        loss = forward(inputs.to(device), labels.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        value = loss.item()
        if not math.isfinite(value):
            raise SystemExit(
                f"loss is {value} at step {step}: lower --rate (now {rate}) and start again in a new --work folder"
            )
        mean = value if mean is None else 0.95 * mean + 0.05 * value
        if (step + 1) % 20 == 0 or step + 1 == steps:
            seconds = time.time() - began
            history.append({"step": step + 1, "loss": round(mean, 4), "seconds": round(seconds)})
            print(
                f"step {step + 1}/{steps}  loss {mean:.3f}  {(step + 1) * ROWS * LENGTH / seconds:.0f} tokens/s",
                flush=True,
            )
        if (step + 1) % 100 == 0 or step + 1 == steps:
            state = {
                "plan": [steps, rate, seed],
                "step": step + 1,
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in opts],
                "history": history,
                "seconds": time.time() - began,
            }
            torch.save(state, checkpoint.with_suffix(".new"))
            os.replace(checkpoint.with_suffix(".new"), checkpoint)
    save(
        model,
        tokenizer,
        rows,
        history,
        {
            "steps": steps,
            "rate": rate,
            "seed": seed,
            "tokens": steps * ROWS * LENGTH,
            "seconds": round(time.time() - began),
        },
        out,
    )


def save(model, tokenizer, rows: list[dict], history: list[dict], facts: dict, out: Path) -> None:
    """Write the model folder anew beside the old one, then change places."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    fresh.joinpath("general_test.jsonl").write_text(
        "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8"
    )
    fresh.joinpath("training.json").write_text(
        json.dumps({**facts, "parameters": sum(p.numel() for p in model.parameters()), "history": history}, indent=1)
        + "\n",
        encoding="utf-8",
    )
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recipes embedded build",
        description="Pre-train the embedded base model (CPU hours; a GPU is used where there is one).",
    )
    parser.add_argument(
        "--steps", type=int, default=3000, help=f"optimizer steps of {ROWS * LENGTH} tokens (default 3000)"
    )
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate (default 4e-3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("runs/embedded-build"),
        help="folder of the checkpoint (default runs/embedded-build)",
    )
    parser.add_argument(
        "--out", type=Path, default=MODEL, help="folder of the finished model (default: the one in the repository)"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the forward pass; needs a C compiler, about 1.4 times as fast on a CPU",
    )
    args = parser.parse_args(argv)
    pretrain(args.steps, args.rate, args.seed, args.work, args.out, args.compile)


if __name__ == "__main__":
    main()
