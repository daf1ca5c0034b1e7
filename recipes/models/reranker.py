"""A judge of finished replies: the supervised model with one more output on its last token, the logit of being right.

ReFT (arXiv 2401.08967, section 4.3) picks the likeliest right one of many sampled replies with such a model, made from
its supervised checkpoint. Here the head and a LoRA adapter are trained; the weights below stay as supervised tuning
left them. An adapter of that tuning is merged into them first; one that cannot be, such as experts, stays at work.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from recipes.artifacts.lineage import start
from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.chat_form import chat_form_of
from recipes.models.sampling import key_of

BATCH = 64
JUDGED = "judged.json"  # beside the reranker: the step whose replies it judges


def make_judge(model: Model, inputs: Mapping[str, Path], step: str | None = None) -> Any:
    """The model that a step left as a classifier of one output, its head untrained, weights in float32.

    Args:
        model: the recipe's `[model]` table.
        inputs: see `recipes.artifacts.lineage.Inputs`.
        step: whose model; None: the newest of the inputs.
    """
    whole, adapter = start(model, inputs, step)
    policy = loader.load_reached(whole, adapter)
    if adapter is not None:
        policy = policy.merge_and_unload() if loader.mergeable(policy) else policy.get_base_model()
    config = policy.config
    config.num_labels, config.problem_type = 1, "multi_label_classification"  # of one label: binary cross-entropy
    if config.pad_token_id is None:
        config.pad_token_id = loader.load_tokenizer(model).pad_token_id  # what tells the last token
    judge = AutoModelForSequenceClassification.from_config(config)
    setattr(judge, judge.base_model_prefix, getattr(policy, policy.base_model_prefix))
    return judge.to(policy.device).float()


def trainable(judge: PreTrainedModel, rank: int, alpha: float) -> PeftModel:
    """`judge` with a fresh adapter on every linear layer; the head is trained whole and saved with it.

    Where an adapter that cannot be merged is at work it stands beside that, on each such layer as a whole; peft by
    itself passes these layers by.
    """
    target = "all-linear"
    routed = [name for name, module in judge.named_modules() if isinstance(module, BaseTunerLayer)]
    if routed:
        backbone = getattr(judge, judge.base_model_prefix)
        linear = {module for module in backbone.modules() if isinstance(module, torch.nn.Linear)}
        inside = tuple(f"{name}." for name in routed)
        plain = [n for n, module in judge.named_modules() if module in linear and not n.startswith(inside)]
        target = routed + plain
    below = list(judge.parameters())
    lora = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # pyright: ignore[reportArgumentType]  peft takes any number
        task_type=TaskType.SEQ_CLS,
        target_modules=target,
    )
    wrapped = get_peft_model(judge, lora)
    for weight in below:
        weight.requires_grad_(False)  # peft would let the adapter below learn too
    return wrapped


def find_reranker(inputs: Mapping[str, Path]) -> Path:
    """The folder of the newest reranker among the inputs."""
    return [folder / "reranker" for folder in inputs.values() if (folder / "reranker").is_dir()][-1]


def load_reranker(model: Model, inputs: Mapping[str, Path]) -> tuple[Any, Any]:
    """(the judge that a step rerank left, ready to score; its tokenizer)."""
    folder = find_reranker(inputs)
    step = json.loads((folder / JUDGED).read_text(encoding="utf-8"))["step"]
    judge = PeftModel.from_pretrained(make_judge(model, inputs, step), str(folder)).eval()
    return judge, loader.load_tokenizer(model)


def text_of(tokenizer, prompt: list[dict], reply: str) -> str:
    """What the judge reads."""
    asked = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return asked + chat_form_of(tokenizer).write(reply)


def logits_of(judge, tokenizer, texts: list[str]) -> list[float]:
    """The logit of being right for each text, in order."""
    order, found = sorted(range(len(texts)), key=lambda n: len(texts[n])), {}
    for begin in range(0, len(order), BATCH):
        some = order[begin : begin + BATCH]
        batch = tokenizer([texts[n] for n in some], return_tensors="pt", padding=True, add_special_tokens=False)
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            logits = judge(**batch.to(judge.device)).logits[:, 0]
        found |= dict(zip(some, logits.float().tolist(), strict=True))
    return [found[n] for n in range(len(texts))]


def pick(judge, tokenizer, prompts: list[list[dict]], replies: list[list[str]]) -> list[int]:
    """Of the replies to each prompt the place of the one that the judge finds likeliest to be right; of equals the
    first."""
    texts = [text_of(tokenizer, prompt, reply) for prompt, some in zip(prompts, replies, strict=True) for reply in some]
    logits = iter(logits_of(judge, tokenizer, texts))
    scored = [[next(logits) for _ in some] for some in replies]
    return [max(range(len(some)), key=some.__getitem__) for some in scored]


def distinct(rows: list[dict], replies: list[dict]) -> list[dict]:
    """The replies of `sample_replies` to `rows`, each text to a prompt once."""
    by_id, seen, kept = {row["id"]: row for row in rows}, set(), []
    for entry in replies:
        key = key_of(by_id[entry["id"]]["prompt"], entry["reply"])
        if key not in seen:
            seen.add(key)
            kept.append(entry)
    return kept
