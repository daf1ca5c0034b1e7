"""What the training stages share.

Common trainer arguments, progress, the watch over the loss, resume from the last checkpoint.
"""

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import trl.trainer.utils
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from recipes.base.errors import RecipeError
from recipes.base.hashing import sample_digest
from recipes.base.jsonl import iterate_jsonl
from recipes.config.schema import Model
from recipes.models.base_files import note_base
from recipes.models.loader import device, fast_bf16

CHECKPOINTS = "checkpoints"
SEAL = "whole.json"  # written last into a checkpoint
SAVE_SECONDS = 300  # at most so much training is lost, whatever save_steps says


def common_arguments(table, seed: int, out: Path) -> dict:
    """Arguments of every TRL config: where and how often to save and log, precision, seeds; no trackers, no downloads.

    `table` is the `[sft]` or `[rl]` table. On a CPU the model is small: activations are kept, and bf16 is used where
    the hardware has it.
    """
    small = device() == "cpu"
    if small:
        score_learnt_positions()
    return dict(
        output_dir=str(out / CHECKPOINTS),
        save_strategy="steps",
        save_steps=table.save_steps,
        save_total_limit=2,
        logging_steps=table.log_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        use_cpu=small,
        bf16=fast_bf16(),
        fp16=False,
        gradient_checkpointing=not small,
        learning_rate=table.learning_rate,
        dataloader_pin_memory=not small,
    )


def text_arguments(table, per_step: int, longest: int, seed: int, out: Path) -> dict:
    """Arguments of the stages that learn from given text. `table` is a `config.Training`, `per_step` the rows of an
    optimizer step, which are split into micro-batches of equal size, and `longest` the tokens of the longest row."""
    fitting = max(1, table.micro_tokens // longest) if table.micro_tokens else table.micro_batch
    accumulation = max(1, math.ceil(per_step / min(table.micro_batch, fitting)))
    return common_arguments(table, seed, out) | dict(
        num_train_epochs=table.epochs,
        per_device_train_batch_size=math.ceil(per_step / accumulation),
        gradient_accumulation_steps=accumulation,
        lr_scheduler_type=schedule(table.scheduler),
        warmup_steps=table.warmup_ratio,
        weight_decay=table.weight_decay,
        max_grad_norm=table.max_grad_norm,
        max_length=table.max_length,
    )


def schedule(name: str) -> str:
    """transformers' name of a `scheduler`. Its own "constant" leaves out the warm-up without a word."""
    return "constant_with_warmup" if name == "constant" else name


def read_rows(file: Path) -> list[dict]:
    """The rows of a JSONL file, one object a line; images, which lie in the file's folder, by their whole path."""
    rows = list(iterate_jsonl(file))
    for row in rows:
        if "images" in row:
            row["images"] = [str(file.parent / image) for image in row["images"]]
    return rows


def score_learnt_positions() -> None:
    """Let TRL's fused head score only the positions that are learnt from on a CPU too.

    Where there is no Triton it scores every position and weighs the prompt's with zero, so that devices that compile
    see tensors of one shape. A CPU compiles nothing; there it is a quarter of the work for rows of short replies.
    """
    trl.trainer.utils._use_triton = lambda device: True


class Watch(TrainerCallback):
    """Moves the progress bar, saves by time and when told to stop, and stops a run whose loss is no longer a number.

    No checkpoint is saved of the last step: transformers would go on from it with one step more; and what is written
    then is the result itself.

    Args:
        every: checkpoints fall on multiples of so many steps only: a rollout that several steps share is not in them.
    """

    def __init__(self, bar: Any, stage: str, every: int = 1):
        self.bar, self.stage, self.every = bar, stage, every
        self.rate_key = "reward" if stage == "rl" else "loss"
        self.stopping, self.saved = False, time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar.total = state.max_steps
        if state.global_step:
            self.bar.advance(state.global_step, f"resumed at step {state.global_step}")

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.advance(1)
        if state.global_step >= state.max_steps:
            control.should_save, control.should_log = False, True
        elif state.global_step % self.every == 0:
            stop, late = agree(self.stopping), agree(time.monotonic() - self.saved > SAVE_SECONDS)
            if stop or late:
                control.should_save = True
            if stop:
                self.stopping = control.should_training_stop = True

    def on_save(self, args, state, control, **kwargs):
        """Mark the checkpoint as whole, now that all of it is written."""
        self.saved = time.monotonic()
        if state.is_world_process_zero:
            seal(Path(args.output_dir or "") / f"checkpoint-{state.global_step}")

    def on_log(self, args, state, control, logs=None, **kwargs):
        for key in ("loss", "grad_norm"):
            value = (logs or {}).get(key)
            if value is not None and not math.isfinite(float(value)):
                raise RecipeError(
                    f"training diverged: {key} is {value}",
                    where=f"{self.stage}, step {state.global_step}",
                    got=f"learning rate {args.learning_rate}",
                    allowed="a finite loss",
                    fix=f"lower {self.stage}.learning_rate (a tenth, say) and run again; the stages before are kept",
                )
        if logs and self.rate_key in logs:
            self.bar.advance(0, f"{self.rate_key} {float(logs[self.rate_key]):.3f}")


def build(kind, model, **given):
    """`kind(model=model, **given)`, a trainer, whose adapter learns in float32 and which prints no dictionaries.

    TRL rounds an adapter on 4-bit weights to bf16, whose eight bits lose most steps of a learning rate of 1e-5 (see
    `models.every_weight`). An adapter that was there before gets the values back that it had; a new one, drawn by the
    trainer, stays the draw as it was rounded. Weights of a model without an adapter are the stage's own matter.
    """
    before = {id(weight): weight.data for weight in model.parameters() if weight.requires_grad}
    trainer = kind(model=model, **given)
    trainer.remove_callback(PrinterCallback)
    if hasattr(trainer.model, "peft_config"):
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.data = before.get(id(weight), weight.data).float()
    return trainer


def train(trainer: Any, out: Path) -> float:
    """Train to the end, from the last whole checkpoint where there is one; seconds spent in this process.

    SIGTERM and SIGUSR1, by which schedulers announce that time is up, end the step under way and save it.

    Raises:
        KeyboardInterrupt: a signal asked to stop, and the checkpoint is written.
    """
    began, checkpoint = time.monotonic(), last_checkpoint(out)
    if checkpoint is not None:
        trainer._total_train_tokens = tokens_seen(checkpoint)
    watches = [one for one in trainer.callback_handler.callbacks if isinstance(one, Watch)]
    with stop_at_signals(watches):
        trainer.train(resume_from_checkpoint=checkpoint)
    if any(watch.stopping for watch in watches) and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    return time.monotonic() - began


@contextmanager
def stop_at_signals(watches: list[Watch]) -> Iterator[None]:
    """While inside, SIGTERM and SIGUSR1 set `stopping`; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if not watches or any(watch.stopping for watch in watches):
            raise KeyboardInterrupt
        for watch in watches:
            watch.stopping = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def agree(flag: bool) -> bool:
    """Whether any process says so: what one decides by its clock or its signal, all have to do."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return flag
    told = torch.tensor(float(flag), device=device())
    torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
    return bool(told.item())


def tokens_seen(checkpoint: str) -> int:
    """Tokens of the run up to a checkpoint, which TRL counts and forgets: as logged last, and in proportion for the
    steps since."""
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    logged = [entry for entry in state["log_history"] if "num_tokens" in entry]
    return round(logged[-1]["num_tokens"] * state["global_step"] / logged[-1]["step"]) if logged else 0


def keep_start(model, out: Path) -> Path:
    """Write the adapter as it is before training, among the checkpoints; `save_result` may need it."""
    start = out / CHECKPOINTS / "start"
    model.save_pretrained(str(start))
    return start


def save_result(model: Any, target: Path, start: Path | None = None, base: Model | None = None) -> None:
    """Write the trained adapter or model, the same bytes for the same result.

    `base` is the whole model that an adapter is for; what it is stands beside the adapter. `start` is the untrained
    adapter of a method that changes the base too (PiSSA): what is written then is the change, as a LoRA adapter of
    twice the rank for the base as it was.

    peft keeps the adapted modules as a set, whose order changes from process to process; the stages after this one
    would take a file in another order for another result.
    """
    if start is None:
        model.save_pretrained(str(target))
    else:
        model.save_pretrained(str(target), path_initial_model_for_weight_conversion=str(start))
    file = target / "adapter_config.json"
    if file.is_file():
        config = json.loads(file.read_text(encoding="utf-8"))
        for modules in ("target_modules", "exclude_modules"):
            if isinstance(config.get(modules), list):
                config[modules].sort()
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if base is not None:
            note_base(base, target)


def forget_checkpoints(out: Path) -> None:
    """Remove the checkpoints of a stage whose result is written: the last thing it does."""
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


def seal(checkpoint: Path) -> None:
    """Write last of all into a checkpoint what its files are, so that a later run knows it as whole."""
    files = {str(path.relative_to(checkpoint)): sample_digest(path) for path in list_files(checkpoint)}
    part = checkpoint / f"{SEAL}.part"
    part.write_text(json.dumps(files, indent=1), encoding="utf-8")
    part.replace(checkpoint / SEAL)


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint is what it was when it was sealed."""
    try:
        files = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        return bool(files) and all(sample_digest(checkpoint / name) == digest for name, digest in files.items())
    except (OSError, ValueError, AttributeError):
        return False


def list_files(folder: Path) -> list[Path]:
    """The files of a checkpoint, without its seal."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(SEAL))


def last_checkpoint(out: Path) -> str | None:
    """The newest whole checkpoint. One that a kill or a full disk cut off is set aside, and the one before is used."""
    folder = out / CHECKPOINTS
    if not folder.is_dir():
        return None
    for broken in [path for path in folder.glob("checkpoint-*") if not is_whole(path)]:
        aside = folder / f"broken-{broken.name}"
        shutil.rmtree(aside, ignore_errors=True)
        broken.rename(aside)
    return get_last_checkpoint(str(folder))


def write_history(trainer, out: Path, keys: dict[str, str]) -> list[dict]:
    """`training.jsonl` from the trainer's own log, which survives a resume; `keys` maps its names to ours."""
    rows = [
        {ours: entry[theirs] for theirs, ours in {"step": "step", "epoch": "epoch", **keys}.items() if theirs in entry}
        for entry in trainer.state.log_history
        if next(iter(keys)) in entry
    ]
    (out / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows
