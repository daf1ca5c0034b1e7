"""Reinforcement through GRPO: the grader that scores the test is the reward.

rl.jsonl ──► groups of sampled replies ──► reward = grade(row, reply) + format_weight * format
         ──► adapter/ (the SFT adapter, trained on)
"""

from pathlib import Path

from recipes.errors import RecipeError
from recipes.plan import Work

VERSION = 1
READS = {"data": ["rl.jsonl"], "sft": ["adapter/*", "model/*"]}
REPLY_TOKENS, PROMPT_TOKENS = 60, 60  # first guesses until a run is known
KEYS = {
    "reward": "reward",
    "rewards/accuracy_reward/mean": "accuracy",
    "rewards/format_reward/mean": "format",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "frac_reward_zero_std",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "clipped",
    "kl": "kl",
    "entropy": "entropy",
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "step_time": "seconds",
}


def forecast(spec, counts: dict) -> Work:
    rl = spec.rl
    completions = rl.steps * rl.prompts_per_step * rl.group_size
    return Work(
        rows=min(counts["rl"], rl.steps * rl.prompts_per_step),
        steps=rl.steps,
        tokens=completions * (PROMPT_TOKENS + REPLY_TOKENS),
        notes=f"{completions} sampled replies",
    )


def text_of(completion) -> str:
    return completion[0]["content"] if isinstance(completion, list) else completion


def accuracy_reward(completions, grader, answer, options, unit, tolerance, **_) -> list[float]:
    """The metric itself: the grade of each reply against its row."""
    from eval.graders import grade_all

    rows = [
        {"grader": g, "answer": a, "options": o, "unit": u, "tolerance": t}
        for g, a, o, u, t in zip(grader, answer, options, unit, tolerance, strict=True)
    ]
    return grade_all(rows, [text_of(completion) for completion in completions])


def format_reward(completions, **_) -> list[float]:
    """1.0 for a reply of one think block and one answer block."""
    from eval.graders import format_score

    return [format_score(text_of(completion)) for completion in completions]


def run(spec, inputs: dict[str, Path], out: Path, runtime) -> dict:
    """Train the SFT adapter on; writes adapter/ (or model/) and training.jsonl.

    Raises:
        RecipeError: no rl rows, or a loss that is not a number.
    """
    from recipes import models, training

    rows = training.read_rows(inputs["data"] / "rl.jsonl")
    if not rows:
        raise RecipeError(
            "there is nothing to reinforce",
            where=str(inputs["data"] / "rl.jsonl"),
            got="0 rows",
            allowed="at least one",
            fix="drop the [rl] table, or add facts that can be graded",
        )
    tokenizer = models.load_tokenizer(spec.model)
    with runtime.bar("rl", spec.rl.steps, "steps") as bar:
        trainer = make_trainer(spec, load_policy(spec, inputs["sft"]), tokenizer, rows, out)
        trainer.add_callback(training.Watch(bar, "rl"))
        seconds = training.train(trainer, out)
    if "ref" in getattr(trainer.model, "peft_config", {}):
        trainer.model.delete_adapter("ref")
    target = out / ("adapter" if (inputs["sft"] / "adapter").is_dir() else "model")
    training.save_result(trainer.model, target)
    if target.name == "model":
        tokenizer.save_pretrained(str(target))
    history = training.write_history(trainer, out, KEYS)
    completions = spec.rl.steps * spec.rl.prompts_per_step * spec.rl.group_size
    tokens = round(completions * (PROMPT_TOKENS + sum(h["completion_length"] for h in history) / max(1, len(history))))
    last = history[-10:]
    training.forget_checkpoints(out)
    return {
        "rows": len(rows),
        "steps": trainer.state.global_step,
        "completions": completions,
        "tokens": tokens,
        "train_seconds": round(seconds, 1),
        "first_accuracy": history[0]["accuracy"],
        "last_accuracy": sum(h["accuracy"] for h in last) / len(last),
    }


def load_policy(spec, sft: Path):
    """The model that supervised fine-tuning left, ready to learn on."""
    from recipes import models

    if (sft / "adapter").is_dir():
        return models.load_adapters(models.load_base(spec.model), {"default": sft / "adapter"}, trainable=True)
    return models.load_base(spec.model.model_copy(update={"name": str(sft / "model"), "revision": "main"}))


def make_trainer(spec, policy, tokenizer, rows: list[dict], out: Path):
    """GRPO with one generation per optimizer step, so that every update is on-policy."""
    import importlib.util

    from datasets import Dataset
    from transformers import set_seed
    from trl import GRPOConfig

    from recipes import training
    from recipes.grpo import SpareGRPOTrainer

    rl = spec.rl
    batch = rl.prompts_per_step * rl.group_size
    micro = next(n for n in range(min(rl.micro_batch, batch), 0, -1) if batch % n == 0)
    columns = ("prompt", "grader", "answer", "options", "unit", "tolerance")
    dataset = Dataset.from_list([{key: row[key] for key in columns} for row in rows])
    set_seed(spec.seed)
    arguments = GRPOConfig(
        **training.common_arguments(rl, spec.seed, out),
        max_steps=rl.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        num_generations=rl.group_size,
        beta=rl.beta,
        temperature=rl.temperature,
        max_completion_length=rl.max_completion_length,
        loss_type=rl.loss_type,
        scale_rewards=rl.scale_rewards,
        reward_weights=[1.0, rl.format_weight],
        mask_truncated_completions=True,
        lr_scheduler_type=rl.scheduler,
        warmup_steps=rl.warmup_steps,
        use_vllm=rl.use_vllm and importlib.util.find_spec("vllm") is not None,
    )
    return training.silence(
        SpareGRPOTrainer(
            model=policy,
            reward_funcs=[accuracy_reward, format_reward],
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
        )
    )


def pilot(spec, inputs: dict[str, Path], runtime) -> float:
    """Tokens (prompt and reply) per second of two steps: of the tuned model on its prompts, where both are there."""
    import tempfile
    import time

    from recipes import models, training

    tokenizer = models.load_tokenizer(spec.model)
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
    policy = load_policy(spec, inputs["sft"]) if "sft" in inputs else models.load_base(spec.model)
    short = spec.model_copy(update={"rl": spec.rl.model_copy(update={"steps": 2})})
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(short, policy, tokenizer, rows, Path(folder))
        trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - began
    mean = sum(h.get("completions/mean_length", REPLY_TOKENS) for h in trainer.state.log_history[:2]) / 2
    return 2 * spec.rl.prompts_per_step * spec.rl.group_size * (PROMPT_TOKENS + mean) / seconds
