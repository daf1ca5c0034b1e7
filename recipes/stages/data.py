"""Raw sources -> rows: run the recipe's builder, then prove that every gold answer scores 1.0 and silence 0.0."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from data_builders.llm import REPLIES
from recipes.artifacts.forecasts import Work
from recipes.artifacts.proofs import prove_gold, prove_images

VERSION = 3
PLACE = 0
LEAVES = "rows"
ALWAYS = True  # part of every recipe


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"corpus": ["*"]}


def builder_module(name: str) -> ModuleType:
    """The builder's own module."""
    return importlib.import_module(f"data_builders.{name}.builder")


def forecast(spec: Any, counts: dict[str, Any], runs: Path) -> Work:
    """The builder's own forecast; adds its counts to `counts`."""

    builder = builder_module(spec.builder)
    expected = builder.forecast(spec.data, builder.corpus_dir(spec.data), runs / REPLIES)
    counts.update(expected)
    bill, notes = expected.get("bill", {}), f"{expected['nodes']} nodes"
    if bill:
        length = f"guessed for {', '.join(bill['guessed'])}" if bill["guessed"] else "as it was before"
        notes += f", teacher: {bill['requests']:,} requests, {bill['tokens_in']:,} tokens in, "
        notes += f"{bill['tokens_out']:,} out (length of replies {length})"
    return Work(
        rows=expected["rows"],
        steps=expected["requests"],
        tokens=expected["tokens"],
        cost=bill.get("cost", 0.0),
        notes=notes,
    )


def run(spec: Any, inputs: dict[str, Path], out: Path, runtime: Any) -> dict[str, Any]:
    """Build into `out`; metrics are the builder's counts, `gold` is the number of rows proven.

    Replies of a model as teacher lie in one file that all recipes share.
    """

    replies = (runtime.runs or out) / REPLIES
    build = builder_module(spec.builder).build
    metrics = build(spec.data, inputs["corpus"], out, spec.seed, runtime.bar, runtime.say, replies)
    metrics["gold"] = prove_gold(out)
    prove_images(out)
    return metrics
