"""The policy, the rows and the trainer of a reinforcement step, and how much it samples."""

import math
from pathlib import Path
from typing import Any

from recipes.artifacts.lineage import start
from recipes.base.errors import RecipeError
from recipes.config.slots import module_of, name_of
from recipes.models.rewards import accuracy_reward, format_reward, partial_reward, reading_replies

PROMPT_TOKENS = 60  # a first guess until a run is known


def count_iterations(rl: Any) -> int:
    """Optimizer steps that share one rollout: `iterations` of the algorithms that have it."""
    return getattr(rl.method, "iterations", 1)


def count_completions(rl: Any, rows: int) -> int:
    """Replies that a run on so many rows samples."""
    module = module_of(rl.method)
    if hasattr(module, "count_completions"):
        return module.count_completions(rl, rows)
    return math.ceil(rl.steps / count_iterations(rl)) * rl.prompts_per_step * rl.group_size


def count_tokens(completions: int, mean_reply: float) -> int:
    """Tokens that forecast, pilot and metrics count: each sampled reply of `mean_reply` tokens, and a prompt for it."""
    return round(completions * (PROMPT_TOKENS + mean_reply))


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
    from recipes.models.base_files import check_base
    from recipes.models.value_head import policy_with_value_head

    whole, adapter = start(spec.model, done)
    if adapter is None:
        return loader.every_weight(loader.load_base(whole), spec.model)
    if "value_head" in getattr(module_of(spec.rl.method), "NEEDS", ()):
        check_base(whole, adapter)
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
    rewards = [(reading_replies(reward, reader), weight) for reward, weight in rewards]
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
