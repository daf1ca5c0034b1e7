"""The functions that eval/*_task.yaml name. lm-eval loads this file by its path, from any folder.

It only makes the package importable; the functions, and the errors they raise, are those of the modules.
"""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from eval.benchmarks.amsbench import score_official  # noqa: E402
from eval.benchmarks.common import (  # noqa: E402
    ask_bare,
    find_gold,
    list_choices,
    load_common,
    score_last_number,
    score_rule,
)
from eval.benchmarks.public import load_public, score_boxed  # noqa: E402
from eval.benchmarks.public_code import score_code  # noqa: E402
from eval.benchmarks.public_stated import score_stated  # noqa: E402
from eval.benchmarks.sciriff_scores import micro_f1, score_sciriff  # noqa: E402
from eval.graders.classes import macro_f1, recognised  # noqa: E402
from eval.graders.measures import score_classes, score_numbers, score_sizes, score_text  # noqa: E402
from eval.graders.overlap import bleu4, cider  # noqa: E402
from eval.hooks import load, question, score  # noqa: E402

__all__ = [
    "ask_bare",
    "bleu4",
    "cider",
    "find_gold",
    "list_choices",
    "load",
    "load_common",
    "load_public",
    "macro_f1",
    "micro_f1",
    "question",
    "recognised",
    "score",
    "score_boxed",
    "score_classes",
    "score_code",
    "score_last_number",
    "score_numbers",
    "score_official",
    "score_rule",
    "score_sciriff",
    "score_sizes",
    "score_stated",
    "score_text",
]
