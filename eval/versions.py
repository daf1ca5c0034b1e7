"""Which versions a task's scores depend on: one table from what its YAML names to modules that declare a VERSION.

A module's VERSION is raised when the same reply may get another score, or the same row another document. Scores that
were made with another version are made again from the replies that are kept; a change that leaves scores alone, such as
a comment, raises nothing.
"""

import importlib
from typing import Any

# The graders of rows: which of them a row names is not known before it is read.
GRADERS = ("hooks", "graders", "graders.named", "graders.overlap", "graders.quantity", "sandbox")
USES = {  # function of eval/templates/entry.py that a task names -> modules that decide what it gives
    "load": ("hooks",),
    "load_public": ("benchmarks.public", "benchmarks.public_code", "benchmarks.public_stated"),
    "load_common": ("benchmarks.common",),
    "score": GRADERS,
    "score_text": (*GRADERS, "graders.measures"),
    "score_classes": (*GRADERS, "graders.measures", "graders.classes"),
    "score_numbers": (*GRADERS, "graders.measures"),
    "score_sizes": (*GRADERS, "graders.measures", "graders.sizing"),
    "score_boxed": ("graders", "benchmarks.public"),
    "score_code": ("benchmarks.public_code", "sandbox"),
    "score_last_number": ("benchmarks.common", "graders"),
    "score_rule": ("benchmarks.common", "graders"),
    "score_stated": ("benchmarks.public_stated",),
    "score_sciriff": ("benchmarks.sciriff_scores", "graders.overlap"),
    "score_official": ("benchmarks.amsbench",),
}
SOURCES = {"sciriff": ("benchmarks.sciriff",), "amsbench": ("benchmarks.amsbench",)}


def find_versions(table: dict[str, Any]) -> dict[str, int]:
    """{module of eval: VERSION} of what a task uses.

    Args:
        table: the task's resolved YAML, functions as their names ("entry.score"); {} for a task of lm-eval's own, which
            uses none of ours.
    """
    named = [str(table.get(key, "")).removeprefix("entry.") for key in ("custom_dataset", "process_results")]
    modules = {module for name in named for module in USES.get(name, ())}
    modules |= set(SOURCES.get(table.get("dataset_kwargs", {}).get("source", ""), ()))
    return {name: importlib.import_module(f"eval.{name}").VERSION for name in sorted(modules)}
