"""The typed tables of a recipe: every default, unit and range, once. `recipes.config.load` fills them from TOML.

A value is part of what a result *is*, and so of its fingerprint, unless its field is made with `runtime_field`: those
say how the work is done (how often to save, which kernel, how many at a time) and may change without a rebuild. Where
one of those decides the result after all, its table names it in `decisive`.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field

from recipes.base.places import LAB_MODEL
from recipes.base.table import Table, runtime_field

DEFAULT_PROFILE = "embedded"
WORLD = "world"  # kind of the rows of general ability that `[mix]` adds

Names = Annotated[tuple[str, ...], Field(strict=False)]


class Head(Table):
    """The scalars at the top of a recipe."""

    summary: str = Field(description="one line for `list`", min_length=1)
    builder: str = Field("", description="folder under data_builders/ that makes the rows")
    seed: int = Field(42, ge=0, lt=2**32, description="seeds the data, the training order and the sampling")


class Model(Table):
    """The base model, and how its weights are held."""

    name: str = Field(
        default="embedded",
        pattern=r"^(embedded|[\w.-]*\w[\w.-]*/[\w.-]+|[./~].*)$",
        examples=["embedded"],
        description='"embedded", a hub id "owner/name", a folder (./x, /x, ~/x), or a GGUF file (./x.gguf), which is '
        "unpacked once beside the runs",
    )
    revision: str = Field(default="main", min_length=1, description="branch, tag or commit of a hub id")
    chat_template: str = Field(
        default="",
        pattern=r"^(|[a-z0-9_]+|[./~].*)$",
        examples=[""],
        description='of a base without one: a name that TRL knows, such as "qwen2_5", or a file (./x.jinja); empty: '
        "the base's own",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="auto: bfloat16 on a GPU that has it, else float32; float32 where every weight learns",
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
        default="none", description="nf4: 4-bit weights under LoRA, through bitsandbytes"
    )
    trust_remote_code: bool = Field(default=False, description="run Python code that comes with the model")
    vision: Literal["frozen", "tuned"] = Field(
        default="frozen", description="of a model that sees: train the language side alone, or the vision tower with it"
    )


class Training(Table):
    """What the stages share that learn from given text."""

    epochs: float = Field(3.0, gt=0, description="passes over the rows")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak of the schedule")
    batch_tokens: int = Field(4096, ge=1, description="real tokens per optimizer step")
    max_length: int = Field(512, ge=8, description="tokens of a row, at most")
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps with a rising rate")
    scheduler: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW, per step, times the learning rate")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm is clipped to this")
    save_steps: int = runtime_field(100, "optimizer steps between checkpoints", ge=1)
    log_steps: int = runtime_field(10, "optimizer steps between lines of training.jsonl", ge=1)
    micro_batch: int = runtime_field(
        64, "rows per forward and backward pass, at most; the rest of a step is accumulated", ge=1
    )
    micro_tokens: int = runtime_field(
        0, "tokens per pass, at most, each row counted as long as the longest; one row always fits; 0: no limit", ge=0
    )


@dataclass(frozen=True)
class Step:
    """One step of a run: a stage with its settings.

    Attributes:
        name: what its result is called, and the word for `--until`.
        kind: the stage that carries it out, a file of recipes/stages.
        module: that file.
        settings: the stage's table; for `data` the builder's own.
        place: dotted place of the table in the recipe, for messages.
        inputs: names of the steps whose results it gets.
        measured: whether the model that it leaves is asked in an evaluation.
        builder: for `data`, the builder.
    """

    name: str
    kind: str
    module: ModuleType
    settings: Any
    place: str
    inputs: tuple[str, ...] = ()
    measured: bool = True
    builder: str = ""


@dataclass(frozen=True)
class Recipe:
    """One recipe under one profile: everything a run depends on. `explicit` says that the file names the steps."""

    name: str
    profile: str
    file: Path
    summary: str
    builder: str
    seed: int
    model: Model
    steps: tuple[Step, ...]
    explicit: bool = False

    def step(self, kind: str) -> Step | None:
        """The first step of a kind."""
        return next((step for step in self.steps if step.kind == kind), None)

    def settings(self, kind: str) -> Any:
        """The settings of the first step of a kind; None where there is none."""
        step = self.step(kind)
        return step and step.settings


def model_folder(name: str) -> Path | None:
    """The folder (or GGUF file) that a model name stands for ("embedded", or one starting with `.`, `/`, `~`); None for
    a hub id."""
    if name == "embedded":
        return LAB_MODEL
    return Path(name).expanduser() if name.startswith((".", "/", "~")) else None


def template_folder() -> Path:
    """The folder of the chat templates that TRL brings; found without importing it."""
    found = find_spec("trl")
    return Path(*(found.submodule_search_locations or ()) if found else (), "chat_templates")


def template_file(name: str) -> Path | None:
    """The file of a chat template: a path (one starting with `.`, `/`, `~`), or a name that TRL knows; None for
    empty."""
    if not name:
        return None
    path = name.startswith((".", "/", "~"))
    return Path(name).expanduser() if path else template_folder() / f"{name}.jinja"
