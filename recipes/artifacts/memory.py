"""What a step takes of its device's memory, reckoned from the configuration before anything is loaded.

weights + adapter + gradients + optimizer + copies + activations + logits + KV cache (+ the program itself on a CPU)

Estimates, not bounds. Activations are those of attention without a stored score matrix (sdpa, flash attention); on a
GPU every layer but one is computed again in the backward pass (gradient checkpointing), on a CPU all are kept.
`benchmarks/memory.py` sets them beside measured peaks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from recipes.artifacts.architecture import Architecture, read_architecture
from recipes.artifacts.machine import Machine
from recipes.base.durations import format_size
from recipes.config.conflicts import Scope, ancestors
from recipes.config.schema import Model, Recipe, Step, Training
from recipes.config.slots import Method, list_needs, load, module_of

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
NF4_BYTES = 0.516  # 4 bits and the doubly quantised scales of blocks of 64 (arXiv 2305.14314)
PROGRAM = 620e6  # Python with torch, transformers, TRL and datasets on a CPU, before a model is loaded
LOGIT_COPIES = 3  # the logits, their float32 or log-softmax, and their gradient
CHUNK = 256  # positions that TRL's fused head scores at once
PADDING = 1.5  # tokens of a step with padding, over real ones, where rows of like length share a pass
KEPT = 0.92  # of a device: the rest goes to its context and to fragments


@dataclass(frozen=True)
class Need:
    """What a stage does at once, as its `describe_need` says.

    Attributes:
        adapter: table of the adapter that learns; None where nothing learns.
        tokens: of one forward and backward pass, padding included.
        scored: positions whose logits are held at once beside the chunk that training scores.
        cached: tokens in the KV cache while replies are sampled; `read` those of the prompts, read in one pass.
        reference: whole copies of the model beside it.
        smaller: key and value, in the stage's table, of the smallest pass, and `least` its tokens.
    """

    adapter: Method | None = None
    tokens: int = 0
    scored: int = 0
    cached: int = 0
    read: int = 0
    reference: int = 0
    smaller: str = ""
    least: int = 0


COUNTED = ("weights", "adapter", "gradients", "optimizer", "reference")  # the other parts depend on what rows are like


@dataclass(frozen=True)
class Estimate:
    """Bytes of one step on one device by part, and a change of keys that would make it fit, empty where it does."""

    step: str
    parts: dict[str, float] = field(default_factory=dict)
    room: float = 0.0
    fix: str = ""

    @property
    def total(self) -> float:
        """Bytes in all."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Whether the device has the room."""
        return self.total <= self.room

    @property
    def stops(self) -> bool:
        """Whether the parts that are counted and not guessed exceed the device: then the step cannot run at all."""
        return sum(self.parts.get(name, 0.0) for name in COUNTED) > self.room

    @property
    def sentence(self) -> str:
        """What does not fit, of what it consists, and what to set instead."""
        large = sorted(self.parts.items(), key=lambda part: -part[1])[:3]
        made_of = ", ".join(f"{name} {format_size(size)}" for name, size in large)
        return (
            f"{self.step} needs about {format_size(self.total)} on one device ({made_of}); there is room for "
            f"{format_size(self.room)}. {self.fix or 'No change of one key makes it fit: take a smaller model.name'}."
        )


def estimate_recipe(recipe: Recipe, machine: Machine) -> dict[str, Estimate]:
    """{step: estimate} of the steps that load the base; empty where the sizes of the base are not at hand."""
    sizes = read_architecture(recipe.model)
    return (
        {} if sizes is None else {step.name: estimate_step(step, recipe, sizes, machine) for step in describe(recipe)}
    )


def describe(recipe: Recipe) -> list[Step]:
    """The steps that say what they need."""
    return [step for step in recipe.steps if hasattr(step.module, "describe_need")]


def estimate_step(step: Step, recipe: Recipe, sizes: Architecture, machine: Machine) -> Estimate:
    """The memory of one step, and the first change that makes it fit."""
    own, place = find_adapter(step, recipe)
    need: Need = step.module.describe_need(step.settings, own)
    if need.smaller:
        need = replace(need, smaller=f"{step.place}.{need.smaller}")
    parts, room = reckon(need, recipe.model, sizes, machine), machine.room * KEPT
    if sum(parts.values()) <= room:
        return Estimate(step.name, parts, room)
    for words, other, model in list_changes(need, recipe.model, place):
        if (total := sum(reckon(other, model, sizes, machine).values())) <= room:
            return Estimate(step.name, parts, room, f"{words} needs {format_size(total)}")
    return Estimate(step.name, parts, room)


def find_adapter(step: Step, recipe: Recipe) -> tuple[Method, str]:
    """(the adapter that learns in a step, the dotted place of its table): its own, else that of the step before whose
    adapter is trained on; full fine-tuning where no step leaves one."""
    if (own := getattr(step.settings, "adapter", None)) is not None:
        return own, f"{step.place}.adapter"
    known = {one.name: one for one in recipe.steps}
    before = tuple(one for one in recipe.steps if one.name in ancestors(step, known))
    found = Scope(step.place, step, recipe.model, before).adapter_before()
    if found is not None:
        return found.settings.adapter, f"{found.place}.adapter"
    full = [one for one in before if getattr(one.settings, "adapter", None) is not None]
    return load("adapters", "full").Config(use="full"), f"{full[-1].place}.adapter" if full else ""


def list_changes(need: Need, model: Model, place: str) -> Iterator[tuple[str, Need, Model]]:
    """(words for `--set`, the need, the model) of changes that save memory, the mildest first."""
    smaller = [("", need)]
    most = need.tokens or need.cached
    if need.smaller and need.least < most:
        rate = need.least / most
        reduced = replace(need, tokens=int(need.tokens * rate), scored=int(need.scored * rate))
        if not need.tokens:  # a rollout is sampled at once, whatever the passes of training
            reduced = replace(reduced, cached=int(need.cached * rate), read=int(need.read * rate))
        smaller.append((f"--set {need.smaller}", reduced))
    low = load("adapters", "lora").Config(use="lora")
    half, four = model.model_copy(update={"dtype": "bfloat16"}), model.model_copy(update={"quantization": "nf4"})
    for words, other in smaller:
        if words:
            yield words, other, model
    for words, other in smaller:
        whole = need.adapter is not None and learns_whole(need.adapter)
        if whole and place:
            lora = replace(other, adapter=low, reference=0)
            yield f"--set {place}.use=lora {words}".strip(), lora, model
            yield f"--set {place}.use=lora --set model.quantization=nf4 {words}".strip(), lora, four
        elif not whole and model.quantization == "none":
            yield f"--set model.dtype=bfloat16 {words}".strip(), other, half
            yield f"--set model.quantization=nf4 {words}".strip(), other, four


def count_pass(table: Training, padding: float = PADDING) -> int:
    """Tokens of one pass of a stage that learns from given text, at most; the lengths of rows are not known before."""
    rows = max(table.micro_tokens, table.max_length) if table.micro_tokens else table.micro_batch * table.max_length
    return min(rows, max(table.max_length, round(table.batch_tokens * padding)))


def learns_whole(adapter: Method) -> bool:
    """Whether every weight learns, so that a reference model is a copy."""
    return count_learnt(adapter, None) is None


def count_references(methods: Iterable[Method], adapter: Method) -> int:
    """Copies of the model that methods ask for: none beside an adapter, which is turned off instead."""
    wanted = sum("reference_model" in list_needs(method, module_of(method)) for method in methods)
    return wanted if learns_whole(adapter) else 0


def count_learnt(adapter: Method, sizes: Architecture | None) -> int | None:
    """Weights that an adapter adds and learns; None where it adds none, because every weight learns.

    An adapter's file says it by `count_weights(own, maps)`; `maps` are the (inputs, outputs) that it stands beside.
    """
    module: ModuleType = module_of(adapter)
    count: Any = getattr(module, "count_weights", None)
    if count is None:
        return None
    target = tuple(getattr(adapter, "target", ("all-linear",)))
    return count(adapter, sizes.count_adapted(target) if sizes is not None else [])


def reckon(need: Need, model: Model, sizes: Architecture, machine: Machine) -> dict[str, float]:
    """{part: bytes} on one device."""
    auto = "bfloat16" if machine.on_gpu and machine.bf16 else "float32"
    width = BYTES[auto if model.dtype == "auto" else model.dtype]
    added = 0 if need.adapter is None else count_learnt(need.adapter, sizes)
    whole = added is None
    learnt_width = (4 if model.dtype == "auto" else width) if whole else 4
    learnt = sizes.weights if whole else added
    held = learnt_width if whole else width
    weights = sizes.weights * held
    if model.quantization == "nf4" and not whole:
        weights = sizes.linear_weights * NF4_BYTES + sizes.other_weights * width
    parts = {"weights": weights}
    if need.adapter is not None:
        parts |= {
            "adapter": 0.0 if whole else learnt * 4.0,
            "gradients": float(learnt * learnt_width),
            "optimizer": float(2 * learnt * learnt_width),
            "activations": reckon_activations(need, sizes, machine, whole, learnt_width if whole else width),
        }
        if machine.bf16 and held == 4:
            parts["bf16 copies"] = 2.0 * sizes.weights  # autocast keeps them until the pass is over
    if need.reference:
        parts["reference"] = float(need.reference * sizes.weights * width)
    positions = need.scored or (CHUNK if need.adapter is not None else 0)
    parts["logits"] = float(LOGIT_COPIES * positions * sizes.vocab * 4)
    cell = 2 * sizes.layers * sizes.kv_heads * sizes.head_dim
    kept = width if model.quantization == "none" else 2
    layer = 2 * sizes.hidden + 3 * sizes.intermediate
    sampling = {"KV cache": float(need.cached * cell * kept), "reading": float(need.read * layer * kept)}
    if sum(sampling.values()) > parts.get("activations", 0.0):  # one after the other, so the larger counts
        parts = {name: size for name, size in parts.items() if name != "activations"} | sampling
    if not machine.on_gpu:
        parts["program"] = PROGRAM
    return {name: size for name, size in parts.items() if size}


def reckon_activations(need: Need, sizes: Architecture, machine: Machine, whole: bool, width: int) -> float:
    """Bytes that the backward pass keeps of the forward pass, and one layer's gradients of them."""
    width = 2 if machine.bf16 and not whole else width
    query, key = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    # inputs of two norms and what they give; queries, keys and values before and after rotation, the mixture and its
    # copy; gate, its activation, up and their product
    layer = (6 if whole else 4) * sizes.hidden + 4 * query + 3 * key + 4 * sizes.intermediate
    if not whole and need.adapter is not None:
        columns = [size for size in sizes.count_adapted(tuple(getattr(need.adapter, "target", ("all-linear",))))]
        count: Any = getattr(module_of(need.adapter), "count_kept", None)
        layer += (count(need.adapter) if count else 0) * len(columns) // max(1, sizes.layers)
    if machine.on_gpu:
        return float(need.tokens * width * (sizes.layers * sizes.hidden + 2 * layer))
    return float(need.tokens * width * (sizes.layers + 1) * layer)
