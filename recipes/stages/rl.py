"""Reinforcement through GRPO, RLOO, PPO or self-training: the grader that scores the test is the reward.

rl.jsonl ──► sampled replies ──► reward = grade(row, reply) + format_weight * format + partial * (readable but wrong)
         ──► adapter/ (the SFT adapter, trained on)
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, start
from recipes.base.errors import RecipeError
from recipes.base.table import Table, runtime_field
from recipes.config.conflicts import Conflict, Scope
from recipes.config.slots import Method, load, many_of, module_of, name_of, one_of

VERSION = 3
PLACE = 60
LEAVES = "model"
TITLE = "Reinforcement"
REPLY_TOKENS, PROMPT_TOKENS = 60, 60  # first guesses until a run is known
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


def count_iterations(rl: Config) -> int:
    """Optimizer steps that share one rollout."""
    module = module_of(rl.method)
    return module.count_iterations(rl.method) if hasattr(module, "count_iterations") else 1


def count_completions(rl: Config, rows: int) -> int:
    """Replies that a run on so many rows samples."""
    module = module_of(rl.method)
    if hasattr(module, "count_completions"):
        return module.count_completions(rl, rows)
    return math.ceil(rl.steps / count_iterations(rl)) * rl.prompts_per_step * rl.group_size


def count_tokens(completions: int, mean_reply: float) -> int:
    """Tokens that forecast, pilot and metrics count: each sampled reply of `mean_reply` tokens, and a prompt for it."""
    return round(completions * (PROMPT_TOKENS + mean_reply))


def text_of(completion: str | list[dict[str, Any]]) -> str:
    """What is graded of a reply: its text, or the last turn of one that used tools; nothing where a tool spoke last."""
    if isinstance(completion, str):
        return completion
    last = completion[-1] if completion else {}
    return str(last.get("content") or "") if last.get("role", "assistant") == "assistant" else ""


def pair_replies(completions, columns: dict[str, list]) -> list[tuple[dict, str]]:
    """(what the grader reads of a row, text of the reply) of each reply."""
    from eval.graders import ROW_KEYS

    keys = [key for key in ROW_KEYS if key in columns]
    rows = [dict(zip(keys, values, strict=True)) for values in zip(*(columns[key] for key in keys), strict=True)]
    return [(row, text_of(completion)) for row, completion in zip(rows, completions, strict=True)]


def accuracy_reward(completions, **columns) -> list[float]:
    """The metric itself: the grade of each reply against its row."""
    from eval.graders import grade_all

    pairs = pair_replies(completions, columns)
    return grade_all([row for row, _ in pairs], [text for _, text in pairs])


def partial_reward(completions, **columns) -> list[float]:
    """1.0 for a reply from which the grader reads an answer that is wrong; its weight is `rl.partial`.

    A bare guess earns it too, so its mean is logged as "partial", apart from accuracy (ReFT, arXiv 2401.08967).
    """
    from eval.graders import grade_all, is_readable

    pairs = pair_replies(completions, columns)
    grades = grade_all([row for row, _ in pairs], [text for _, text in pairs])
    return [float(score == 0.0 and is_readable(*pair)) for score, pair in zip(grades, pairs, strict=True)]


def format_reward(completions, **_) -> list[float]:
    """1.0 for a reply of one think block and one answer block."""
    from eval.graders.reply import format_score

    return [format_score(text_of(completion)) for completion in completions]


def run(spec: Any, inputs: dict[str, Path], out: Path, runtime: Any) -> dict[str, Any]:
    """Train the adapter of the step before on; writes adapter/ (or model/) and training.jsonl.

    Raises:
        RecipeError: no rl rows, rows that `rl.order` cannot put in order, images that this algorithm, model or machine
            cannot read, or a loss that is not a number.
    """
    from recipes.models import training, vision_tower
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
    learnable = measure_learnable(spec, policy, reader, rows, out, runtime)
    idle = training.IdleWatch(runtime.say, "rl", spec.rl.idle_steps)
    with runtime.bar("rl", spec.rl.steps, "steps") as bar:
        trainer, metrics = make_trainer(spec, policy, reader, rows, out, runtime)
        trainer.add_callback(training.Watch(bar, "rl", count_iterations(spec.rl)))
        trainer.add_callback(idle)
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
        **({"nothing_learnt": idle.ended} if idle.ended else {}),
        **metrics,
    }


def measure_learnable(
    spec: Any, policy: Any, reader: Any, rows: list[dict[str, Any]], out: Path, runtime: Any
) -> dict[str, float]:
    """{"learnable": share of prompts with right and wrong replies among group_size, "always_right", "never_right"}.

    Only these prompts can teach an algorithm that compares replies to one prompt. Rows with images are passed over.
    """
    from transformers import ProcessorMixin

    from eval.graders import grade_sampled
    from recipes.models.sampling import sample_replies

    rl, samples = spec.rl, max(2, spec.rl.group_size)
    asked = rows[:: max(1, len(rows) // max(1, rl.probe_prompts))][: rl.probe_prompts]
    if not asked or isinstance(reader, ProcessorMixin):
        return {}
    with runtime.bar("rl before", len(asked) * samples, "replies") as bar:
        replies = sample_replies(
            policy,
            reader,
            asked,
            out / "before.jsonl",
            samples,
            temperature=rl.temperature,
            max_new_tokens=rl.max_completion_length,
            batch_size=rl.micro_batch,
            seed=spec.seed,
            advance=bar.advance,
        )
    policy.train()
    grades = grade_sampled(asked, replies)
    right: dict[str, list[float]] = {}
    for entry, score in zip(replies, grades, strict=True):
        right.setdefault(entry["id"], []).append(score)
    shares = [sum(scores) / len(scores) for scores in right.values()]
    found = {
        "learnable": sum(0 < share < 1 for share in shares) / len(shares),
        "always_right": sum(share >= 1 for share in shares) / len(shares),
        "never_right": sum(share == 0 for share in shares) / len(shares),
    }
    runtime.say(
        f"rl: of {len(shares)} prompts {found['learnable']:.0%} have right and wrong replies among {samples}, "
        f"{found['always_right']:.0%} only right ones, {found['never_right']:.0%} none"
    )
    return {name: round(share, 3) for name, share in found.items()}


def load_reader(spec, rows: list[dict]):
    """The tokenizer, or the processor where rows have images.

    Raises:
        RecipeError: rows have images and the algorithm is not one of TRL's own two, which alone pass them on; or only
            some rows have, and TRL hands a rollout to the processor as a whole.
    """
    from recipes.models import vision

    if not getattr(module_of(spec.rl.method), "READS_IMAGES", False):
        vision.refuse(rows, "rl.method", name_of(spec.rl.method), "grpo or rloo")
    seen = sum(bool(row.get("images")) for row in rows)
    if 0 < seen < len(rows):
        raise RecipeError(
            "rows with and without images cannot share a rollout",
            where="rl.jsonl",
            got=f"{len(rows) - seen} of {len(rows)} rows without an image",
            allowed="images in every row, or in none",
            fix="let the builder leave the others out of rl.jsonl",
        )
    return vision.load_reader(spec.model, rows)


def load_policy(spec, done: dict[str, Path]):
    """The model that supervised fine-tuning left, ready to learn on; for PPO with a value head."""
    from recipes.models import loader
    from recipes.models.value_head import policy_with_value_head

    whole, adapter = start(spec.model, done)
    if adapter is None:
        return loader.every_weight(loader.load_base(whole), spec.model)
    if "value_head" in getattr(module_of(spec.rl.method), "NEEDS", ()):
        return policy_with_value_head(loader.load_base(whole), adapter)
    return loader.load_reached(whole, adapter, trainable=True)


def load_untrained(spec: Any) -> Any:
    """The base, with a small new adapter where its weights are 4-bit ones, which cannot learn themselves; for PPO that
    adapter holds a value head."""
    from peft import LoraConfig, get_peft_model

    from recipes.models import loader
    from recipes.models.value_head import attach_value_head, with_head_saved

    base = loader.load_base(spec.model)
    if spec.model.quantization == "none":
        return base
    config = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")
    if "value_head" in getattr(module_of(spec.rl.method), "NEEDS", ()):
        attach_value_head(base)
        config = with_head_saved(config)
    return get_peft_model(base, config)


def make_trainer(
    spec: Any, policy: Any, reader: Any, rows: list[dict[str, Any]], out: Path, runtime: Any = None
) -> tuple[Any, dict[str, Any]]:
    """(trainer of the method, metrics that the method adds), with one rollout of prompts_per_step * group_size replies
    at a time; `reader` as from `load_reader`.

    Every update is on-policy, but for the later iterations of PPO. Checkpoints fall between rollouts, because a rollout
    is not in them.
    """
    import importlib.util

    from datasets import Dataset
    from transformers import set_seed

    from eval.graders import ROW_KEYS
    from recipes.models import training, vision, vision_tower
    from recipes.models.prompt_order import drawn
    from recipes.models.rl_context import RlContext

    rl, iterations = spec.rl, count_iterations(spec.rl)
    batch = rl.prompts_per_step * rl.group_size
    micro = next(n for n in range(min(rl.micro_batch, batch), 0, -1) if batch % n == 0)
    if rl.order != "random" and "order" not in getattr(module_of(rl.method), "UNREAD", ()):
        rows = drawn(rows, rl.order, count_completions(rl, len(rows)) // rl.group_size, spec.seed)

    def make_dataset(some: list[dict[str, Any]]) -> Dataset:
        kept = [{key: row.get(key) for key in ("prompt", *ROW_KEYS)} for row in some]
        return Dataset.from_list(vision.with_images(kept, some))

    rewards = [(accuracy_reward, 1.0), (format_reward, rl.format_weight)]
    if rl.partial:
        rewards.append((partial_reward, rl.partial))
    vision_tower.freeze(policy, spec.model.vision)
    set_seed(spec.seed)
    vllm = rl.use_vllm and importlib.util.find_spec("vllm") is not None
    end = getattr(reader, "tokenizer", reader).eos_token_id
    saving = rl.model_copy(update={"save_steps": math.ceil(rl.save_steps / iterations) * iterations})
    context = RlContext(
        rl=rl,
        seed=spec.seed,
        policy=policy,
        reader=reader,
        rows=rows,
        columns=make_dataset,
        rewards=rewards,
        shared=dict(
            **training.common_arguments(saving, spec.seed, out),
            max_steps=rl.steps,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=batch // micro,
            num_generations=rl.group_size,
            shuffle_dataset=rl.order == "random",
            temperature=rl.temperature,
            max_completion_length=rl.max_completion_length,
            reward_weights=[weight for _, weight in rewards],
            lr_scheduler_type=training.schedule(rl.scheduler),
            warmup_steps=rl.warmup_steps,
            use_vllm=vllm,
            generation_kwargs={"stop_token_ids": [end]} if vllm else None,  # vLLM knows the base's own end token alone
        ),
        micro=micro,
        accumulation=batch // micro,
        out=out,
        runtime=runtime,
    )
    for name, own in rl.env.items():
        check_tools(reader, name, spec.model.name)
        context.environment = module_of(own).make_environment(own, context)
    return module_of(rl.method).make_trainer(rl.method, context), context.metrics


def check_tools(reader: Any, name: str, model: str) -> None:
    """Raises RecipeError where the chat template of the model shows no tool, no call of one and no result."""
    from trl.chat_template_utils import supports_tool_calling

    if not supports_tool_calling(reader):
        raise RecipeError(
            "the model's chat template cannot show tools",
            where=f"rl.env.{name}",
            got=f"{model}: a template without tool calls",
            allowed="a model whose chat template writes tools, their calls and their results, such as Qwen3",
            fix=f"choose such a model, or leave out [rl.env.{name}]",
        )


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
