"""Continued pre-training on running text through TRL's SFTTrainer: every token is learnt.

cpt.jsonl ─┐
           ├─► shuffled, each text closed by the end token, joined ──► blocks of max_length tokens ──► model/
general ───┘   (text of cpt_general.jsonl up to its share of the tokens)

LoRA is merged into the unquantised weights at the end, so that later stages start from a whole model either way.
"""

import math
import random
from pathlib import Path

from data_builders.core.table import general_rows
from data_builders.sources.reader import count_tokens
from recipes.artifacts.forecasts import Work
from recipes.base.errors import RecipeError
from recipes.base.jsonl import iterate_jsonl

VERSION = 1
GENERAL = "cpt_general.jsonl"
READS = {"data": ["cpt.jsonl", GENERAL]}
DOCUMENT_TOKENS = 400  # first guess, until the data exists
PILOT_BLOCKS = 24


def forecast(spec, counts: dict, runs: Path) -> Work:
    """The work, by the size that the builder foresees for its texts, in words, numbers and signs.

    Raises:
        RecipeError: there is less general text than `cpt.general_share` asks for, measured alike.
    """
    cpt, documents = spec.cpt, counts.get("cpt", 0)
    field = counts.get("cpt_tokens", documents * DOCUMENT_TOKENS)
    if "cpt_tokens" in counts and cpt.general_share:
        check_general(cpt, round(field * cpt.general_share / (1 - cpt.general_share)))
    tokens = round(field / (1 - cpt.general_share))
    return Work(
        rows=documents,
        steps=max(1, math.ceil(tokens * cpt.epochs / cpt.batch_tokens)),
        tokens=round(tokens * cpt.epochs),
        notes=f"{cpt.method}, {cpt.epochs:g} epochs",
    )


def check_general(cpt, wanted: int) -> None:
    """Raises RecipeError where the file of general text is short of so many words, numbers and signs."""
    file, found = general_rows(cpt), 0
    for row in iterate_jsonl(file):
        turns = [] if "text" in row else row["prompt"] + row["completion"]
        found += sum(map(count_tokens, [turn["content"] for turn in turns] or [row["text"]]))
        if found >= wanted:
            return
    raise too_little(cpt, file, f"{found:,} words, numbers and signs", f"{wanted:,}")


def too_little(cpt, file: Path, got: str, wanted: str) -> RecipeError:
    return RecipeError(
        "there is too little general text",
        where=str(file),
        got=got,
        allowed=f"{wanted} for cpt.general_share = {cpt.general_share}",
        fix="lower cpt.general_share, or name a larger file in cpt.general",
    )


def run(spec, inputs: dict[str, Path], out: Path, runtime) -> dict:
    """Train on inputs["data"]/cpt.jsonl; writes model/ and training.jsonl.

    Raises:
        RecipeError: no text, too little general text for `cpt.general_share`, or a loss that is not a number.
    """
    from recipes.models import loader, training, vision_tower

    tokenizer = loader.load_tokenizer(spec.model)
    blocks, told = read_blocks(spec, tokenizer, inputs["data"])
    with runtime.bar("cpt", 0, "steps") as bar:
        trainer = make_trainer(spec, blocks, tokenizer, out)
        trainer.add_callback(training.Watch(bar, "cpt"))
        with vision_tower.untouched(trainer.model, spec.model.vision):
            seconds = training.train(trainer, out)
    save(spec, trainer.model, tokenizer, out)
    history = training.write_history(
        trainer,
        out,
        {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm", "num_tokens": "tokens"},
    )
    training.forget_checkpoints(out)
    tokens = round(sum(map(len, blocks)) * spec.cpt.epochs)
    return {
        **told,
        "blocks": len(blocks),
        "steps": trainer.state.global_step,
        "tokens": tokens,
        "train_seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds),
        "final_loss": history[-1]["loss"] if history else None,
    }


def read_blocks(spec, tokenizer, data: Path) -> tuple[list[list[int]], dict]:
    """(blocks of token ids, {"rows": texts, "field_tokens", "general_tokens"}) of the field's and the general text."""
    from recipes.models.training import read_rows

    file = data / "cpt.jsonl"
    own = tokenised(tokenizer, read_rows(file) if file.is_file() else [])
    if not own:
        raise RecipeError(
            "there is no text to learn",
            where=str(file),
            got="no rows" if file.is_file() else "no such file",
            allowed="one row with text a line",
            fix="drop the [cpt] table, or see ledger.jsonl beside it for why texts were dropped",
        )
    field = sum(map(len, own))
    general = []
    if spec.cpt.general_share:
        wanted = round(field * spec.cpt.general_share / (1 - spec.cpt.general_share))
        general = general_text(spec, tokenizer, data / GENERAL, wanted)
    blocks = joined(own + general, spec.cpt.max_length, spec.seed)
    return blocks, {"rows": len(own), "field_tokens": field, "general_tokens": sum(map(len, general))}


def general_text(spec, tokenizer, file: Path, wanted: int) -> list[list[int]]:
    """General texts of `wanted` tokens in all, the last one cut; in an order drawn by the seed."""
    from recipes.models.training import read_rows

    taken: list[list[int]] = []
    texts = tokenised(tokenizer, read_rows(file))
    random.Random(spec.seed).shuffle(texts)
    for ids in texts:
        if wanted <= 0:
            return taken
        taken.append(ids[:wanted])
        wanted -= len(ids)
    if wanted > 0:
        found = sum(map(len, texts))
        raise too_little(spec.cpt, file, f"{found:,} tokens", f"{found + wanted:,} tokens")
    return taken


def tokenised(tokenizer, rows: list[dict]) -> list[list[int]]:
    """Token ids of each row's text, closed by the end token; of a row of chat turns, as the chat template writes it."""
    texts = [
        row["text"] + tokenizer.eos_token
        if "text" in row
        else tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
        for row in rows
    ]
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def joined(texts: list[list[int]], size: int, seed: int) -> list[list[int]]:
    """The texts in an order drawn by the seed, one behind the other, cut into blocks of `size`; the last is shorter.

    No token is left out.
    """
    texts = list(texts)
    random.Random(seed).shuffle(texts)
    stream = [token for ids in texts for token in ids]
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def make_trainer(spec, blocks: list[list[int]], tokenizer, out: Path):
    """TRL's SFTTrainer over blocks of tokens, with cpt.batch_tokens tokens a step."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer

    from recipes.models import loader, training, vision_tower

    cpt = spec.cpt
    base = loader.load_base(spec.model, training=True)
    vision_tower.freeze(base, spec.model.vision)
    if cpt.method == "full":
        base = loader.every_weight(base, spec.model)
    per_step = max(1, min(len(blocks), round(cpt.batch_tokens / cpt.max_length)))
    set_seed(spec.seed)
    arguments = SFTConfig(**training.text_arguments(cpt, per_step, cpt.max_length, spec.seed, out))
    lora = LoraConfig(
        r=cpt.rank,
        lora_alpha=cpt.alpha,
        target_modules=vision_tower.adapter_targets(base, cpt.target, spec.model.vision),
        task_type="CAUSAL_LM",
    )
    return training.build(
        SFTTrainer,
        base,
        args=arguments,
        train_dataset=Dataset.from_dict({"input_ids": blocks}),
        processing_class=tokenizer,
        peft_config=lora if cpt.method == "lora" else None,
    )


def save(spec, model, tokenizer, out: Path) -> None:
    """Write model/: the trained weights, or the unquantised base with the adapter merged into it."""
    from recipes.models import loader, training

    if spec.cpt.method == "lora":
        adapter = out / training.CHECKPOINTS / "adapter"
        model.save_pretrained(str(adapter))
        plain = spec.model.model_copy(update={"quantization": "none"})
        model = loader.load_reached(plain, adapter).merge_and_unload()
    loader.stop_with(tokenizer, model)
    training.save_result(model, out / "model")
    tokenizer.save_pretrained(str(out / "model"))


def pilot(spec, inputs: dict[str, Path], runtime) -> float:
    """Training tokens per second of this model here, from a few steps on the first blocks (made-up ones before there
    are any)."""
    import tempfile
    import time

    from recipes.models import loader

    tokenizer = loader.load_tokenizer(spec.model)
    if "data" in inputs:
        blocks, _ = read_blocks(spec, tokenizer, inputs["data"])
    else:
        made_up = [{"text": "How far is it from here to there? It is near. " * 40}] * PILOT_BLOCKS
        blocks = joined(tokenised(tokenizer, made_up), spec.cpt.max_length, 0)
    blocks = blocks[:PILOT_BLOCKS]
    short = spec.model_copy(update={"cpt": spec.cpt.model_copy(update={"epochs": 1.0})})
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(short, blocks, tokenizer, Path(folder))
        trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return sum(map(len, blocks)) / (time.monotonic() - began)
