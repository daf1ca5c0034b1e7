"""Reinforcement through GRPO, RLOO, PPO or self-training: the grader that scores the test is the reward.

rl.jsonl ──► sampled replies ──► reward = grade(row, reply) + format_weight * format + partial * (readable but wrong)
         ──► adapter/ (the SFT adapter, trained on)
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, start
from recipes.artifacts.memory import Need, learns_whole
from recipes.base.errors import RecipeError
from recipes.base.table import Table, runtime_field
from recipes.config.conflicts import Conflict, Scope
from recipes.config.slots import Method, load, many_of, module_of, name_of, one_of
from recipes.models.rl_trainer import (
    PROMPT_TOKENS,
    count_completions,
    count_iterations,
    count_tokens,
    load_policy,
    load_reader,
    load_untrained,
    make_trainer,
)

VERSION = 3
PLACE = 60
LEAVES = "model"
CHATS = True  # its base is asked in chat turns
TITLE = "Reinforcement"
REPLY_TOKENS = 60  # a first guess until a run is known
MEAN_LENGTH = "completions/mean_length"
KEYS = {
    "reward": "reward",
    "rewards/accuracy_reward/mean": "accuracy",
    "rewards/format_reward/mean": "format",
    "rewards/partial_reward/mean": "partial",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "frac_reward_zero_std",
    MEAN_LENGTH: "completion_length",
    "completions/clipped_ratio": "clipped",
    "kl": "kl",
    "sequence_kl": "sequence_kl",
    "value_loss": "value_loss",
    "explained_variance": "explained_variance",
    "entropy": "entropy",
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "step_time": "seconds",
}


class Config(Table):
    """Reinforcement learning with the grader as reward; `method` is the algorithm."""

    method: SerializeAsAny[Method] = one_of("rl", "grpo")
    env: dict[str, SerializeAsAny[Method]] = many_of("env")
    steps: int = Field(100, ge=1, description="optimizer steps")
    prompts_per_step: int = Field(16, ge=1, description="different prompts per step")
    group_size: int = Field(8, ge=1, description="completions per prompt; 1 with ppo only")
    order: Literal["random", "difficulty", "kind"] = Field(
        "random", description="easy prompts first; kind: yes or no, then choice, then open"
    )
    micro_batch: int = runtime_field(128, "completions per forward and backward pass, at most", ge=1)
    learning_rate: float = Field(1e-4, gt=0, le=1, description="peak of the schedule")
    scheduler: Literal["cosine", "linear", "constant"] = Field(
        "constant", description="learning rate after the warm-up"
    )
    warmup_steps: int = Field(0, ge=0, description="steps with a rising rate")
    temperature: float = Field(1.0, gt=0, le=2, description="sampling temperature")
    max_completion_length: int = Field(160, ge=1, description="tokens")
    format_weight: float = Field(0.1, ge=0, le=1, description="weight of the format score beside the grader's")
    partial: float = Field(0.0, ge=0, lt=1, description="reward of a readable answer that is wrong; ReFT: 0.1")
    save_steps: int = runtime_field(50, "optimizer steps between checkpoints", ge=1)
    log_steps: int = runtime_field(1, "optimizer steps between lines of training.jsonl", ge=1)
    use_vllm: bool = runtime_field(False, "sample with vLLM where it imports, else with transformers")
    idle_steps: int = Field(
        20, ge=0, description="steps in a row without anything to learn after which the run ends; 0: never"
    )
    probe_prompts: int = runtime_field(
        16, "prompts that are answered group_size times before, to show how many have right and wrong replies", ge=0
    )


CONFLICTS = [
    ("model.quantization=nf4 rl.use_vllm=true", "rl.use_vllm"),
    ("sft.adapter.use=loramoe rl.use_vllm=true", "rl.use_vllm"),
    ("sft=false rl.steps=10 model.quantization=nf4", "model.quantization"),
    ("sft.adapter.use=loramoe dpo.epochs=1 rl.use_vllm=true", "rl.use_vllm"),
    ("rl.group_size=1", "rl.group_size"),
    ("rl.env.calculator.digits=4 rl.method.use=ppo", "rl.env"),
    ("rl.env.calculator.digits=4 rl.env.second.use=calculator", "rl.env"),
    ("rl.order=kind", "rl.order"),
    ("rl.steps=5 rl.warmup_steps=5", "rl.warmup_steps"),
    ("rl.method.use=online_self_training rl.partial=0.3", "rl.partial"),
    ("builder=vsllava data.view=image rl.method.use=ppo", "rl.method"),
    ("builder=vsllava rl.steps=10 data.view=none", "data.view"),
]


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """What the algorithm, the base, the adapter before and the rows do not allow."""
    module, name, place = module_of(own.method), name_of(own.method), scope.path
    if own.use_vllm and scope.model.quantization != "none":
        yield scope.conflict(
            "use_vllm",
            "vLLM gets the policy by merging the adapter into the weights and taking it out again at every step; each "
            "time 4-bit weights are rounded anew, so the base drifts, and what is sent is their packed bytes",
            "false with nf4",
            own.use_vllm,
            f'set model.quantization = "none" where the weights fit, or {place}.use_vllm = false',
        )
    if own.env and not getattr(module, "TAKES_TOOLS", False):
        yield scope.conflict("env", f"{name} samples one turn, without tools", 'method.use = "grpo"', list(own.env))
    if len(own.env) > 1:
        reason = "TRL asks each row which environment it is for, and rows do not say"
        yield scope.conflict("env", reason, "one environment", list(own.env))
    before = scope.adapter_before()
    if before is None and scope.model.quantization != "none":
        yield scope.conflict(
            "/model.quantization",
            "4-bit weights cannot be trained themselves, and no step before leaves an adapter",
            f"nf4 with a step before {place} that leaves an adapter",
            scope.model.quantization,
            'set model.quantization = "none", or add supervised tuning with an adapter',
        )
    if own.use_vllm and before is not None and not getattr(module_of(before.settings.adapter), "MERGEABLE", True):
        reason = (
            "vLLM gets the policy by merging the adapter into the weights; that of "
            f"{name_of(before.settings.adapter)} depends on the input and cannot be"
        )
        yield scope.conflict("use_vllm", reason, f"false after {before.name}", own.use_vllm)
    if own.group_size < 2 and "group" in getattr(module, "NEEDS", ()):
        fix = f'or {place}.method.use = "ppo", which needs no group'
        yield scope.conflict(
            "group_size", f"{name} needs several replies for a prompt", "a whole number >= 2", own.group_size, fix
        )
    if own.warmup_steps >= own.steps:
        instead = f"fewer than {place}.steps = {own.steps}"
        yield scope.conflict("warmup_steps", "the rate would never reach its peak", instead, own.warmup_steps)
    for key in getattr(module, "UNREAD", ()):
        default = type(own).model_fields[key].default
        if getattr(own, key) != default:
            fix = f"leave out {place}.{key}, or choose another {place}.method.use"
            yield scope.conflict(key, f"{name} does not read it", f"its default, {default}", getattr(own, key), fix)
    yield from _find_data_conflicts(own, scope, module, name)


def _find_data_conflicts(own: Config, scope: Scope, module: Any, name: str) -> Iterator[Conflict]:
    data, place = scope.data, scope.path
    if own.order == "kind" and getattr(data, "rl_forms", None) is False and data.teacher.kind == "expert":
        yield scope.conflict(
            "order",
            "the rl rows of this builder are all of one form, so no order is among them",
            "kind with data.rl_forms = true, which asks each item in three forms",
            own.order,
            f"add --set data.rl_forms=true, or leave out {place}.order",
        )
    if getattr(data, "view", None) == "image" and not getattr(module, "READS_IMAGES", False):
        fix = "choose one of these, or a view of the data that is text"
        yield scope.conflict(
            "method", "only TRL's own two algorithms pass images on to the model", '"grpo" or "rloo"', name, fix
        )
    if getattr(data, "view", None) == "none":
        yield scope.conflict(
            "/data.view",
            "reinforcement would reward guesses: no prompt shows its signal",
            "a view that shows it",
            data.view,
            f"choose another view, or set {place} = false",
        )


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"rows": ["rl.jsonl"], "models": MODEL_FILES}


def name_rows(spec: Any) -> str:
    """Stem of the file of rows that the step learns."""
    return "rl"


def forecast(spec, counts: dict, runs: Path) -> Work:
    rl = spec.rl
    completions = count_completions(rl, counts["rl"])
    return Work(
        rows=min(counts["rl"], completions // rl.group_size),
        steps=rl.steps,
        tokens=count_tokens(completions, REPLY_TOKENS),
        notes=f"{completions} sampled replies",
    )


def describe_need(own: Config, adapter: Method) -> Need:
    """A pass over a micro-batch of replies, and the rollout before it, which is sampled at once."""
    rollout, reply = own.prompts_per_step * own.group_size, PROMPT_TOKENS + own.max_completion_length
    return Need(
        adapter=adapter,
        tokens=min(own.micro_batch, rollout) * reply,
        cached=rollout * reply,
        read=rollout * PROMPT_TOKENS,
        reference=int(getattr(own.method, "beta", 0.0) > 0 and learns_whole(adapter)),
        smaller="micro_batch=1",
        least=reply,
    )


def run(spec: Any, inputs: dict[str, Path], out: Path, runtime: Any) -> dict[str, Any]:
    """Train the adapter of the step before on; writes adapter/ (or model/) and training.jsonl.

    Raises:
        RecipeError: no rl rows, rows that `rl.order` cannot put in order, images that this algorithm, model or machine
            cannot read, or a loss that is not a number.
    """
    from recipes.models import idle, training, vision_tower
    from recipes.models.learnable import measure_learnable
    from recipes.models.prompt_order import check_order
    from recipes.models.value_head import forget_reference

    rows = training.read_rows(inputs["data"] / "rl.jsonl")
    completions = count_completions(spec.rl, len(rows))
    if not rows:
        raise RecipeError(
            "there is nothing to reinforce",
            where=str(inputs["data"] / "rl.jsonl"),
            got="0 rows",
            allowed="at least one",
            fix="drop the [rl] table, or add facts that can be graded",
        )
    check_order(rows, spec.rl.order)
    reader = load_reader(spec, rows)
    policy = load_policy(spec, inputs)
    learnable, remarks = measure_learnable(spec, policy, reader, rows, out, runtime)
    compares = "group" in getattr(module_of(spec.rl.method), "NEEDS", ())
    watch = idle.IdleWatch(runtime.say, "rl", spec.rl.idle_steps, compares)
    with runtime.bar("rl", spec.rl.steps, "steps") as bar:
        trainer, metrics = make_trainer(spec, policy, reader, rows, out, runtime)
        trainer.add_callback(training.Watch(bar, "rl", count_iterations(spec.rl)))
        trainer.add_callback(watch)
        with vision_tower.untouched(trainer.model, spec.model.vision):
            seconds = training.train(trainer, out)
    forget_reference(trainer.model)
    target = out / ("adapter" if hasattr(trainer.model, "peft_config") else "model")
    training.save_result(trainer.model, target, base=start(spec.model, inputs)[0])
    if target.name == "model":
        reader.save_pretrained(str(target))
    history = training.write_history(trainer, out, {"loss": "loss", **KEYS} if metrics else KEYS)
    mean_reply = metrics.pop("completion_length", None)
    if mean_reply is None:
        lengths = [line["completion_length"] for line in history if "completion_length" in line]
        mean_reply = sum(lengths) / max(1, len(lengths))
    if not metrics:
        last = history[-10:]
        metrics = {
            "first_accuracy": history[0]["accuracy"],
            "last_accuracy": sum(h["accuracy"] for h in last) / len(last),
        }
    training.forget_checkpoints(out)
    return {
        "rows": len(rows),
        "steps": trainer.state.global_step,
        "completions": completions,
        "tokens": count_tokens(completions, mean_reply),
        "train_seconds": round(seconds, 1),
        **learnable,
        "remarks": remarks,
        **({"nothing_learnt": reason} if (reason := watch.describe(trainer.state.log_history)) else {}),
        **metrics,
    }


def pilot(spec, inputs: dict[str, Path], runtime) -> float:
    """Tokens (prompt and reply) per second of two rollouts and the steps on them: of the tuned model on its prompts,
    where both are there."""
    import tempfile
    import time

    from recipes.models import training

    made_up = [
        {
            "prompt": [{"role": "user", "content": f"Compute {n} * 7."}],
            "grader": "numeric",
            "answer": str(n * 7),
            "options": None,
            "unit": None,
            "tolerance": 0.01,
        }
        for n in range(64)
    ]
    rows = (
        training.read_rows(inputs["data"] / "rl.jsonl")[: 4 * spec.rl.prompts_per_step] if "data" in inputs else made_up
    )
    reader = load_reader(spec, rows)
    policy = load_policy(spec, inputs) if set(inputs) - {"data"} else load_untrained(spec)
    changes: dict[str, Any] = {"steps": 2 * count_iterations(spec.rl), "order": "random"}
    if same_work := getattr(module_of(spec.rl.method), "PILOT", None):
        changes["method"] = load("rl", same_work).Config(use=same_work)
    short = spec.model_copy(update={"rl": spec.rl.model_copy(update=changes)})
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = make_trainer(short, policy, reader, rows, Path(folder), runtime)
        trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - began
    lengths = [h[MEAN_LENGTH] for h in trainer.state.log_history if MEAN_LENGTH in h] or [REPLY_TOKENS]
    return count_tokens(count_completions(short.rl, len(rows)), sum(lengths) / len(lengths)) / seconds
