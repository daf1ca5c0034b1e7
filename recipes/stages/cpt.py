"""Continued pre-training on running text through TRL's SFTTrainer: every token is learnt.

cpt.jsonl ─┐
           ├─► shuffled, each text closed by the document token, joined ──► blocks of max_length tokens ──► model/
general ───┘   (general text without test items, up to its share of the tokens)

LoRA is merged into the unquantised weights at the end, so that later stages start from a whole model either way.
"""

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.decontamination import remove_test_items
from data_builders.core.leaks import compare_row
from data_builders.core.ledger import Ledger
from data_builders.core.table import general_rows
from data_builders.sources.reader import count_tokens
from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, start
from recipes.artifacts.memory import Need, count_pass
from recipes.base.errors import RecipeError
from recipes.base.general_rows import iterate_general_rows, read_general_rows
from recipes.base.jsonl import read_jsonl
from recipes.config.conflicts import Conflict, Scope, find_training_conflicts
from recipes.config.schema import Training
from recipes.config.slots import Method, module_of, name_of, one_of

VERSION = 4
PLACE = 20
LEAVES = "model"
CHATS = True  # its base is asked in chat turns
COMPARES = True  # rows with the test items
MERGES = True  # what follows starts from a whole model
TITLE = "Continued pre-training"
DOCUMENT_TOKENS = 400  # first guess, until the data exists
PILOT_BLOCKS = 24


class Config(Training):
    """Continued pre-training: every token of running text is learnt. It leaves a whole model: an adapter is
    merged at the end (arXiv 2408.15545)."""

    adapter: SerializeAsAny[Method] = one_of("adapters", "full")
    epochs: float = Field(1.0, gt=0, description="passes over the text")
    learning_rate: float = Field(1e-5, gt=0, le=1, description="peak of the schedule")
    max_length: int = Field(2048, ge=8, description="tokens of a block; texts are joined and cut into blocks")
    batch_tokens: int = Field(65536, ge=1, description="tokens per optimizer step")
    weight_decay: float = Field(0.1, ge=0, le=1, description="AdamW, per step, times the learning rate")
    general: str = Field(
        "embedded",
        pattern=r"^(embedded|[./~].*)$",
        examples=["embedded"],
        description='"embedded", or a file (./x, /x, ~/x) of rows with text or with a question and a reply: strings, '
        "text, as in sft.jsonl, messages, ShareGPT, Alpaca, question and answer; JSONL, JSON or CSV",
    )
    general_share: float = Field(0.0, ge=0, lt=1, description="share of the tokens that are general text; paper: 0.465")

    @property
    def files(self) -> dict[str, Path]:
        """Files from outside that decide the result."""
        return {"general": general_rows(self)} if self.general_share else {}


CONFLICTS = [
    ("cpt.batch_tokens=100", "cpt.batch_tokens"),
    ("model.quantization=nf4 cpt.epochs=1", "model.quantization"),
    ("cpt.adapter.use=loramoe", "cpt.adapter"),
]


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """An adapter of this stage has to be mergeable."""
    yield from find_training_conflicts(own, scope)
    if not getattr(module_of(own.adapter), "MERGEABLE", True):
        reason = f"{name_of(own.adapter)} cannot be merged, and this stage leaves a whole model"
        yield scope.conflict("adapter", reason, 'use = "full" or "lora"')


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"rows": ["cpt.jsonl", *(["test.jsonl"] if spec.cpt.general_share else [])], "models": MODEL_FILES}


def name_rows(spec: Any) -> str:
    """Stem of the file of rows that the step learns."""
    return "cpt"


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
        notes=f"{name_of(cpt.adapter)}, {cpt.epochs:g} epochs",
    )


def describe_need(own: Config, adapter: Method) -> Need:
    """What a pass over whole blocks holds."""
    tokens = count_pass(own, padding=1.0)
    return Need(adapter=adapter, tokens=tokens, smaller="micro_batch=1", least=own.max_length)


def check_general(cpt, wanted: int) -> None:
    """Raises RecipeError where the file of general text is short of so many words, numbers and signs."""
    file, found = general_rows(cpt), 0
    for row in iterate_general_rows(file, texts=True):
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
    if told.get("general_read"):
        runtime.say(f"{spec.cpt.general}: {told['general_read']}")
    with runtime.bar("cpt", 0, "steps") as bar:
        trainer = make_trainer(spec, load_start(spec, inputs, training=True), blocks, tokenizer, out)
        trainer.add_callback(training.Watch(bar, "cpt"))
        with vision_tower.untouched(trainer.model, spec.model.vision):
            seconds = training.train(trainer, out)
    save(spec, inputs, trainer.model, tokenizer, out)
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
    general, read = [], ""
    if spec.cpt.general_share:
        wanted = round(field * spec.cpt.general_share / (1 - spec.cpt.general_share))
        general, read = general_text(spec, tokenizer, data / "test.jsonl", wanted)
    blocks = joined(own + general, spec.cpt.max_length, spec.seed)
    told = {"rows": len(own), "field_tokens": field, "general_tokens": sum(map(len, general))}
    return blocks, told | ({"general_read": read} if read else {})


def general_text(spec: Any, tokenizer: Any, tests: Path, wanted: int) -> tuple[list[list[int]], str]:
    """(general texts of `wanted` tokens in all, the last one cut, in an order drawn by the seed; how they were read)

    Rows that hold an item of the recipe's own test, in the file `tests`, or of one from outside are left out.
    """
    file, taken = general_rows(spec.cpt), []
    rows, counts = read_general_rows(file, texts=True)
    own = [compare_row(row) for row in read_jsonl(tests)] if tests.is_file() else []
    ledger = Ledger()
    rows, _ = remove_test_items(rows, own, read_benchmarks(getattr(spec, "benchmarks", ())), ledger, "general")
    counts.left_out.update(ledger.dropped.get("general", {}))
    texts = tokenised(tokenizer, rows)
    random.Random(spec.seed).shuffle(texts)
    for ids in texts:
        if wanted <= 0:
            return taken, counts.describe()
        taken.append(ids[:wanted])
        wanted -= len(ids)
    if wanted > 0:
        found = sum(map(len, texts))
        raise too_little(spec.cpt, file, f"{found:,} tokens", f"{found + wanted:,} tokens")
    return taken, counts.describe()


def tokenised(tokenizer, rows: list[dict]) -> list[list[int]]:
    """Token ids of each row's text, closed by the token that ends a document in what the base has read; of a row of
    chat turns those of the conversation, up to the token that ends its reply."""
    from recipes.models.chat_form import chat_form_of
    from recipes.models.learnt_rows import encode_rows

    end = chat_form_of(tokenizer).document_end
    texts = [row["text"] + end for row in rows if "text" in row]
    documents = iter(tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
    chats = iter(encode_rows(tokenizer, [row for row in rows if "text" not in row]))
    return [next(documents) if "text" in row else [*itertools.chain(*next(chats))] for row in rows]


def joined(texts: list[list[int]], size: int, seed: int) -> list[list[int]]:
    """The texts in an order drawn by the seed, one behind the other, cut into blocks of `size`; the last is shorter.

    No token is left out.
    """
    texts = list(texts)
    random.Random(seed).shuffle(texts)
    stream = [token for ids in texts for token in ids]
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def make_trainer(spec: Any, base: Any, blocks: list[list[int]], tokenizer: Any, out: Path) -> Any:
    """TRL's SFTTrainer over blocks of tokens, with cpt.batch_tokens tokens a step."""
    from datasets import Dataset
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer

    from recipes.models import loader, training, vision_tower

    cpt = spec.cpt
    vision_tower.freeze(base, spec.model.vision)
    if name_of(cpt.adapter) == "full":
        base = loader.every_weight(base, spec.model)
    target = vision_tower.adapter_targets(base, getattr(cpt.adapter, "target", ("all-linear",)), spec.model.vision)
    per_step = max(1, min(len(blocks), round(cpt.batch_tokens / cpt.max_length)))
    set_seed(spec.seed)
    arguments = SFTConfig(**training.text_arguments(cpt, per_step, cpt.max_length, spec.seed, out))
    return training.build(
        SFTTrainer,
        base,
        args=arguments,
        train_dataset=Dataset.from_dict({"input_ids": blocks}),
        processing_class=tokenizer,
        peft_config=module_of(cpt.adapter).make_config(cpt.adapter, target),
    )


def load_start(spec: Any, inputs: dict[str, Path], training: bool) -> Any:
    """The base, or what earlier steps made of it; their adapter is merged into it."""
    from recipes.models import loader

    whole, adapter = start(spec.model, inputs)
    model = loader.load_reached(whole, adapter, training=training)
    return model if adapter is None else model.merge_and_unload()


def save(spec: Any, inputs: dict[str, Path], model: Any, tokenizer: Any, out: Path) -> None:
    """Write model/: the trained weights, or the unquantised base with the adapter merged into it."""
    from recipes.models import loader, training

    if name_of(spec.cpt.adapter) != "full":
        adapter = out / training.CHECKPOINTS / "adapter"
        model.save_pretrained(str(adapter))
        plain = spec.model_copy(update={"model": spec.model.model_copy(update={"quantization": "none"})})
        model = loader.load_adapters(load_start(plain, inputs, training=False), {"default": adapter}).merge_and_unload()
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
        trainer = make_trainer(short, load_start(spec, inputs, training=True), blocks, tokenizer, Path(folder))
        trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return sum(map(len, blocks)) / (time.monotonic() - began)
