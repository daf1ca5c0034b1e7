"""Configuration checks of the stages that learn from given text: `[cpt]`, `[sft_general]`, `[sft]`."""

from recipes.config import Balance, Experts
from recipes.toml import toml_value


def check_quantization(name, model, table, problem):
    if model.quantization == "nf4" and table.method == "full":
        problem(
            "model.quantization",
            "4-bit weights cannot be trained themselves",
            '"nf4"',
            f'nf4 with {name}.method = "lora"' + ("" if name == "cpt" else ' or "loramoe"'),
            f'set model.quantization = "none" or {name}.method = "lora"',
            involves=(f"{name}.method",),
        )
    if model.quantization == "nf4" and getattr(table, "init", "zero") == "pissa":
        problem(
            f"{name}.init",
            "PiSSA takes its start out of the weights, which 4-bit ones do not allow",
            '"pissa"',
            '"zero" with nf4',
            involves=("model.quantization",),
        )


def check_training(name, table, problem):
    """What holds for every stage that learns from given text."""
    if table.batch_tokens < table.max_length:
        problem(
            f"{name}.batch_tokens",
            f"a step must hold at least one row of {name}.max_length",
            str(table.batch_tokens),
            f"a whole number >= {table.max_length}",
            involves=(f"{name}.max_length",),
        )
    if "all-linear" in table.target and len(table.target) > 1:
        problem(
            f"{name}.target",
            '"all-linear" stands alone',
            str(list(table.target)),
            '["all-linear"] or endings of module names',
        )


def check_two_steps(first, sft, problem):
    """What holds where supervised tuning goes on from a first, general stage."""
    if first.init == "pissa" or sft.init == "pissa":
        problem(
            "sft.init",
            "PiSSA starts an adapter of its own, which two stages cannot share",
            toml_value(sft.init),
            '"zero" in sft and sft_general',
            involves=("sft_general.init",),
        )
    if first.method == "full":
        return
    for key in ("method", "rank", "alpha", "dropout", "target", "dora", "rslora", "experts"):
        if getattr(first, key) != getattr(sft, key):
            problem(
                f"sft.{key}",
                "the adapter of sft_general is trained on, so it has to be of the same form",
                str(getattr(sft, key)),
                f"{getattr(first, key)}, as sft_general.{key}",
                'set both alike, or sft_general.method = "full"',
                involves=(f"sft_general.{key}", "sft_general.method"),
            )
    if sft.kl_weight > 0:
        problem(
            "sft.kl_weight",
            "with the adapter off the model is the one before sft_general, so there is nothing to hold it near",
            str(sft.kl_weight),
            "0 where sft_general leaves an adapter",
            'set sft_general.method = "full", or put the general rows into [mix]',
            involves=("sft_general.method",),
        )


def check_sft(name, sft, problem):
    variants = {"init": "zero", "dora": False, "rslora": False, "lora_plus": 1.0}
    for key, plain in variants.items():
        if sft.method != "lora" and getattr(sft, key) != plain:
            problem(
                f"{name}.{key}",
                "is a variant of LoRA",
                toml_value(getattr(sft, key)),
                f"{toml_value(plain)} with {name}.method = {toml_value(sft.method)}",
                involves=(f"{name}.method",),
            )
    if sft.method != "loramoe" and (sft.experts, sft.balance) != (Experts(), Balance()):
        key = "experts" if sft.experts != Experts() else "balance"
        problem(
            f"{name}.{key}",
            "belongs to LoRAMoE",
            f"{name}.method = {toml_value(sft.method)}",
            f'{name}.method = "loramoe"',
            involves=(f"{name}.method",),
        )
    for key, most in (("general", sft.experts.count), ("top_k", sft.experts.count)):
        if getattr(sft.experts, key) > most:
            problem(
                f"{name}.experts.{key}",
                "more than there are experts",
                str(getattr(sft.experts, key)),
                f"at most {name}.experts.count = {most}",
                involves=(f"{name}.experts",),
            )
    if sft.balance.form.startswith("sample") and sft.balance.scope != "micro":
        problem(
            f"{name}.balance.scope",
            "a form over samples holds every row to the same split, whatever it is gathered over",
            toml_value(sft.balance.scope),
            '"micro" with this form',
            involves=(f"{name}.balance",),
        )
    if sft.init == "pissa" and sft.kl_weight > 0:
        problem(
            f"{name}.init",
            "with the adapter off a PiSSA model is not the model it started from, so there is nothing to hold it near",
            '"pissa"',
            f'"zero" where {name}.kl_weight > 0',
            involves=(f"{name}.kl_weight",),
        )
    if sft.init == "pissa" and sft.dora:
        problem(
            f"{name}.init",
            "a PiSSA adapter with DoRA cannot be turned into one for the unchanged base",
            '"pissa"',
            f'"zero" with {name}.dora',
            involves=(f"{name}.dora",),
        )
