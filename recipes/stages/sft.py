"""Supervised fine-tuning on assistant tokens through TRL's SFTTrainer: LoRA through peft, or every weight.

sft.jsonl ──► chat template ──► micro-batches of like length (CPU) or packed sequences (flash attention) ──► adapter/
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, start
from recipes.artifacts.memory import Need, count_pass, count_references
from recipes.base.errors import RecipeError
from recipes.config.conflicts import Conflict, Scope, find_training_conflicts
from recipes.config.schema import Training
from recipes.config.slots import Method, many_of, module_of, name_of, one_of

VERSION = 4
PLACE = 40
LEAVES = "model"
CHATS = True  # its base is asked in chat turns
TITLE = "Supervised tuning"
HISTORY = {
    "loss": "loss",
    "mean_token_accuracy": "token_accuracy",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "num_tokens": "tokens",
    "ce": "cross_entropy",
}
ROW_TOKENS = 110  # guess of a row's length where nothing is known of it
# Sub-words and marks of the chat template for each word, number and sign of a row, with the embedded tokenizer on the
# sft rows of the shipped recipes under profile embedded: together 1.41; analogseeker 1.27, reft 1.36, glan 1.37,
# scilitllm 1.47, vsllava 1.66. Images come on top.
SUBWORDS = 1.41
PILOT_ROWS = 96


class Config(Training):
    """Supervised fine-tuning on assistant tokens."""

    rows: str = Field("sft", pattern=r"^[a-z_]+$", description="stem of the file of rows that is learnt")
    adapter: SerializeAsAny[Method] = one_of("adapters", "lora")
    losses: dict[str, SerializeAsAny[Method]] = many_of("losses")
    over_length: Literal["auto", "error", "drop", "cut"] = Field(
        "auto",
        description="rows of more than max_length tokens: refused, left out, or cut at the end of the reply; auto: "
        "left out where a teacher was paid for them, else refused",
    )
    packing: bool = Field(
        True, description="several rows in one sequence where attention can tell them apart (flash attention)"
    )

    @property
    def decisive(self) -> set[str]:
        """Fields of execution that decide the result after all."""
        over = any(getattr(loss, "over_micro_batches", False) for loss in self.losses.values())
        return {"micro_batch", "micro_tokens"} if over else set()


CONFLICTS = [
    ("sft.max_length=8192", "sft.batch_tokens"),
    ("steps.data.use=data steps.first.use=sft steps.sft.use=sft steps.first.adapter.init=pissa", "sft.adapter"),
    ("steps.data.use=data steps.first.use=sft steps.sft.use=sft steps.first.adapter.rank=4", "sft.adapter"),
]


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """An adapter that is trained on keeps its form."""
    yield from find_training_conflicts(own, scope)
    before = scope.adapter_before()
    if before is None:
        return
    theirs = before.settings.adapter
    if any(getattr(adapter, "init", "") == "pissa" for adapter in (theirs, own.adapter)):
        reason = f"PiSSA starts an adapter of its own, which this step and {before.name} cannot share"
        yield scope.conflict("adapter", reason, '"zero" in both')
    elif form_of(theirs) != form_of(own.adapter):
        yield scope.conflict(
            "adapter",
            f"the adapter of the step {before.name} is trained on, so it has to be of the same form",
            f"the same as {before.place}.adapter",
            {key: value for key, value in form_of(own.adapter).items() if form_of(theirs).get(key) != value},
            f'or {before.place}.adapter.use = "full"',
        )


def form_of(adapter: Method) -> dict[str, Any]:
    """What has to be equal of two steps that train one adapter: all but how fast it learns."""
    return adapter.model_dump(mode="json", exclude={"use", "lora_plus"}) | {"use": name_of(adapter)}


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"rows": [f"{spec.sft.rows}.jsonl"], "models": MODEL_FILES}


def name_rows(spec: Any) -> str:
    """Stem of the file of rows that the step learns."""
    return spec.sft.rows


def steps_of(rows: int, mean_tokens: float, sft) -> tuple[int, int]:
    """(rows of a step, steps in all) for `sft.batch_tokens` real tokens a step."""
    per_step = max(1, min(rows, round(sft.batch_tokens / mean_tokens)))
    return per_step, max(1, math.ceil(math.ceil(rows / per_step) * sft.epochs))


def forecast(spec, counts: dict, runs: Path) -> Work:
    rows, length = counts.get(spec.sft.rows, 0), row_tokens(spec.sft.rows, counts)
    _, steps = steps_of(rows, length, spec.sft)
    return Work(
        rows=rows,
        steps=steps,
        tokens=round(rows * length * spec.sft.epochs),
        notes=f"{name_of(spec.sft.adapter)}, {spec.sft.epochs:g} epochs",
    )


def describe_need(own: Config, adapter: Method) -> Need:
    """What a pass holds; a reference model is a copy where every weight learns."""
    return Need(
        adapter=adapter,
        tokens=count_pass(own),
        reference=count_references(own.losses.values(), adapter),
        smaller=f"micro_tokens={own.max_length}",
        least=own.max_length,
    )


def row_tokens(rows: str, counts: dict) -> float:
    """Mean tokens of a row of that file: from the words of the data card, which counts the builder's own sft rows
    alone."""
    own = counts.get("sft", 0) - counts.get("general_rows", 0)
    return SUBWORDS * counts["tokens"] / own if rows == "sft" and own and counts.get("tokens") else ROW_TOKENS


def run(spec, inputs: dict[str, Path], out: Path, runtime) -> dict:
    """Train on the rows that the data stage left; writes adapter/ (or model/ for the full method) and training.jsonl.

    Raises:
        RecipeError: no rows, rows longer than `sft.max_length` where `over_length` refuses them, images that this model
            or machine cannot read, or a loss that is not a number.
    """
    from datasets import Dataset

    from recipes.models import loader, training, vision, vision_tower
    from recipes.models.learnt_rows import make_examples
    from recipes.models.row_lengths import describe_lengths, fit_rows

    file = inputs["data"] / f"{spec.sft.rows}.jsonl"
    rows = training.read_rows(file) if file.is_file() else []
    if not rows:
        raise RecipeError(
            "there is nothing to train on",
            where=str(file),
            got="0 rows" if file.is_file() else "no such file; this builder makes none",
            allowed="at least one",
            fix="see ledger.jsonl beside it for why rows were dropped",
        )
    if without := [row.get("id", "?") for row in rows if "completion" not in row]:
        raise RecipeError(
            "these rows hold no reply to learn",
            where=str(file),
            got=f"{len(without)} of {len(rows)} rows without a completion, such as {without[0]}",
            allowed="rows with prompt and completion, as sft.jsonl and sft_general.jsonl have them",
            fix="name another file in sft.rows; test items and prompts of reinforcement are not for learning",
        )
    reader = vision.load_reader(spec.model, rows)
    examples, lengths = make_examples(reader, rows)
    examples, lengths, fitted = fit_rows(rows, examples, lengths, spec.sft.max_length, spec.sft.over_length, "sft", out)
    if told := describe_lengths(fitted, "sft"):
        runtime.say(f"sft: {told}")
    dataset = Dataset.from_list(examples)
    whole, _ = start(spec.model, inputs)
    with runtime.bar(spec.sft.rows, 0, "steps") as bar:
        base = load_start(spec, inputs)
        trainer = make_trainer(spec, base, reader, dataset, sum(lengths) / len(lengths), out, max(lengths))
        trainer.add_callback(training.Watch(bar, spec.sft.rows))
        begun = training.keep_start(trainer.model, out) if changes_base(spec.sft.adapter) else None
        with vision_tower.untouched(trainer.model, spec.model.vision):
            seconds = training.train(trainer, out)
    target = out / ("adapter" if hasattr(trainer.model, "peft_config") else "model")
    training.save_result(trainer.model, target, begun, whole)
    if target.name == "model":
        reader.save_pretrained(str(target))
    kept = HISTORY | {
        key: ours for loss in spec.sft.losses.values() for key, ours in getattr(module_of(loss), "HISTORY", {}).items()
    }
    history = training.write_history(trainer, out, kept)
    tokens = round(sum(lengths) * spec.sft.epochs)
    training.forget_checkpoints(out)
    return {
        "rows": len(examples),
        **fitted,
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
    from recipes.models.sft_trainer import LossTrainer

    sft = spec.sft
    packed = (
        sft.packing
        and not any(getattr(loss, "unpacked", False) for loss in sft.losses.values())
        and "images" not in dataset.column_names
        and loader.choose_attention(spec.model, training=True) == "flash_attention_2"
    )
    per_step, _ = steps_of(len(dataset), mean_tokens, sft)
    learning = training.text_arguments(sft, per_step, longest or sft.max_length, spec.seed, out)
    if packed:  # one sequence at a time
        steps = max(1, round(sft.batch_tokens / sft.max_length))
        learning |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": steps}
    target = vision_tower.adapter_targets(base, getattr(sft.adapter, "target", ("all-linear",)), spec.model.vision)
    adapter = None if hasattr(base, "peft_config") else module_of(sft.adapter).make_config(sft.adapter, target)
    whole = adapter is None and not hasattr(base, "peft_config")
    if whole:
        base = loader.every_weight(base, spec.model)
    vision_tower.freeze(base, spec.model.vision)
    set_seed(spec.seed)
    arguments = SFTConfig(
        **learning,
        packing=packed,
        completion_only_loss=True,
        train_sampling_strategy="random" if packed else "group_by_length",
    )
    return training.build(
        LossTrainer,
        base,
        args=arguments,
        train_dataset=dataset,
        processing_class=reader,
        peft_config=adapter,
        losses=make_losses(sft, base, whole),
        b_rate=getattr(sft.adapter, "lora_plus", 1.0),
    )


def changes_base(adapter: Method) -> bool:
    """Whether an adapter's start changes the base, so that what is saved has to be the change since."""
    module = module_of(adapter)
    return hasattr(module, "changes_base") and module.changes_base(adapter)


def make_losses(sft: Config, base: Any, whole: bool) -> list[Any]:
    """The terms that the recipe adds to the cross-entropy; `base` is the model before anything is trained."""
    from recipes.models.loss_protocol import LossContext

    context = LossContext(base, sft.adapter, whole)
    return [module_of(loss).make_loss(loss, context) for loss in sft.losses.values()]


def pilot(spec, inputs: dict[str, Path], runtime) -> float:
    """Training tokens per second of this model here, from a few steps on the first rows (made-up ones before there are
    any)."""
    import tempfile
    import time

    from datasets import Dataset

    from recipes.models import training, vision
    from recipes.models.learnt_rows import make_examples
    from recipes.models.row_lengths import fit_rows

    made_up = {
        "prompt": [{"role": "user", "content": "How far is it from here to there? " * 5}],
        "completion": [{"role": "assistant", "content": "It is near. " * 16}],
    }
    rows = [made_up] * PILOT_ROWS
    if "data" in inputs:
        rows = training.read_rows(inputs["data"] / f"{spec.sft.rows}.jsonl")[:PILOT_ROWS]
    reader = vision.load_reader(spec.model, rows)
    examples, lengths = make_examples(reader, rows)
    examples, lengths, _ = fit_rows(rows, examples, lengths, spec.sft.max_length, spec.sft.over_length, "sft")
    dataset = Dataset.from_list(examples)
    short = spec.model_copy(update={"sft": spec.sft.model_copy(update={"epochs": 1.0})})
    with tempfile.TemporaryDirectory() as folder:
        base = load_start(spec, inputs)
        trainer = make_trainer(short, base, reader, dataset, sum(lengths) / len(lengths), Path(folder), max(lengths))
        trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return sum(lengths) / (time.monotonic() - began)
