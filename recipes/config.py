"""The typed tables of a recipe. Every default, unit and range lives here once; `recipes.loader` fills them from TOML.

A value is part of what a result *is*, and so of its fingerprint, unless its field is made with `how`: those say how the
work is done (how often to save, which kernel, how many at a time) and may change without a rebuild.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny

ROOT = Path(__file__).resolve().parents[1]  # the checkout: recipes.toml, data_builders/ and eval/ lie beside recipes/
EMBEDDED = ROOT / "recipes" / "embedded" / "model"  # the folder that the model name "embedded" stands for
DEFAULT_PROFILE = "embedded"

Names = Annotated[tuple[str, ...], Field(strict=False)]


def how(default, description, **limits):
    """A field about execution, not identity: it never enters a fingerprint."""
    return Field(default, description=description, json_schema_extra={"identity": False}, **limits)


class Table(BaseModel):
    """A frozen TOML table in which unknown keys, infinities and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class Head(Table):
    """The scalars at the top of a recipe."""

    summary: str = Field(description="one line for `list`", min_length=1)
    builder: str = Field(description="folder under data_builders/ that makes the rows", min_length=1)
    seed: int = Field(42, ge=0, lt=2**32, description="seeds the data, the training order and the sampling")


class Model(Table):
    """The base model, and how its weights are held."""

    name: str = Field(
        "embedded",
        pattern=r"^(embedded|[\w.-]*\w[\w.-]*/[\w.-]+|[./~].*)$",
        examples=["embedded"],
        description='"embedded", a hub id "owner/name", or a folder (./x, /x, ~/x)',
    )
    revision: str = Field("main", min_length=1, description="branch, tag or commit of a hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 on a GPU, else float32"
    )
    attn: Literal["auto", "sdpa", "eager", "flash_attention_2"] = how(
        "auto", "auto: flash-attn where it imports, else sdpa"
    )
    quantization: Literal["none", "nf4"] = Field(
        "none", description="nf4: 4-bit weights under LoRA, through bitsandbytes"
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")


class Sft(Table):
    """Supervised fine-tuning on assistant tokens."""

    method: Literal["lora", "full"] = Field("lora", description="low-rank adapter, or every weight")
    rank: int = Field(16, ge=1, description="LoRA rank")
    alpha: float = Field(32.0, gt=0, description="LoRA scale; the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout, a share")
    target: Names = Field(("all-linear",), min_length=1, description='["all-linear"] or endings of module names')
    epochs: float = Field(3.0, gt=0, description="passes over the rows")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak of the schedule")
    batch_tokens: int = Field(4096, ge=1, description="real tokens per optimizer step")
    max_length: int = Field(512, ge=8, description="tokens; a longer row is an error, not a cut")
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps with a rising rate")
    scheduler: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW, per step, times the learning rate")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm is clipped to this")
    save_steps: int = how(100, "optimizer steps between checkpoints", ge=1)
    log_steps: int = Field(10, ge=1, description="optimizer steps between lines of training.jsonl")
    micro_batch: int = how(64, "rows per forward and backward pass, at most; the rest of a step is accumulated", ge=1)
    packing: bool = Field(
        True, description="several rows in one sequence where attention can tell them apart (flash attention)"
    )


class Ppo(Table):
    """PPO with a value head, as in ReFT (arXiv 2401.08967); read where rl.algorithm is "ppo"."""

    gamma: float = Field(1.0, ge=0, le=1, description="discount of later rewards")
    lam: float = Field(0.95, ge=0, le=1, description="lambda of generalised advantage estimation; 1 is Monte Carlo")
    value_coefficient: float = Field(5.0, gt=0, description="weight of the value loss, which has a factor 1/2")
    value_clip: float = Field(0.2, gt=0, description="how far a value may move from that of the rollout")
    iterations: int = Field(2, ge=1, description="optimizer steps on one rollout, each over all of it")
    whiten: bool = Field(True, description="advantages of mean 0 and variance 1 over a rollout")
    value_warmup_steps: int = Field(0, ge=0, description="first optimizer steps without the policy loss")
    allow_no_kl: bool = Field(False, description="accept rl.beta = 0, with which ReFT's policy collapsed")


class Rl(Table):
    """Reinforcement with the grader as reward."""

    algorithm: Literal["grpo", "rloo", "ppo", "online_self_training"] = Field(
        "grpo",
        description="replies count against their group, the others in it or a value head; or right ones are learnt",
    )
    ppo: Ppo = Field(Ppo(), description="settings of PPO alone")
    steps: int = Field(100, ge=1, description="optimizer steps")
    prompts_per_step: int = Field(16, ge=1, description="different prompts per step")
    group_size: int = Field(8, ge=1, description="completions per prompt; 1 with ppo only")
    order: Literal["random", "difficulty", "kind"] = Field(
        "random", description="easy prompts first; kind: yes or no, then choice, then open"
    )
    micro_batch: int = how(128, "completions per forward and backward pass, at most", ge=1)
    learning_rate: float = Field(1e-4, gt=0, le=1, description="peak of the schedule")
    scheduler: Literal["cosine", "linear", "constant"] = Field(
        "constant", description="learning rate after the warm-up"
    )
    warmup_steps: int = Field(0, ge=0, description="steps with a rising rate")
    beta: float = Field(0.0, ge=0, description="weight of the KL to the model before reinforcement")
    temperature: float = Field(1.0, gt=0, le=2, description="sampling temperature")
    max_completion_length: int = Field(160, ge=1, description="tokens")
    format_weight: float = Field(0.1, ge=0, le=1, description="weight of the format score beside the grader's")
    partial: float = Field(0.0, ge=0, lt=1, description="reward of a readable answer that is wrong; ReFT: 0.1")
    save_steps: int = how(50, "optimizer steps between checkpoints", ge=1)
    log_steps: int = Field(1, ge=1, description="optimizer steps between lines of training.jsonl")
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = Field(
        "dapo", description="how token losses are averaged, as in TRL"
    )
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="what advantages are divided by")
    use_vllm: bool = how(False, "sample with vLLM where it imports, else with transformers")


class Eval(Table):
    """What is measured, and the statistics of the verdict."""

    tasks: Names = Field(min_length=1, description="lm-eval tasks of the recipe's own field")
    general: Names = Field((), description="lm-eval tasks of general ability, for retention")
    fewshot: int = Field(4, ge=0, description="examples for the few-shot base; 0 leaves that model out")
    batch_size: int = how(64, "prompts per generation call", ge=1)
    max_new_tokens: int = Field(160, ge=1, description="tokens")
    alpha: float = Field(0.05, gt=0, lt=1, description="error level of the tests, after Holm")
    margin: float = Field(0.05, gt=0, lt=1, description="non-inferiority margin of retention, a share of 1")


@dataclass(frozen=True)
class Recipe:
    """One recipe under one profile: everything a run depends on. `data` is the builder's own Spec."""

    name: str
    profile: str
    file: Path
    summary: str
    builder: str
    seed: int
    data: BaseModel
    model: Model
    sft: Sft
    rl: Rl | None
    eval: Eval


class DataStage(Table):
    """What the data stage gets."""

    builder: str
    data: SerializeAsAny[BaseModel]
    seed: int


class SftStage(Table):
    """What the sft stage gets."""

    model: Model
    sft: Sft
    seed: int


class RlStage(Table):
    """What the rl stage gets."""

    model: Model
    rl: Rl
    seed: int


class EvaluateStage(Table):
    """What the evaluate stage gets."""

    model: Model
    eval: Eval
    seed: int


def model_folder(name):
    """The folder that a model name stands for ("embedded", or one starting with `.`, `/`, `~`); None for a hub id."""
    if name == "embedded":
        return EMBEDDED
    return Path(name).expanduser() if name.startswith((".", "/", "~")) else None
