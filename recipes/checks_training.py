"""Configuration checks of the stages that learn from given text: `[cpt]`, `[sft_general]`, `[sft]`."""


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
    for key in ("general", "top_k") if hasattr(table, "experts") else ():
        if getattr(table.experts, key) > table.experts.count:
            problem(
                f"{name}.experts.{key}",
                "more than there are experts",
                str(getattr(table.experts, key)),
                f"at most {name}.experts.count = {table.experts.count}",
                involves=(f"{name}.experts",),
            )
