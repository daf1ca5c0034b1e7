"""The typed tables of a recipe: every default, unit and range, once. `recipes.config.load` fills them from TOML.

A value is part of what a result *is*, and so of its fingerprint, unless its field is made with `runtime_field`: those
say how the work is done (how often to save, which kernel, how many at a time) and may change without a rebuild. Where
one of those decides the result after all, its table names it in `decisive`.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field

from recipes.base.places import LAB_MODEL
from recipes.base.table import Table, runtime_field

DEFAULT_PROFILE = "embedded"
WORLD = "world"  # kind of the rows of general ability that `[mix]` adds

Names = Annotated[tuple[str, ...], Field(strict=False)]


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
        "auto", description="auto: bfloat16 on a GPU that has it, else float32; float32 where every weight learns"
    )
    attn: str = runtime_field(
        "auto",
        '"auto" (flash-attn where it imports, else sdpa), "sdpa", "eager", "flash_attention_2", or a kernel of the hub '
        '"OWNER/NAME" or "OWNER/NAME@REVISION", such as "kernels-community/flash-attn2", through the package kernels '
        "(not tried on a GPU; rows are not packed under it; owners other than kernels-community ask for "
        "model.trust_remote_code)",
        pattern=r"^(auto|sdpa|eager|flash_attention_2|[\w-][\w.-]*/[\w-][\w.-]*(@[\w.-]+)?)$",
        examples=["auto", "sdpa", "eager", "flash_attention_2"],
    )
    quantization: Literal["none", "nf4"] = Field(
        "none", description="nf4: 4-bit weights under LoRA, through bitsandbytes"
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    vision: Literal["frozen", "tuned"] = Field(
        "frozen", description="of a model that sees: train the language side alone, or the vision tower with it"
    )


class Mix(Table):
    """General text among the supervised rows, against forgetting."""

    general: str = Field(
        "embedded",
        pattern=r"^(embedded|[./~].*)$",
        examples=["embedded"],
        description='"embedded", or a JSONL file (./x, /x, ~/x) of rows with prompt and completion, as in sft.jsonl',
    )
    share: float = Field(gt=0, lt=1, description="share of the supervised rows that are general")


class Experts(Table):
    """LoRAMoE: several LoRA experts of `sft.rank` behind a router, in every adapted layer (arXiv 2312.09979)."""

    count: int = Field(6, ge=2, description="experts of a layer")
    general: int = Field(3, ge=0, description="of these, how many are of the type of general rows (kind world)")
    top_k: int = Field(0, ge=0, description="experts that a token is given to; 0: all, by weight")


class Balance(Table):
    """Balancing constraint of LoRAMoE: experts get more of the tokens of rows of their own type."""

    weight: float = Field(0.0, ge=0, description="weight beside the cross-entropy; 0: no constraint")
    form: Literal["type_cv2", "sample_cv2", "sample_var_mean", "lbl", "mi", "concentration"] = Field(
        "type_cv2",
        description="type_cv2: per type; sample_cv2: the authors' code; sample_var_mean: their text, which grows with "
        "the length of rows; lbl, mi, concentration: no types",
    )
    scope: Literal["micro", "buffer", "lagged"] = Field(
        "buffer", description="statistics of a micro-batch, of the step so far on all devices, or of the step before"
    )
    sign: Literal["attract", "official"] = Field(
        "attract", description="attract: matching experts get more; official: as in the authors' code, less"
    )
    delta: float = Field(0.1, ge=0, lt=1, description="how far the types are pulled apart")
    reduce: Literal["mean", "sum"] = Field("mean", description="over layers; under sum the weight grows with depth")
    mask: Literal["attention", "completion"] = Field("attention", description="every token, or those learnt from")


class Training(Table):
    """What the stages share that learn from given text."""

    epochs: float = Field(3.0, gt=0, description="passes over the rows")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak of the schedule")
    batch_tokens: int = Field(4096, ge=1, description="real tokens per optimizer step")
    max_length: int = Field(512, ge=8, description="tokens of a row; a longer one is an error, not a cut")
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps with a rising rate")
    scheduler: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW, per step, times the learning rate")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm is clipped to this")
    save_steps: int = runtime_field(100, "optimizer steps between checkpoints", ge=1)
    log_steps: int = Field(10, ge=1, description="optimizer steps between lines of training.jsonl")
    micro_batch: int = runtime_field(
        64, "rows per forward and backward pass, at most; the rest of a step is accumulated", ge=1
    )
    micro_tokens: int = runtime_field(
        0, "tokens per pass, at most, each row counted as long as the longest; one row always fits; 0: no limit", ge=0
    )


class Cpt(Training):
    """Continued pre-training: every token of running text is learnt. It leaves a whole model (arXiv 2408.15545)."""

    method: Literal["full", "lora"] = Field("full", description="every weight, or LoRA that is merged at the end")
    rank: int = Field(64, ge=1, description="LoRA rank")
    alpha: float = Field(128.0, gt=0, description="LoRA scale; the update is multiplied by alpha / rank")
    target: Names = Field(("all-linear",), min_length=1, description='["all-linear"] or endings of module names')
    epochs: float = Field(1.0, gt=0, description="passes over the text")
    learning_rate: float = Field(1e-5, gt=0, le=1, description="peak of the schedule")
    max_length: int = Field(2048, ge=8, description="tokens of a block; texts are joined and cut into blocks")
    batch_tokens: int = Field(65536, ge=1, description="tokens per optimizer step")
    weight_decay: float = Field(0.1, ge=0, le=1, description="AdamW, per step, times the learning rate")
    corpus: str = runtime_field(  # the data stage reads it, and its content is part of what the data are
        "",
        "a folder of documents (./x, /x, ~/x) to learn; empty: the texts that the builder makes",
        pattern=r"^([./~].*)?$",
    )
    general: str = Field(
        "embedded",
        pattern=r"^(embedded|[./~].*)$",
        examples=["embedded"],
        description='"embedded", or a JSONL file (./x, /x, ~/x) of rows with text, or with prompt and completion',
    )
    general_share: float = Field(0.0, ge=0, lt=1, description="share of the tokens that are general text; paper: 0.465")


class Sft(Training):
    """Supervised fine-tuning on assistant tokens."""

    method: Literal["lora", "loramoe", "full"] = Field(
        "lora", description="low-rank adapter, several of them behind a router, or every weight"
    )
    rank: int = Field(16, ge=1, description="LoRA rank; of each expert under loramoe")
    alpha: float = Field(32.0, gt=0, description="LoRA scale; the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout, a share")
    target: Names = Field(("all-linear",), min_length=1, description='["all-linear"] or endings of module names')
    init: Literal["zero", "pissa"] = Field(
        "zero",
        description="start of LoRA: no change, or the main singular directions of the weights (arXiv 2404.02948)",
    )
    dora: bool = Field(False, description="learn the size of the weights apart from their direction (arXiv 2402.09353)")
    rslora: bool = Field(False, description="multiply by alpha / sqrt(rank) instead (arXiv 2312.03732)")
    lora_plus: float = Field(1.0, ge=1, description="learning rate of LoRA's B over that of A (arXiv 2402.12354)")
    kl_weight: float = Field(
        0.0, ge=0, description="self-constraint: weight of the divergence from the start on assistant tokens; 0: none"
    )
    kl_direction: Literal["policy", "reference"] = Field(
        "policy", description="policy: KL(model, start), as AnalogSeeker; reference: KL(start, model)"
    )
    experts: Experts = Field(Experts(), description="LoRAMoE's experts")
    balance: Balance = Field(Balance(), description="LoRAMoE's balancing constraint")
    packing: bool = Field(
        True, description="several rows in one sequence where attention can tell them apart (flash attention)"
    )

    @property
    def decisive(self):
        """The balance term is taken over micro-batches, or over those of a step so far: their size decides it."""
        return {"micro_batch", "micro_tokens"} if self.balance.weight > 0 else set()


class Ppo(Table):
    """PPO with a value head, as in ReFT (arXiv 2401.08967); read where rl.algorithm is "ppo"."""

    gamma: float = Field(1.0, ge=0, le=1, description="discount of later rewards")
    lam: float = Field(0.95, ge=0, le=1, description="lambda of generalised advantage estimation; 1 is Monte Carlo")
    value_coefficient: float = Field(5.0, gt=0, description="weight of the value loss, which has a factor 1/2")
    value_rate: float = Field(1.0, gt=0, description="learning rate of the value head over the policy's")
    value_clip: float = Field(0.2, gt=0, description="how far a value may move from that of the rollout")
    iterations: int = Field(2, ge=1, description="optimizer steps on one rollout, each over all of it")
    whiten: bool = Field(True, description="advantages of mean 0 and variance 1 over a rollout")
    value_warmup_steps: int = Field(0, ge=0, description="first optimizer steps without the policy loss")
    allow_no_kl: bool = Field(False, description="accept rl.beta = 0, with which ReFT's policy collapsed")


class Rl(Table):
    """Reinforcement with the grader as reward."""

    algorithm: Literal["grpo", "rloo", "ppo", "online_self_training", "offline_self_training"] = Field(
        "grpo",
        description="replies count against their group, the others in it or a value head; or right ones are learnt, "
        "sampled at every step (online) or once (offline)",
    )
    ppo: Ppo = Field(Ppo(), description="settings of PPO alone")
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
    beta: float = Field(0.0, ge=0, description="weight of the KL to the model before reinforcement")
    temperature: float = Field(1.0, gt=0, le=2, description="sampling temperature")
    max_completion_length: int = Field(160, ge=1, description="tokens")
    format_weight: float = Field(0.1, ge=0, le=1, description="weight of the format score beside the grader's")
    partial: float = Field(0.0, ge=0, lt=1, description="reward of a readable answer that is wrong; ReFT: 0.1")
    save_steps: int = runtime_field(50, "optimizer steps between checkpoints", ge=1)
    log_steps: int = Field(1, ge=1, description="optimizer steps between lines of training.jsonl")
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = Field(
        "dapo", description="how token losses are averaged, as in TRL"
    )
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="what advantages are divided by")
    use_vllm: bool = runtime_field(False, "sample with vLLM where it imports, else with transformers")


class Rerank(Table):
    """A judge that picks one of several sampled replies, for tasks named _rerank (ReFT, arXiv 2401.08967)."""

    prompts: int = Field(256, ge=8, description="prompts of rl.jsonl that are answered for it")
    samples: int = Field(8, ge=2, description="replies to each; ReFT: 100")
    temperature: float = Field(1.0, gt=0, le=2, description="sampling temperature")
    max_completion_length: int = Field(160, ge=1, description="tokens of a reply")
    rank: int = Field(16, ge=1, description="LoRA rank of the judge")
    alpha: float = Field(32.0, gt=0, description="LoRA scale; the update is multiplied by alpha / rank")
    epochs: float = Field(3.0, gt=0, description="passes over the graded replies")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="peak of the schedule")
    batch_rows: int = Field(64, ge=1, description="replies per optimizer step")
    save_steps: int = runtime_field(100, "optimizer steps between checkpoints", ge=1)
    log_steps: int = Field(10, ge=1, description="optimizer steps between lines of training.jsonl")
    micro_batch: int = runtime_field(64, "replies at once, at most", ge=1)


class Eval(Table):
    """What is measured, and the statistics of the verdict."""

    tasks: Names = Field(min_length=1, description="lm-eval tasks of the recipe's own field")
    general: Names = Field((), description="lm-eval tasks of general ability, for retention")
    fewshot: int = Field(4, ge=0, description="examples for the few-shot base; 0 leaves that model out")
    batch_size: int = runtime_field(64, "prompts per generation call", ge=1)
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
    mix: Mix | None
    model: Model
    cpt: Cpt | None
    sft_general: Sft | None
    sft: Sft
    rl: Rl | None
    rerank: Rerank | None
    eval: Eval


_KINDS = {field.name: get_args(field.type) or (field.type,) for field in fields(Recipe)}  # Cpt | None: Cpt, NoneType
TABLES = {name: kind for name, (kind, *_) in _KINDS.items() if isinstance(kind, type) and issubclass(kind, Table)}
OPTIONAL = tuple(name for name in TABLES if NoneType in _KINDS[name])  # tables that a recipe may leave out


def model_folder(name):
    """The folder that a model name stands for ("embedded", or one starting with `.`, `/`, `~`); None for a hub id."""
    if name == "embedded":
        return LAB_MODEL
    return Path(name).expanduser() if name.startswith((".", "/", "~")) else None
