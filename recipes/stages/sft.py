"""Supervised fine-tuning on assistant tokens through TRL's SFTTrainer: LoRA through peft, or every weight.

sft.jsonl ──► chat template ──► micro-batches of like length (CPU) or packed sequences (flash attention) ──► adapter/
"""

import math
from pathlib import Path

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import reads_models, start
from recipes.base.errors import RecipeError
from recipes.config.schema import WORLD

VERSION = 2
READS = {"data": ["{rows}.jsonl"]} | reads_models("sft")  # {rows}: sft, or sft_general for that stage
ROW_TOKENS = 110  # guess of a row's length where nothing is known of it
# Sub-words and marks of the chat template for each word, number and sign of a row, with the embedded tokenizer on the
# sft rows of the shipped recipes under profile embedded: together 1.41; analogseeker 1.27, reft 1.36, glan 1.37,
# scilitllm 1.47, vsllava 1.66. Images come on top.
SUBWORDS = 1.41
PILOT_ROWS = 96


def steps_of(rows: int, mean_tokens: float, sft) -> tuple[int, int]:
    """(rows of a step, steps in all) for `sft.batch_tokens` real tokens a step."""
    per_step = max(1, min(rows, round(sft.batch_tokens / mean_tokens)))
    return per_step, max(1, math.ceil(math.ceil(rows / per_step) * sft.epochs))


def forecast(spec, counts: dict, runs: Path) -> Work:
    rows, length = counts.get(spec.rows, 0), row_tokens(spec.rows, counts)
    _, steps = steps_of(rows, length, spec.sft)
    return Work(
        rows=rows,
        steps=steps,
        tokens=round(rows * length * spec.sft.epochs),
        notes=f"{spec.sft.method}, {spec.sft.epochs:g} epochs",
    )


def row_tokens(rows: str, counts: dict) -> float:
    """Mean tokens of a row of that file: from the words of the data card, which counts the builder's own sft rows
    alone."""
    own = counts.get("sft", 0) - counts.get("general_rows", 0)
    return SUBWORDS * counts["tokens"] / own if rows == "sft" and own and counts.get("tokens") else ROW_TOKENS


def run(spec, inputs: dict[str, Path], out: Path, runtime) -> dict:
    """Train on the rows that the data stage left; writes adapter/ (or model/ for the full method) and training.jsonl.

    Raises:
        RecipeError: no rows, a row longer than `sft.max_length`, images that this model or machine cannot read, or a
            loss that is not a number.
    """
    from datasets import Dataset

    from recipes.models import loader, training, vision, vision_tower

    file = inputs["data"] / f"{spec.rows}.jsonl"
    rows = training.read_rows(file) if file.is_file() else []
    if not rows:
        raise RecipeError(
            "there is nothing to train on",
            where=str(file),
            got="0 rows" if file.is_file() else "no such file; this builder makes none",
            allowed="at least one",
            fix="see ledger.jsonl beside it for why rows were dropped",
        )
    reader = vision.load_reader(spec.model, rows)
    lengths = lengths_of(reader, rows)
    too_long = [row["id"] for row, length in zip(rows, lengths, strict=True) if length > spec.sft.max_length]
    if too_long:
        raise RecipeError(
            "rows are longer than the model is given",
            where=f"{spec.rows}.max_length",
            got=f"{len(too_long)} of {len(rows)} rows, the longest {max(lengths)} tokens, such as {too_long[0]}",
            allowed=f"at most {spec.sft.max_length} tokens",
            fix=f"--set {spec.rows}.max_length={max(lengths)}, or shorten the rows in the builder",
        )
    dataset = Dataset.from_list(vision.with_images([columns(row) for row in rows], rows, lengths))
    with runtime.bar(spec.rows, 0, "steps") as bar:
        base = load_start(spec, inputs)
        trainer = make_trainer(spec, base, reader, dataset, sum(lengths) / len(lengths), out, max(lengths))
        trainer.add_callback(training.Watch(bar, spec.rows))
        start = training.keep_start(trainer.model, out) if spec.sft.init == "pissa" else None
        with vision_tower.untouched(trainer.model, spec.model.vision):
            seconds = training.train(trainer, out)
    target = out / ("model" if spec.sft.method == "full" else "adapter")
    training.save_result(trainer.model, target, start)
    if spec.sft.method == "full":
        reader.save_pretrained(str(target))
    history = training.write_history(
        trainer,
        out,
        {
            "loss": "loss",
            "mean_token_accuracy": "token_accuracy",
            "learning_rate": "learning_rate",
            "grad_norm": "grad_norm",
            "num_tokens": "tokens",
            "ce": "cross_entropy",
            "kl/mean": "kl",
            "balance/loss": "balance",
            "balance/matched_0": "own_share",
            "balance/matched_1": "general_share",
            "balance/entropy": "router_entropy",
        },
    )
    tokens = round(sum(lengths) * spec.sft.epochs)
    training.forget_checkpoints(out)
    return {
        "rows": len(rows),
        "steps": trainer.state.global_step,
        "tokens": tokens,
        "train_seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds),
        "final_loss": history[-1]["loss"] if history else None,
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "attention": loader.choose_attention(spec.model, training=True),
        "bf16": loader.fast_bf16(),
    }


def load_start(spec, inputs: dict[str, Path]):
    """What training starts from: the base, what `cpt` made of it, or the adapter of a first supervised stage."""
    from recipes.models import loader

    return loader.load_reached(*start(spec.model, inputs), training=True, trainable=True)


def make_trainer(spec, base, reader, dataset, mean_tokens: float, out: Path, longest: int | None = None):
    """TRL's SFTTrainer for the recipe.

    `reader` is the tokenizer, or the processor where rows have images; `longest` are the tokens of the longest row,
    `max_length` where it is not given.

    Where attention can tell packed rows apart rows are packed, unless they have images; elsewhere rows of like length
    share a micro-batch, the longest first, so that a model that will not fit fails at once.
    """
    from transformers import set_seed
    from trl import SFTConfig

    from recipes.models import loader, training, vision_tower
    from recipes.models.loss_trainer import TermTrainer

    sft = spec.sft
    packed = (
        sft.packing
        and sft.balance.weight == 0
        and "images" not in dataset.column_names
        and loader.choose_attention(spec.model, training=True) == "flash_attention_2"
    )
    per_step, _ = steps_of(len(dataset), mean_tokens, sft)
    learning = training.text_arguments(sft, per_step, longest or sft.max_length, spec.seed, out)
    if packed:  # one sequence at a time
        steps = max(1, round(sft.batch_tokens / sft.max_length))
        learning |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": steps}
    if sft.method == "full":
        base = loader.every_weight(base, spec.model)
    vision_tower.freeze(base, spec.model.vision)
    target = vision_tower.adapter_targets(base, sft.target, spec.model.vision)
    set_seed(spec.seed)
    arguments = SFTConfig(
        **learning,
        packing=packed,
        completion_only_loss=True,
        train_sampling_strategy="random" if packed else "group_by_length",
    )
    return training.build(
        TermTrainer,
        base,
        args=arguments,
        train_dataset=dataset,
        processing_class=reader,
        peft_config=None if hasattr(base, "peft_config") else adapter_config(sft, target),
        terms=terms(sft, base),
        b_rate=sft.lora_plus,
    )


def adapter_config(sft, target: str | list[str]):
    """peft's configuration of the adapter that `[sft]` asks for, on the modules `target`; None where every weight
    learns."""
    from peft import LoraConfig

    if sft.method == "full":
        return None
    if sft.method == "loramoe":
        from recipes.models.loramoe.config import LoraMoeConfig

        return LoraMoeConfig(
            r=sft.rank,
            lora_alpha=sft.alpha,
            dropout=sft.dropout,
            target_modules=target,
            num_experts=sft.experts.count,
            expert_types=expert_types(sft.experts),
            top_k=sft.experts.top_k,
            task_type="CAUSAL_LM",
        )
    return LoraConfig(
        r=sft.rank,
        lora_alpha=sft.alpha,
        lora_dropout=sft.dropout,
        target_modules=target,
        init_lora_weights="pissa" if sft.init == "pissa" else True,
        use_dora=sft.dora,
        use_rslora=sft.rslora,
        task_type="CAUSAL_LM",
    )


def terms(sft, base) -> list:
    """What the recipe adds to the cross-entropy; `base` is the model before anything is trained."""
    added = []
    if sft.kl_weight > 0:
        from copy import deepcopy

        from recipes.methods.losses.kl_to_reference import Neighbourhood, check_head

        check_head(base)
        added.append(Neighbourhood(sft.kl_weight, sft.kl_direction, deepcopy(base) if sft.method == "full" else None))
    if sft.balance.weight > 0:
        from recipes.methods.losses.expert_balance import Balance

        added.append(Balance(expert_types=expert_types(sft.experts), **sft.balance.model_dump()))
    return added


def expert_types(experts) -> list[int]:
    """Type of each expert, as of the rows: 1 for general ones, 0 for the recipe's own."""
    return [1] * experts.general + [0] * (experts.count - experts.general)


def columns(row: dict) -> dict:
    """What the trainer gets of a row."""
    return {
        "prompt": row["prompt"],
        "completion": row["completion"],
        "sample_type": int(row.get("kind") == WORLD),
    }


def pilot(spec, inputs: dict[str, Path], runtime) -> float:
    """Training tokens per second of this model here, from a few steps on the first rows (made-up ones before there are
    any)."""
    import tempfile
    import time

    from datasets import Dataset

    from recipes.models import training, vision

    made_up = {
        "prompt": [{"role": "user", "content": "How far is it from here to there? " * 5}],
        "completion": [{"role": "assistant", "content": "It is near. " * 16}],
    }
    rows = [made_up] * PILOT_ROWS
    if "data" in inputs:
        rows = training.read_rows(inputs["data"] / f"{spec.rows}.jsonl")[:PILOT_ROWS]
    reader = vision.load_reader(spec.model, rows)
    lengths = lengths_of(reader, rows)
    dataset = Dataset.from_list(vision.with_images([columns(row) for row in rows], rows, lengths))
    short = spec.model_copy(update={"sft": spec.sft.model_copy(update={"epochs": 1.0})})
    with tempfile.TemporaryDirectory() as folder:
        base = load_start(spec, {name: folder for name, folder in inputs.items() if name != "data"})
        trainer = make_trainer(short, base, reader, dataset, sum(lengths) / len(lengths), Path(folder), max(lengths))
        trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return sum(lengths) / (time.monotonic() - began)


def lengths_of(reader, rows: list[dict]) -> list[int]:
    """Tokens of every row, as the chat template writes it, those of its images included."""
    from recipes.models import vision

    if vision.shown(rows):
        return vision.lengths_of(reader, rows)
    texts = [reader.apply_chat_template(row["prompt"] + row["completion"], tokenize=False) for row in rows]
    return [len(ids) for ids in reader(texts, add_special_tokens=False)["input_ids"]]
