"""`verdict`: did the tuning help? Of evaluations that anybody made; or, with --plan, what it takes to find out."""

from __future__ import annotations

import argparse
import math

from recipes.base.errors import RecipeError

SEEDS = (1, 2, 3, 5, 8)


def run(options: argparse.Namespace, command: str) -> int:
    """Print the verdict, or the plan; the exit code: 0 better or no worse, 1 worse, 2 cannot tell; 0 for a plan."""
    if options.plan:
        print(describe_plan(options))
        return 0
    if not options.tuned:
        raise RecipeError("Two evaluations are needed", got=options.base or "none", fix="recipes verdict BASE TUNED")
    from recipes.report.outside import as_text, give_verdict

    outcome = give_verdict(
        options.base,
        options.tuned,
        options.more,
        field=options.field,
        general=options.general,
        tasks=options.tasks,
        pool=parse_pools(options.pool),
        cluster=options.cluster,
        metric=options.metric,
        noise=options.noise,
        alpha=options.alpha,
        margin=options.margin,
        out=options.out,
        command=command,
    )
    print(as_text(outcome))
    print(options.out / "index.html")
    return outcome.code


def parse_pools(texts: list[str]) -> dict[str, str]:
    """{name: glob} of `NAME=GLOB`. Raises RecipeError."""
    for text in texts:
        if not all(text.partition("=")):
            raise RecipeError("A pool of tasks needs a name and a glob", where="--pool", got=text, allowed="NAME=GLOB")
    return {name: pattern for name, _, pattern in (text.partition("=") for text in texts)}


def describe_plan(options: argparse.Namespace) -> str:
    """Items for the gain by number of seeds, and for non-inferiority, as lines. Raises RecipeError."""
    from recipes.report.power import Plan, plan_items, plan_margin

    plan = Plan(
        gain=options.gain,
        correlation=options.correlation,
        base=options.score,
        tasks=options.count,
        cluster_size=options.cluster_size,
        cluster_correlation=options.cluster_correlation,
        seed_sd=options.seed_sd,
        margin=options.margin,
        alpha=options.alpha,
        power=options.power,
    )
    check_plan(plan.gain, plan.base, plan.correlation, plan.power)
    lines = [
        f"To show a gain of {100 * plan.gain:g} points over a base at {100 * plan.base:g} %, with {100 * plan.power:g} "
        f"% power, at {plan.alpha:g} over {plan.tasks} task{'s' if plan.tasks > 1 else ''} (Holm's strictest step);",
        f"{100 * plan.discordant:.1f} % of items change (correlation {plan.correlation:g}), design effect "
        f"{plan.design_effect:.2f}:",
    ]
    for seeds in SEEDS if plan.seed_sd else (1,):
        items = plan_items(plan, seeds)
        what = "no number of items" if math.isinf(items) else f"{math.ceil(items):,} items a task"
        lines.append(f"  {seeds} seed{'s' if seeds > 1 else ''}: {what}")
    kept = math.ceil(plan_margin(plan))
    lines.append(f"To show no loss beyond {100 * plan.margin:g} points where there is none: {kept:,} items a task.")
    if not plan.seed_sd:
        lines.append("This speaks of one trained model; give --seed-sd to speak of the recipe.")
    return "\n".join(lines)


def check_plan(gain: float, base: float, correlation: float, power: float) -> None:
    """Raises RecipeError for numbers that no test can have."""
    for name, value, low, high in (
        ("--score", base, 0, 1),
        ("--score plus --gain", base + gain, 0, 1),
        ("--gain", abs(gain), 0, 1),
        ("--correlation", correlation, -1, 1),
        ("--power", power, 0, 1),
    ):
        if not low < value < high:
            raise RecipeError("Out of range", where=name, got=value, allowed=f"between {low} and {high}")
