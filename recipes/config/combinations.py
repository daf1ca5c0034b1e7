"""Which settings do not go together, why, and what to do instead: what `check` refuses and docs/combinations.md shows.

The page is written from these tables (`python -m recipes.config.combinations > docs/combinations.md`), so that it
cannot tell of other refusals than there are. The module is long because it is one table: a row is read,
and added, by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

from recipes.base.toml import toml_value
from recipes.config.schema import TABLES, Balance, Experts, Sft, Training

TEXT_STAGES = tuple(name for name, kind in TABLES.items() if issubclass(kind, Training))  # that learn from given text
TUNED = tuple(name for name in TEXT_STAGES if issubclass(TABLES[name], Sft))
SEEING = ("grpo", "rloo")  # algorithms that rows with images can be learnt by
UNTYPED = ("lbl", "mi", "concentration")  # balance forms that ask for no types of rows or experts
# Settings of [rl] that an algorithm does not look at; they may not be set, so that none seems to count. The table
# [rl.ppo] may stay: its name says whom it is for, and a recipe of PPO's is switched to another algorithm by its name.
UNREAD = {
    "grpo": (),
    "rloo": ("loss_type", "scale_rewards"),
    "ppo": ("loss_type", "scale_rewards"),
    "online_self_training": ("loss_type", "scale_rewards", "beta", "partial", "format_weight"),
    "offline_self_training": (
        *("loss_type", "scale_rewards", "beta", "partial", "format_weight"),
        *("use_vllm", "order"),  # its rows are learnt in SFTTrainer's own random order
    ),
}


@dataclass(frozen=True)
class Refusal:
    """One combination that `check` refuses.

    Attributes:
        key: the setting that the error is about; `{stage}` stands for each of `stages`.
        example: `--set` strings that make the combination in a recipe which has every table.
        reason, instead: why, and what is allowed.
        holds: whether the tables break it: `holds(tables, own)`, with None for a table that a recipe has not or that
            is wrong itself; `own`, never None, is the table of the stage, or else that of `key`.
        involves: other settings that `holds` looks at; where one of those is wrong itself, nothing is said.
        fix: what to do, where `instead` does not say it already.
    """

    key: str
    example: tuple[str, ...]
    reason: str
    instead: str
    holds: Callable
    involves: tuple[str, ...] = ()
    fix: str | None = None
    stages: tuple[str, ...] = ("",)


class Later(NamedTuple):
    """What only a model, rows or an installed package can tell: refused when the stage starts, by `module`."""

    together: str
    reason: str  # the error's own words, which stand in `module`
    instead: str
    module: str


def _low_bit(t):
    return t.model is not None and t.model.quantization != "none"


def _typed(own):
    return own.balance.weight > 0 and own.balance.form not in UNTYPED


def _images(t):
    return getattr(t.data, "view", None) == "image"


def _rules_ask(t):
    """Whether the expert makes the rows; a model may mix forms, which the stage looks at."""
    return t.data.teacher.kind == "expert"


VARIANTS = {"init": "pissa", "dora": True, "rslora": True, "lora_plus": 2.0}
ADAPTER = {
    "method": "loramoe",
    "rank": 4,
    "alpha": 3.0,
    "dropout": 0.5,
    "target": ["q_proj"],
    "dora": True,
    "rslora": True,
    "experts": {"count": 4},
}

REFUSED = (
    Refusal(
        "model.quantization",
        ("model.quantization=nf4", "sft.method=full"),
        "4-bit weights cannot be trained themselves",
        'nf4 with {stage}.method = "lora" (or "loramoe" in supervised stages)',
        lambda t, own: _low_bit(t) and own.method == "full",
        ("{stage}.method",),
        'set model.quantization = "none" or {stage}.method = "lora"',
        TEXT_STAGES,
    ),
    Refusal(
        "{stage}.init",
        ("model.quantization=nf4", "sft.init=pissa"),
        "PiSSA takes its start out of the weights, which 4-bit ones do not allow",
        '"zero" with nf4',
        lambda t, own: _low_bit(t) and own.init == "pissa",
        ("model.quantization",),
        stages=TUNED,
    ),
    Refusal(
        "rl.use_vllm",
        ("model.quantization=nf4", "rl.use_vllm=true"),
        "vLLM gets the policy by merging the adapter into the weights and taking it out again at every step; each time "
        "4-bit weights are rounded anew, so the base drifts, and what is sent is their packed bytes",
        "false with nf4",
        lambda t, own: _low_bit(t) and own.use_vllm,
        ("model.quantization",),
        'set model.quantization = "none" where the weights fit, or rl.use_vllm = false',
    ),
    Refusal(
        "rl.use_vllm",
        ("sft.method=loramoe", "rl.use_vllm=true"),
        "vLLM gets the policy by merging the adapter into the weights; LoRAMoE's depends on the input and cannot be",
        'false with sft.method = "loramoe"',
        lambda t, own: t.sft is not None and t.sft.method == "loramoe" and own.use_vllm,
        ("sft.method",),
    ),
    Refusal(
        "rl.use_vllm",
        ("rl.beta=0.05", "rl.algorithm=ppo", "rl.use_vllm=true"),
        "ppo cannot sample with vLLM: TRL would send it the value head, which it does not know",
        "false",
        lambda t, own: own.algorithm == "ppo" and own.use_vllm,
        ("rl.algorithm",),
    ),
    Refusal(
        "rl.beta",
        ("rl.algorithm=ppo",),
        "ppo without a KL penalty collapses (ReFT, arXiv 2401.08967)",
        "a number > 0; ReFT: 0.01 for programs, 0.05 for text",
        lambda t, own: own.algorithm == "ppo" and own.beta == 0 and not own.ppo.allow_no_kl,
        ("rl.ppo", "rl.ppo.allow_no_kl", "rl.algorithm"),
        "set rl.beta = 0.05, or rl.ppo.allow_no_kl = true to try it",
    ),
    Refusal(
        "rl.prompts_per_step",
        ("rl.algorithm=ppo", "rl.beta=0.05", "rl.group_size=1", "rl.prompts_per_step=7"),
        "a rollout of ppo with one reply for a prompt must be even (TRL counts in groups of two)",
        "an even number, or rl.group_size >= 2",
        lambda t, own: own.algorithm == "ppo" and own.group_size == 1 and own.prompts_per_step % 2,
        ("rl.group_size", "rl.algorithm"),
    ),
    Refusal(
        "rl.group_size",
        ("rl.group_size=1",),
        "every algorithm but ppo needs several replies for a prompt",
        "a whole number >= 2",
        lambda t, own: own.algorithm != "ppo" and own.group_size < 2,
        ("rl.algorithm",),
        'or rl.algorithm = "ppo", which needs no group',
    ),
    Refusal(
        "rl.order",
        ("rl.order=kind",),
        "the rl rows of this builder are all of one form, so no order is among them",
        "kind with data.rl_forms = true, which asks each item in three forms",
        lambda t, own: own.order == "kind" and getattr(t.data, "rl_forms", None) is False and _rules_ask(t),
        ("data.rl_forms", "data.teacher"),
        "add --set data.rl_forms=true, or leave out rl.order",
    ),
    Refusal(
        "rl.algorithm",
        ("builder=vsllava", "data.view=image", "rl.beta=0.05", "rl.algorithm=ppo"),
        "only TRL's own two algorithms pass images on to the model",
        " or ".join(f'"{name}"' for name in SEEING),
        lambda t, own: _images(t) and own.algorithm not in SEEING,
        ("data.view",),
        "choose one of these, or a view of the data that is text",
    ),
    Refusal(
        "data.view",
        ("builder=vsllava", "rl.steps=10", "data.view=none"),
        "reinforcement would reward guesses: no prompt shows its signal",
        "a view that shows it",
        lambda t, own: t.rl is not None and getattr(t.data, "view", None) == "none",
        ("rl",),
        "choose another view, or set rl = false",
    ),
    Refusal(
        "rerank.prompts",
        ("builder=vsllava", "data.view=image", "rerank.prompts=16"),
        "the judge of replies reads text only",
        "a recipe without [rerank], or a view of the data that is text",
        lambda t, own: _images(t),
        ("data.view",),
    ),
    *(
        Refusal(
            f"{{stage}}.{key}",
            ("sft.method=full", f"sft.{key}={toml_value(value)}"),
            "is a variant of LoRA",
            'its default, or {stage}.method = "lora"',
            lambda t, own, key=key: own.method != "lora" and getattr(own, key) != Sft.model_fields[key].default,
            ("{stage}.method",),
            stages=TUNED,
        )
        for key, value in VARIANTS.items()
    ),
    Refusal(
        "{stage}.experts",
        ("sft.experts.count=4",),
        "belongs to LoRAMoE",
        '{stage}.method = "loramoe"',
        lambda t, own: own.method != "loramoe" and own.experts != Experts(),
        ("{stage}.method",),
        stages=TUNED,
    ),
    Refusal(
        "{stage}.balance",
        ("sft.balance.weight=0.1",),
        "belongs to LoRAMoE",
        '{stage}.method = "loramoe"',
        lambda t, own: own.method != "loramoe" and own.balance != Balance(),
        ("{stage}.method",),
        stages=TUNED,
    ),
    Refusal(
        "{stage}.experts.general",
        ("sft.method=loramoe", "mix.share=0.1", "sft.balance.weight=0.1", "sft.experts.general=0"),
        "this form of balancing gives each type of rows to experts of that type, so there must be some of both",
        "at least 1 and fewer than {stage}.experts.count",
        lambda t, own: own.method == "loramoe" and _typed(own) and not 0 < own.experts.general < own.experts.count,
        ("{stage}.experts", "{stage}.balance", "{stage}.method"),
        "or a form without types: {stage}.balance.form = " + ", ".join(f'"{form}"' for form in UNTYPED),
        TUNED,
    ),
    Refusal(
        "{stage}.balance",
        ("sft.method=loramoe", "sft.balance.weight=0.1"),
        "this form of balancing gives general rows to one part of the experts and all others to the rest; without "
        "general rows it would keep every token from the first part",
        "sft with general rows from [mix], or a form without types",
        lambda t, own: own.method == "loramoe" and _typed(own) and (own is not t.sft or t.mix is None),
        ("mix.share", "mix.general", "{stage}.experts", "{stage}.method"),
        "add --set mix.share=0.15, or take {stage}.balance.form = " + ", ".join(f'"{form}"' for form in UNTYPED),
        TUNED,
    ),
    Refusal(
        "{stage}.balance.scope",
        ("sft.method=loramoe", "sft.balance.scope=buffer", "sft.balance.form=sample_cv2"),
        "a form over samples holds every row to the same split, whatever it is gathered over",
        '"micro" with this form',
        lambda t, own: own.balance.form.startswith("sample") and own.balance.scope != "micro",
        ("{stage}.balance",),
        stages=TUNED,
    ),
    Refusal(
        "{stage}.kl_direction",
        ("sft.kl_weight=0", "sft.kl_direction=reference"),
        "there is no self-constraint that could have a direction",
        '"policy", which is its default, or {stage}.kl_weight > 0',
        lambda t, own: own.kl_weight == 0 and own.kl_direction != Sft.model_fields["kl_direction"].default,
        ("{stage}.kl_weight",),
        stages=TUNED,
    ),
    Refusal(
        "{stage}.init",
        ("sft.init=pissa", "sft.kl_weight=0.1"),
        "with the adapter off a PiSSA model is not the model it started from, so there is nothing to hold it near",
        '"zero" where {stage}.kl_weight > 0',
        lambda t, own: own.init == "pissa" and own.kl_weight > 0,
        ("{stage}.kl_weight",),
        stages=TUNED,
    ),
    Refusal(
        "{stage}.init",
        ("sft.init=pissa", "sft.dora=true"),
        "a PiSSA adapter with DoRA cannot be turned into one for the unchanged base",
        '"zero" with {stage}.dora',
        lambda t, own: own.init == "pissa" and own.dora,
        ("{stage}.dora",),
        stages=TUNED,
    ),
    Refusal(
        "sft.init",
        ("sft_general.epochs=1", "sft.init=pissa"),
        "PiSSA starts an adapter of its own, which two stages cannot share",
        '"zero" in sft and sft_general',
        lambda t, own: t.sft_general is not None and "pissa" in (t.sft_general.init, own.init),
        ("sft_general.init",),
    ),
    *(
        Refusal(
            f"sft.{key}",
            ("sft_general.epochs=1", f"sft.{key}={toml_value(value)}"),
            "the adapter of sft_general is trained on, so it has to be of the same form",
            "the same in both tables",
            lambda t, own, key=key: (
                t.sft_general is not None
                and t.sft_general.method != "full"
                and getattr(t.sft_general, key) != getattr(own, key)
            ),
            (f"sft_general.{key}", "sft_general.method"),
            'or sft_general.method = "full"',
        )
        for key, value in ADAPTER.items()
    ),
    Refusal(
        "sft.kl_weight",
        ("sft_general.epochs=1", "sft.kl_weight=0.1"),
        "with the adapter off the model is the one before sft_general, so there is nothing to hold it near",
        "0 where sft_general leaves an adapter",
        lambda t, own: t.sft_general is not None and t.sft_general.method != "full" and own.kl_weight > 0,
        ("sft_general.method",),
        'set sft_general.method = "full", or put the general rows into [mix]',
    ),
)

LATER = (
    Later(
        "rows with images, and an algorithm or a judge that reads text",
        "the rows have images, and this cannot look at them",
        "`grpo` or `rloo`, no `[rerank]`, or a view of the data that is text",
        "recipes/models/vision.py",
    ),
    Later(
        "rows with images, and a base without a vision tower",
        "the rows have images and the base model reads text only",
        "a vision-language model, or a view of the data that is text",
        "recipes/models/vision.py",
    ),
    Later(
        "rl rows with images beside rl rows without",
        "rows with and without images cannot share a rollout",
        "images in every row, or in none",
        "recipes/stages/rl.py",
    ),
    Later(
        '`model.vision = "frozen"` and a `target` inside the vision tower',
        "the vision tower is not left as it is",
        'names of the language model\'s layers, or `model.vision = "tuned"`',
        "recipes/models/vision_tower.py",
    ),
    Later(
        "`rl.order` and rows that are all of one level",
        "the rows are all of one level, so no order is among them",
        "`random`, or rows of several levels (analogseeker: `data.rl_forms = true` for the order `kind`)",
        "recipes/models/curriculum.py",
    ),
    Later(
        '`rl.order = "difficulty"` and rows without a difficulty',
        "rows cannot be put in order of difficulty",
        "`random` or `kind`",
        "recipes/models/curriculum.py",
    ),
    Later(
        "`sft.kl_weight` and an output layer that is more than linear, scale and soft cap",
        "this model's output layer is not understood, so its divergence from the start cannot be computed",
        "`sft.kl_weight = 0`",
        "recipes/methods/losses/kl_to_reference.py",
    ),
    Later(
        "balancing under reentrant gradient checkpointing, which TRL forces for peft under DeepSpeed ZeRO-3",
        "reentrant gradient checkpointing would drop the gradient of the balance term without a word",
        "non-reentrant checkpointing, or no balancing",
        "recipes/models/routing.py",
    ),
    Later(
        "PPO with TRL's continuous batching in bf16 or fp16 (in Python only: no key asks for it)",
        "TRL casts every weight to half precision for continuous batching, and never back",
        "one of them",
        "recipes/methods/rl/ppo.py",
    ),
    Later(
        "PPO with tools or environments (in Python only)",
        "PPO is not made for replies with tool calls",
        "`grpo`",
        "recipes/methods/rl/ppo.py",
    ),
    Later(
        "merging a LoRAMoE adapter into its base",
        "a LoRAMoE adapter cannot be merged into its base",
        "`export`, which writes the adapter beside its base",
        "recipes/models/loramoe/layer.py",
    ),
    Later(
        '`model.attn = "flash_attention_2"` without its package or without a fit GPU',
        "flash attention cannot run here",
        "`auto`, `sdpa` or `eager`",
        "recipes/models/loader.py",
    ),
    Later(
        "`model.attn` as a kernel of the hub without the package kernels",
        "a kernel of the hub cannot be loaded here",
        "`pip install kernels`, or `auto`, `sdpa`, `eager`",
        "recipes/models/loader.py",
    ),
)


def check_combinations(tables, problem):
    """Report every `Refusal` that the typed `tables` (as of `checks.cross_checks`) break."""
    t = SimpleNamespace(**tables)
    for one in REFUSED:
        for stage in one.stages:
            key, *involves = (text.format(stage=stage) for text in (one.key, *one.involves))
            name, *path = key.split(".")
            own = tables[stage or name]
            if tables[name] is not None and own is not None and one.holds(t, own):
                words = (text and text.format(stage=stage) for text in (one.instead, one.fix))
                problem(key, one.reason, _shown(tables[name], path), *words, involves=involves)


def check_unread(rl, problem):
    """Report settings of `[rl]` that its algorithm does not look at."""
    for key in UNREAD[rl.algorithm]:
        default = type(rl).model_fields[key].default
        if getattr(rl, key) != default:
            problem(
                f"rl.{key}",
                f"{rl.algorithm} does not read it",
                toml_value(getattr(rl, key)),
                f"its default, {toml_value(default)}",
                f"leave out rl.{key}, or --set rl.{key}={toml_value(default)}, or choose another rl.algorithm",
                involves=("rl.algorithm",),
            )


def _shown(own, path):
    """The value at `path` below a table as TOML; of a whole table what differs from its defaults."""
    for part in path:
        own = getattr(own, part)
    return toml_value(own.model_dump(exclude_defaults=True) if hasattr(own, "model_dump") else own)


def page() -> str:
    """docs/combinations.md."""
    lines = [
        "# What does not go together",
        "",
        "Written by `python -m recipes.config.combinations > docs/combinations.md` from the tables in",
        "`recipes/config/combinations.py`; a test makes every combination below and compares the page.",
        "",
        "## Refused by `check`, and by `run` before anything starts",
        "",
        "The first column holds `--set` strings that make the combination; those of `sft` hold for `sft_general` too,",
        "and where it has the key for `cpt`.",
        "",
        "| together | why not | instead |",
        "|---|---|---|",
    ]
    rows: dict[tuple[str, str], list[str]] = {}
    for one in REFUSED:
        instead = one.instead.format(stage="sft")
        if one.fix:
            instead += f"; {one.fix.format(stage='sft')}"
        rows.setdefault((one.reason, instead), []).append(", ".join(f"`{text}`" for text in one.example))
    lines += [f"| {'; or '.join(made)} | {reason} | {instead} |" for (reason, instead), made in rows.items()]
    lines += [
        "",
        "Settings that an algorithm does not read may not be set to anything but their default:",
        "",
        "| `rl.algorithm` | does not read |",
        "|---|---|",
        *(f"| `{name}` | {', '.join(f'`rl.{key}`' for key in keys)} |" for name, keys in UNREAD.items() if keys),
        "",
        "## Refused when a stage starts",
        "",
        "What only the model, the rows or the machine can tell.",
        "",
        "| together | why not | instead | refused in |",
        "|---|---|---|---|",
        *(f"| {one.together} | {one.reason} | {one.instead} | `{one.module}` |" for one in LATER),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
