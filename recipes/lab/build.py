"""`python -m recipes embedded build`: make the embedded base model from nothing but this folder.

documents of world.py ──► tokenizer ──► pre-training (next token, resumable) ──► model/ (bf16 weights, general test)

Seeded: step n always reads the same documents. A killed build goes on from its last checkpoint with the same command.
The model card is written by `python -m recipes embedded score`.
"""

import argparse
import json
import math
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from recipes.base.errors import RecipeError
from recipes.base.runtime import Runtime
from recipes.config.schema import Model
from recipes.lab.options import LENGTH, ROWS
from recipes.lab.tokenizer import VOCABULARY, chat, train_tokenizer
from recipes.lab.world import PHASES, Mixture, documents, general_test, general_train
from recipes.models.loader import choose_attention

LOG_STEPS, SAVE_STEPS = 20, 100
GENERAL_TEST_SEED, GENERAL_TEST_ROWS = 7, 150  # rows of each of the three kinds
GENERAL_TRAIN_ROWS = 1500  # rows that a recipe may mix with its own


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    # transformers takes this key, though its types do not name it
    attention: dict[str, Any] = {"attn_implementation": choose_attention(Model(), training=True)}
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
        **attention,
    )
    return Qwen3ForCausalLM(config)


def batch(
    tokenizer: PreTrainedTokenizerFast, step: int, seed: int, mixture: Mixture, held_out: frozenset[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of one step, both [ROWS, LENGTH]; prompts of exchanges are read, not learnt (label -100)."""
    source = documents(random.Random(f"{seed} {step}"), mixture, held_out)
    inputs, labels, size = [], [], ROWS * LENGTH
    while len(inputs) < size:
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
    return torch.tensor(inputs[:size]).view(ROWS, LENGTH), torch.tensor(labels[:size]).view(ROWS, LENGTH)


def optimizers(model: Qwen3ForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def phase_starts(steps: int) -> list[int]:
    """The step at which each of PHASES begins."""
    parts = [part for part, _ in PHASES]
    return [steps * sum(parts[:number]) // sum(parts) for number in range(len(parts))]


def mixture_at(step: int, steps: int) -> Mixture:
    return next(mixture for start, (_, mixture) in zip(phase_starts(steps)[::-1], PHASES[::-1]) if step >= start)


def rate_at(step: int, steps: int, warmup: int = 50, decay: float = 0.4) -> float:
    """Share of the peak rate: warm-up, constant, a linear fall to 2 % over the last `decay` of the steps.

    The last phase has a schedule of its own, for it was added to a finished model: up to a third of the peak within 20
    steps, and a linear fall over all of it.
    """
    last = phase_starts(steps)[-1]
    if step < last:
        return min(1.0, (step + 1) / warmup, max(0.02, (last - step) / (decay * last)))
    return min((step - last + 1) / 20, max(0.02, (steps - step) / (steps - last))) / 3


def pretrain(steps: int, rate: float, seed: int, work: Path, out: Path, compiled: bool, runtime: Runtime) -> None:
    """Train tokenizer and model, and write the model folder `out`; `work` keeps the checkpoint.

    Raises:
        RecipeError: the checkpoint belongs to other values, `out` is not a model folder, or the loss is not finite.
    """
    refuse_foreign(out)
    work.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = general_test(GENERAL_TEST_SEED, GENERAL_TEST_ROWS)
    held_out = frozenset(row["prompt"][0]["content"] for row in rows)
    tokenizer = train_tokenizer(seed)
    model = new_model(tokenizer, seed)
    model.to(device)  # pyright: ignore[reportArgumentType]  wrapped by transformers, which loses `self`
    opts = optimizers(model, rate)
    checkpoint, plan = work / "checkpoint.pt", [steps, rate, seed]
    start, history, spent = resume(checkpoint, plan, model, opts) if checkpoint.exists() else (0, [], 0.0)
    if start:
        runtime.say(f"going on from step {start}")

    def loss_of(inputs, labels):
        with torch.autocast(device, torch.bfloat16):
            return model(input_ids=inputs, labels=labels, use_cache=False).loss

    forward = torch.compile(loss_of) if compiled else loss_of
    began, mean = time.time() - spent, history[-1]["loss"] if history else None
    with runtime.bar("pre-training", (steps - start) * ROWS * LENGTH, "tokens") as bar:
        for step in range(start, steps):
            if step == phase_starts(steps)[-1]:
                opts = optimizers(model, rate)
            inputs, labels = batch(tokenizer, step, seed, mixture_at(step, steps), held_out)
            for opt in opts:
                for group in opt.param_groups:
                    group["lr"] = rate * rate_at(step, steps)
            loss = forward(inputs.to(device), labels.to(device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for opt in opts:
                opt.step()
                opt.zero_grad(set_to_none=True)
            value = finite(loss.item(), step, rate, work)
            mean = value if mean is None else 0.95 * mean + 0.05 * value
            done, seconds = step + 1, time.time() - began
            bar.advance(ROWS * LENGTH, f"loss {mean:.3f}")
            if done % LOG_STEPS == 0 or done == steps:
                history.append({"step": done, "loss": round(mean, 4), "seconds": round(seconds)})
            if done % SAVE_STEPS == 0 or done == steps:
                save_checkpoint(checkpoint, plan, model, opts, done, history, seconds)
    facts = {"steps": steps, "rate": rate, "seed": seed, "tokens": steps * ROWS * LENGTH}
    save_model(model, tokenizer, rows, facts | {"seconds": round(time.time() - began)}, history, out)
    runtime.say(f"written: {out}; its model card:  python -m recipes embedded score --model {out}")


def refuse_foreign(out: Path) -> None:
    """A folder that is replaced as a whole must hold nothing but an earlier model."""
    if out.exists() and not (out / "training.json").is_file():
        raise RecipeError(
            "the model would replace something else",
            where="--out",
            got=f"{out}, which is no model folder that `embedded build` wrote",
            allowed="a new folder, or one with training.json in it",
            fix="name another folder",
        )


def finite(loss: float, step: int, rate: float, work: Path) -> float:
    if math.isfinite(loss):
        return loss
    raise RecipeError(
        "the loss is not finite",
        where=f"step {step + 1}",
        got=f"loss {loss} at --rate {rate}",
        fix=f"give a lower --rate and a new --work folder; {work} keeps the last checkpoint",
    )


def resume(
    checkpoint: Path, plan: list, model: Qwen3ForCausalLM, opts: list[torch.optim.Optimizer]
) -> tuple[int, list[dict], float]:
    """Load the checkpoint into model and optimizers: (steps done, loss history, seconds spent)."""
    state = torch.load(checkpoint, map_location=model.device, weights_only=True)
    if state["plan"] != plan:
        raise RecipeError(
            "the checkpoint belongs to another build",
            where=str(checkpoint),
            got=f"steps, rate, seed = {state['plan']}",
            allowed=str(plan),
            fix="give the same values, or another --work folder",
        )
    model.load_state_dict(state["model"])
    for opt, saved in zip(opts, state["optimizers"], strict=True):
        opt.load_state_dict(saved)
    return state["step"], state["history"], state["seconds"]


def save_checkpoint(checkpoint: Path, plan, model, opts, step: int, history: list[dict], seconds: float) -> None:
    """Written beside the old one, then moved over it: a kill leaves one of the two whole."""
    state = {
        "plan": plan,
        "step": step,
        "model": model.state_dict(),
        "optimizers": [opt.state_dict() for opt in opts],
        "history": history,
        "seconds": seconds,
    }
    unfinished = checkpoint.with_suffix(".new")
    torch.save(state, unfinished)
    os.replace(unfinished, checkpoint)


def save_model(model, tokenizer, rows: list[dict], facts: dict, history: list[dict], out: Path) -> None:
    """Write the model folder anew beside the old one, then change places."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    train = general_train(GENERAL_TEST_SEED, GENERAL_TRAIN_ROWS, rows)
    for name, some in (("general_test.jsonl", rows), ("general_train.jsonl", train)):
        text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in some)
        (fresh / name).write_text(text, encoding="utf-8")
    training = facts | {"parameters": sum(p.numel() for p in model.parameters()), "history": history}
    (fresh / "training.json").write_text(json.dumps(training, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)


def main(options: argparse.Namespace) -> None:
    """Build as `recipes.lab.options.build` read it."""
    pretrain(options.steps, options.rate, options.seed, options.work, options.out, options.compile, Runtime())
