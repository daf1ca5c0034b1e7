"""Preference optimisation (DPO, arXiv 2305.18290) through TRL's DPOTrainer: of two replies the better grows likelier.

dpo.jsonl, or rl.jsonl ──► sampled replies ──► grade ──► pairs (chosen, rejected) ──► adapter/ (trained on)

The reference model is the model before this step: TRL keeps a frozen copy of the adapter ("ref") beside the one that
learns, and a whole model has a second one beside it. A row of dpo.jsonl has the fields of other rows and `chosen` and
`rejected` in the form of `completion`.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, start
from recipes.artifacts.memory import PADDING, Need, count_pass, learns_whole
from recipes.base.errors import RecipeError
from recipes.base.jsonl import write_jsonl
from recipes.config.conflicts import Conflict, Scope, find_training_conflicts
from recipes.config.schema import Training
from recipes.config.slots import Method

VERSION = 2
PAPER = "arXiv 2305.18290"
PLACE = 50
LEAVES = "model"
CHATS = True  # its base is asked in chat turns
TITLE = "Preference optimisation"
HISTORY = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
}
LOGS = {
    "margin": ("Reward of the chosen over the rejected reply", "nats"),
    "accuracy": ("Pairs whose chosen reply has the higher reward", "share of 1"),
}
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")  # losses that read label_smoothing
PAIR_TOKENS, REPLY_TOKENS = 220, 120  # of a pair with its prompt twice, and of a sampled reply with its: first guesses
PILOT_PAIRS = 32


class Config(Training):
    """Direct preference optimisation on pairs of replies; batch_tokens counts both replies, each with its prompt."""

    epochs: float = Field(1.0, gt=0, description="passes over the pairs")
    learning_rate: float = Field(2e-5, gt=0, le=1, description="peak of the schedule")
    beta: float = Field(0.1, gt=0, description="how strongly the model is held to the reference; smaller lets it move")
    loss_type: Literal[
        "sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
        "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
    ] = Field("sigmoid", description="as in TRL; sigmoid: the paper's, sigmoid_norm: per token of a reply")  # fmt: skip
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="share of pairs that may be the wrong way round, for losses that reckon with it"
    )
    pairs_from: Literal["rl", "file"] = Field(
        "rl", description="rl: replies of the model before to rl rows, a right and a wrong one; file: dpo.jsonl"
    )
    prompts: int = Field(256, ge=1, description="rl: rows that are answered, from the first")
    samples: int = Field(8, ge=2, description="rl: replies to each")
    pairs: int = Field(1, ge=1, description="rl: pairs of each prompt, at most")
    temperature: float = Field(1.0, gt=0, le=2, description="rl: sampling temperature")
    max_completion_length: int = Field(160, ge=1, description="rl: tokens of a reply")


CONFLICTS = [
    ("dpo.max_length=8192", "dpo.batch_tokens"),
    ("dpo.loss_type=exo_pair", "dpo.label_smoothing"),
    ("dpo.epochs=1 dpo.label_smoothing=0.1", "dpo.label_smoothing"),
    ("builder=vsllava dpo.epochs=1 data.view=image", "dpo"),
]


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """What the form of the loss reads, and that rows are text."""
    yield from find_training_conflicts(own, scope)
    if own.loss_type == "exo_pair" and own.label_smoothing == 0:
        reason = "exo_pair takes the logarithm of the share of pairs that are the wrong way round"
        yield scope.conflict("label_smoothing", reason, "a number > 0, such as 1e-3", own.label_smoothing)
    if own.label_smoothing and own.loss_type not in SMOOTHED:
        reason = f"{own.loss_type} does not read it"
        yield scope.conflict("label_smoothing", reason, f"0; or one of {', '.join(SMOOTHED)}", own.label_smoothing)
    if getattr(scope.data, "view", None) == "image":
        instead = "a recipe without this step, or a view of the data that is text"
        yield scope.conflict("", "pairs of replies are learnt from text only", instead)


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"rows": [f"{name_rows(spec)}.jsonl"], "models": MODEL_FILES}


def name_rows(spec: Any) -> str:
    """Stem of the file of rows that the step learns."""
    return "rl" if spec.dpo.pairs_from == "rl" else "dpo"


def forecast(spec: Any, counts: dict[str, Any], runs: Path) -> Work:
    """At most so many pairs; how many prompts get a right and a wrong reply is not known before."""
    own, rows = spec.dpo, counts.get(name_rows(spec), 0)
    asked = min(rows, own.prompts) if own.pairs_from == "rl" else 0
    pairs = asked * own.pairs if own.pairs_from == "rl" else rows
    _, steps = count_steps(pairs, PAIR_TOKENS, own)
    return Work(
        rows=pairs,
        steps=steps,
        tokens=round(pairs * PAIR_TOKENS * own.epochs) + asked * own.samples * REPLY_TOKENS,
        notes=f"{own.loss_type}, " + (f"{asked * own.samples} sampled replies" if asked else "pairs of the data"),
    )


def describe_need(own: Config, adapter: Method) -> Need:
    """What a pass over pairs holds: both sides, and a copy as reference where every weight learns."""
    return Need(
        adapter=adapter,
        tokens=min(2 * count_pass(own), round(own.batch_tokens * PADDING)),
        reference=int(learns_whole(adapter)),
        smaller="micro_batch=1",
        least=2 * own.max_length,
    )


def count_steps(pairs: int, mean_tokens: float, own: Config) -> tuple[int, int]:
    """(pairs of a step, steps in all)"""
    per_step = max(1, min(pairs, round(own.batch_tokens / mean_tokens)))
    return per_step, max(1, math.ceil(math.ceil(pairs / per_step) * own.epochs))


def run(spec: Any, inputs: dict[str, Path], out: Path, runtime: Any) -> dict[str, Any]:
    """Train the model of the step before on; writes adapter/ (or model/), dpo.jsonl with the pairs, training.jsonl.

    Raises:
        RecipeError: no rows or no pairs, a pair longer than `max_length`, rows with images, 4-bit weights without an
            adapter, or a loss that is not a number.
    """
    from recipes.models import loader, training, vision
    from recipes.models.pair_trainer import encode_pairs
    from recipes.models.value_head import forget_reference

    own, file = spec.dpo, inputs["data"] / f"{name_rows(spec)}.jsonl"
    rows = training.read_rows(file) if file.is_file() else []
    if not rows:
        raise RecipeError(
            "there are no rows to make pairs of" if own.pairs_from == "rl" else "there are no pairs",
            where=str(file),
            got="0 rows" if file.is_file() else "no such file; this builder makes none",
            allowed="at least one",
            fix="drop the [dpo] table, or set pairs_from to where there are rows",
        )
    vision.refuse(rows, "[dpo]", "a stage that reads text", "a recipe without this table")
    tokenizer = loader.load_tokenizer(spec.model)
    sampled: dict[str, Any] = {}
    if own.pairs_from == "rl":
        rows, sampled = sample_pairs(spec, inputs, tokenizer, rows[: own.prompts], out, runtime)
    write_jsonl(out / "dpo.jsonl", rows)
    pairs = encode_pairs(tokenizer, rows)
    lengths = count_tokens(pairs)
    check_lengths(rows, lengths, own.max_length)
    with runtime.bar("dpo", 0, "steps") as bar:
        trainer = make_trainer(spec, inputs, tokenizer, pairs, out)
        trainer.add_callback(training.Watch(bar, "dpo"))
        seconds = training.train(trainer, out)
    forget_reference(trainer.model)
    target = out / ("adapter" if hasattr(trainer.model, "peft_config") else "model")
    training.save_result(trainer.model, target, base=start(spec.model, inputs)[0])
    if target.name == "model":
        tokenizer.save_pretrained(str(target))
    history = training.write_history(trainer, out, HISTORY)
    training.forget_checkpoints(out)
    tokens = round(sum(map(sum, lengths)) * own.epochs)
    return {
        **sampled,
        "rows": len(rows),
        "steps": trainer.state.global_step,
        "tokens": tokens + sampled.get("tokens", 0),
        "train_seconds": round(seconds, 1),
        "final_loss": history[-1]["loss"] if history else None,
        "last_accuracy": history[-1]["accuracy"] if history else None,
        "last_margin": history[-1]["margin"] if history else None,
    }


def sample_pairs(
    spec: Any, inputs: dict[str, Path], tokenizer: Any, rows: list[dict[str, Any]], out: Path, runtime: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(pairs, metrics) of the replies of the model before to rl rows; the replies are kept in replies.jsonl.

    Raises:
        RecipeError: no prompt has a right and a wrong reply.
    """
    from eval.graders import grade_sampled
    from recipes.models import loader
    from recipes.models.sampling import sample_by_table

    own = spec.dpo
    policy = loader.load_reached(*start(spec.model, inputs))
    replies = sample_by_table(policy, tokenizer, rows, out / "replies.jsonl", own.samples, own, spec.seed, runtime)
    grades = grade_sampled(rows, replies)
    pairs = make_pairs(rows, replies, grades, own.pairs)
    right = sum(grade == 1 for grade in grades) / len(grades)
    if not pairs:
        raise RecipeError(
            "there are no pairs to learn from",
            where="dpo.pairs_from",
            got=f"{len(replies)} replies to {len(rows)} prompts, {right:.0%} of them right, never both for one prompt",
            allowed="prompts with a right and a wrong reply",
            fix="raise dpo.samples, dpo.prompts or dpo.temperature, or bring pairs in dpo.jsonl",
        )
    tokens = sum(len(ids) for ids in tokenizer([entry["reply"] for entry in replies])["input_ids"])
    return pairs, {"replies": len(replies), "first_accuracy": right, "tokens": tokens}


def make_pairs(
    rows: list[dict[str, Any]], replies: list[dict[str, Any]], grades: list[float], most: int
) -> list[dict[str, Any]]:
    """Pair rows: of each prompt the distinct right replies with the distinct wrong ones, first with first.

    Args:
        replies: {"id" of the row, "number", "reply"}, as from `sample_replies`; `grades` are theirs, right is 1.
        most: pairs of a prompt.
    """
    found: dict[str, tuple[dict[str, int], dict[str, int]]] = {row["id"]: ({}, {}) for row in rows}
    for entry, grade in zip(replies, grades, strict=True):
        right, wrong = found[entry["id"]]
        (right if grade == 1 else wrong).setdefault(entry["reply"].strip(), entry["number"])
    return [
        {name: row[name] for name in ("prompt", "kind", "node_id", "fact_id", "family") if name in row}
        | {
            "id": f"{row['id']}-{place}",
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "lineage": {"pair_of": row["id"], "chosen": right_number, "rejected": wrong_number},
        }
        for row in rows
        for place, ((chosen, right_number), (rejected, wrong_number)) in enumerate(
            list(zip(*(some.items() for some in found[row["id"]]), strict=False))[:most]
        )
    ]


def count_tokens(pairs: list[dict[str, list[int]]]) -> list[tuple[int, int]]:
    """Tokens of the two sides of each pair, each with the prompt."""
    return [
        (len(pair["prompt_ids"]) + len(pair["chosen_ids"]), len(pair["prompt_ids"]) + len(pair["rejected_ids"]))
        for pair in pairs
    ]


def check_lengths(rows: list[dict[str, Any]], lengths: list[tuple[int, int]], most: int) -> None:
    """Raises RecipeError where a side of a pair is longer than the model is given."""
    too_long = [row["id"] for row, sides in zip(rows, lengths, strict=True) if max(sides) > most]
    if too_long:
        longest = max(map(max, lengths))
        raise RecipeError(
            "pairs are longer than the model is given",
            where="dpo.max_length",
            got=f"{len(too_long)} of {len(rows)} pairs, the longest {longest} tokens, such as {too_long[0]}",
            allowed=f"at most {most} tokens a side",
            fix=f"--set dpo.max_length={longest}",
        )


def make_trainer(
    spec: Any,
    inputs: dict[str, Path],
    tokenizer: Any,
    pairs: list[dict[str, list[int]]],
    out: Path,
) -> Any:
    """TRL's DPOTrainer over the pairs, which are tokens.

    Raises:
        RecipeError: 4-bit weights without an adapter, which cannot learn.
    """
    from datasets import Dataset
    from transformers import set_seed
    from trl import DPOConfig

    from recipes.models import loader, training
    from recipes.models.pair_trainer import PairTrainer

    own = spec.dpo
    whole, adapter = start(spec.model, inputs)
    if adapter is None and spec.model.quantization != "none":
        raise RecipeError(
            "4-bit weights cannot be trained themselves",
            where="model.quantization",
            got=spec.model.quantization,
            allowed="a step before this one that leaves an adapter",
            fix='add [sft], or set model.quantization = "none"',
        )
    policy = loader.load_reached(whole, adapter, training=True, trainable=True)
    reference = None
    if adapter is None:
        policy = loader.every_weight(policy, spec.model)
        reference = loader.load_base(whole, training=True).requires_grad_(False).eval()
    lengths = count_tokens(pairs)
    per_step, _ = count_steps(len(pairs), sum(map(sum, lengths)) / len(lengths), own)
    set_seed(spec.seed)
    arguments = DPOConfig(
        **training.text_arguments(own, per_step, max(map(max, lengths)), spec.seed, out),
        beta=own.beta,
        loss_type=[own.loss_type],
        label_smoothing=own.label_smoothing,
    )
    dataset = Dataset.from_list(pairs)
    return training.build(
        PairTrainer, policy, ref_model=reference, args=arguments, train_dataset=dataset, processing_class=tokenizer
    )


def pilot(spec: Any, inputs: dict[str, Path], runtime: Any) -> float:
    """Tokens per second of a few training steps here, on made-up pairs; sampling is a little slower."""
    import tempfile
    import time

    from recipes.models import loader
    from recipes.models.pair_trainer import encode_pairs

    rows = [
        {
            "id": str(number),
            "prompt": [{"role": "user", "content": "How far is it from here to there? " * 5}],
            "chosen": [{"role": "assistant", "content": "It is near. " * 8}],
            "rejected": [{"role": "assistant", "content": "It is far. " * 8}],
        }
        for number in range(PILOT_PAIRS)
    ]
    tokenizer = loader.load_tokenizer(spec.model)
    pairs = encode_pairs(tokenizer, rows)
    models = {name: folder for name, folder in inputs.items() if name != "data"}
    short = spec.model_copy(update={"dpo": spec.dpo.model_copy(update={"epochs": 1.0})})
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(short, models, tokenizer, pairs, Path(folder))
        trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return sum(map(sum, count_tokens(pairs))) / (time.monotonic() - began)
