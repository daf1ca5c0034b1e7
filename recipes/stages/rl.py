"""Reinforcement through GRPO, RLOO, PPO or self-training: the grader that scores the test is the reward.

rl.jsonl ──► sampled replies ──► reward = grade(row, reply) + format_weight * format + partial * (readable but wrong)
         ──► adapter/ (the SFT adapter, trained on)
"""

import math
from pathlib import Path

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import reads_models, start
from recipes.base.errors import RecipeError
from recipes.config.combinations import SEEING

VERSION = 2
READS = {"data": ["rl.jsonl"]} | reads_models("rl")
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


def forecast(spec, counts: dict, runs: Path) -> Work:
    rl = spec.rl
    completions = completions_of(rl, counts["rl"])
    return Work(
        rows=min(counts["rl"], completions // rl.group_size),
        steps=rl.steps,
        tokens=tokens_of(completions, REPLY_TOKENS),
        notes=f"{completions} sampled replies",
    )


def iterations_of(rl) -> int:
    """Optimizer steps that share one rollout."""
    return rl.ppo.iterations if rl.algorithm == "ppo" else 1


def completions_of(rl, rows: int) -> int:
    """Replies that a run on so many rows samples. Offline self-training samples to no row twice."""
    if rl.algorithm == "offline_self_training":
        return min(rows, rl.steps * rl.prompts_per_step) * rl.group_size
    return math.ceil(rl.steps / iterations_of(rl)) * rl.prompts_per_step * rl.group_size


def tokens_of(completions: int, mean_reply: float) -> int:
    """Tokens that forecast, pilot and metrics count: each sampled reply of `mean_reply` tokens, and a prompt for it."""
    return round(completions * (PROMPT_TOKENS + mean_reply))


def text_of(completion) -> str:
    return completion[0]["content"] if isinstance(completion, list) else completion


def graded(completions, columns: dict[str, list]) -> list[tuple[dict, str]]:
    """(what the grader reads of a row, text of the reply) of each reply."""
    from eval.graders import ROW_KEYS

    keys = [key for key in ROW_KEYS if key in columns]
    rows = [dict(zip(keys, values, strict=True)) for values in zip(*(columns[key] for key in keys), strict=True)]
    return [(row, text_of(completion)) for row, completion in zip(rows, completions, strict=True)]


def accuracy_reward(completions, **columns) -> list[float]:
    """The metric itself: the grade of each reply against its row."""
    from eval.graders import grade_all

    pairs = graded(completions, columns)
    return grade_all([row for row, _ in pairs], [text for _, text in pairs])


def partial_reward(completions, **columns) -> list[float]:
    """1.0 for a reply from which the grader reads an answer that is wrong; its weight is `rl.partial`.

    A bare guess earns it too, so its mean is logged as "partial", apart from accuracy (ReFT, arXiv 2401.08967).
    """
    from eval.graders import grade_all, is_readable

    pairs = graded(completions, columns)
    grades = grade_all([row for row, _ in pairs], [text for _, text in pairs])
    return [float(score == 0.0 and is_readable(*pair)) for score, pair in zip(grades, pairs, strict=True)]


def format_reward(completions, **_) -> list[float]:
    """1.0 for a reply of one think block and one answer block."""
    from eval.graders.reply import format_score

    return [format_score(text_of(completion)) for completion in completions]


def run(spec, inputs: dict[str, Path], out: Path, runtime) -> dict:
    """Train the SFT adapter on; writes adapter/ (or model/) and training.jsonl.

    Raises:
        RecipeError: no rl rows, rows that `rl.order` cannot put in order, images that this algorithm, model or machine
            cannot read, or a loss that is not a number.
    """
    from recipes.models import training, vision_tower
    from recipes.models.curriculum import check_order
    from recipes.models.value_head import forget_reference

    rows = training.read_rows(inputs["data"] / "rl.jsonl")
    completions = completions_of(spec.rl, len(rows))
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
    policy, found = load_policy(spec, inputs), {}
    if spec.rl.algorithm == "offline_self_training":
        from recipes.methods.rl.offline_self_training import self_trained

        rows, found, mean_reply = self_trained(spec, policy, reader, rows, out, runtime)
    with runtime.bar("rl", spec.rl.steps, "steps") as bar:
        trainer = make_trainer(spec, policy, reader, rows, out)
        trainer.add_callback(training.Watch(bar, "rl"))
        with vision_tower.untouched(trainer.model, spec.model.vision):
            seconds = training.train(trainer, out)
    forget_reference(trainer.model)
    target = out / ("adapter" if (inputs["sft"] / "adapter").is_dir() else "model")
    training.save_result(trainer.model, target)
    if target.name == "model":
        reader.save_pretrained(str(target))
    history = training.write_history(trainer, out, {"loss": "loss", **KEYS} if found else KEYS)
    if not found:
        last = history[-10:]
        mean_reply = sum(h["completion_length"] for h in history) / max(1, len(history))
        found = {
            "first_accuracy": history[0]["accuracy"],
            "last_accuracy": sum(h["accuracy"] for h in last) / len(last),
        }
    training.forget_checkpoints(out)
    return {
        "rows": len(rows),
        "steps": trainer.state.global_step,
        "completions": completions,
        "tokens": tokens_of(completions, mean_reply),
        "train_seconds": round(seconds, 1),
        **found,
    }


def load_reader(spec, rows: list[dict]):
    """The tokenizer, or the processor where rows have images.

    Raises:
        RecipeError: rows have images and `rl.algorithm` is not one of TRL's own two, which alone pass them on; or only
            some rows have, and TRL hands a rollout to the processor as a whole.
    """
    from recipes.models import vision

    if spec.rl.algorithm not in SEEING:
        vision.refuse(rows, "rl.algorithm", spec.rl.algorithm, " or ".join(SEEING))
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
    if spec.rl.algorithm == "ppo":
        return policy_with_value_head(loader.load_base(whole), adapter)
    return loader.load_reached(whole, adapter, trainable=True)


def untrained_policy(spec):
    """The base, with a small new adapter where its weights are 4-bit ones, which cannot learn themselves; for PPO with
    a value head."""
    from peft import LoraConfig, get_peft_model

    from recipes.models import loader
    from recipes.models.value_head import attach_value_head, with_head_saved

    base = loader.load_base(spec.model)
    if spec.model.quantization == "none":
        return base
    adapter = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")
    if spec.rl.algorithm == "ppo":
        attach_value_head(base)
        adapter = with_head_saved(adapter)
    return get_peft_model(base, adapter)


def make_trainer(spec, policy, reader, rows: list[dict], out: Path):
    """The trainer of `rl.algorithm`, with one rollout of prompts_per_step * group_size replies at a time; `reader` as
    from `load_reader`.

    Every update is on-policy, but for the later iterations of PPO. Checkpoints fall between rollouts, because a rollout
    is not in them.
    """
    import importlib.util

    from datasets import Dataset
    from transformers import set_seed

    from eval.graders import ROW_KEYS
    from recipes.methods.rl.algorithms import trainer_and_arguments
    from recipes.models import training, vision, vision_tower
    from recipes.models.curriculum import drawn

    rl, iterations = spec.rl, iterations_of(spec.rl)
    batch = rl.prompts_per_step * rl.group_size
    micro = next(n for n in range(min(rl.micro_batch, batch), 0, -1) if batch % n == 0)
    if rl.algorithm == "offline_self_training":
        from recipes.methods.rl.offline_self_training import offline_trainer

        return offline_trainer(spec, policy, reader, rows, out, micro, batch // micro)
    if rl.order != "random":
        rows = drawn(rows, rl.order, completions_of(rl, len(rows)) // rl.group_size, spec.seed)
    kept = [{key: row.get(key) for key in ("prompt", *ROW_KEYS)} for row in rows]
    dataset = Dataset.from_list(vision.with_images(kept, rows))
    rewards = [(accuracy_reward, 1.0), (format_reward, rl.format_weight)]
    if rl.partial:
        rewards.append((partial_reward, rl.partial))
    vision_tower.freeze(policy, spec.model.vision)
    set_seed(spec.seed)
    vllm = rl.use_vllm and importlib.util.find_spec("vllm") is not None
    end = getattr(reader, "tokenizer", reader).eos_token_id
    saving = rl.model_copy(update={"save_steps": math.ceil(rl.save_steps / iterations) * iterations})
    trainer, arguments = trainer_and_arguments(
        rl,
        dict(
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
    )
    return training.build(
        trainer,
        policy,
        reward_funcs=[reward for reward, _ in rewards],
        args=arguments,
        train_dataset=dataset,
        processing_class=reader,
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
    policy = load_policy(spec, inputs) if "sft" in inputs else untrained_policy(spec)
    steps = 2 * iterations_of(spec.rl)
    changes = {"steps": steps, "order": "random"}
    if spec.rl.algorithm == "offline_self_training":
        changes["algorithm"] = "online_self_training"  # the same work in another order
    short = spec.model_copy(update={"rl": spec.rl.model_copy(update=changes)})
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(short, policy, reader, rows, Path(folder))
        trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - began
    lengths = [h[MEAN_LENGTH] for h in trainer.state.log_history if MEAN_LENGTH in h] or [REPLY_TOKENS]
    return tokens_of(completions_of(short.rl, len(rows)), sum(lengths) / len(lengths)) / seconds
