"""Scoring of a task whose items need more than a grade: overlap with a gold text, classes, or the size of an error.

Each function is a task's `process_results`, and gives the metrics of hooks.score besides its own.
"""

import math

from eval.graders import classes, error_of, overlap, read_answer
from eval.hooks import score

VERSION = 1


def score_text(doc: dict, replies: list[str]) -> dict:
    """With ROUGE, recall of content words, BLEU-4 and CIDEr of the text that the grader reads; see text_task.yaml."""
    return score(doc, replies) | overlap.measures(doc, str(read_answer(doc, replies[0]) or ""))


def score_classes(doc: dict, replies: list[str]) -> dict:
    """With macro-F1 and the share of replies that name a class; see class_task.yaml."""
    pair = classes.pair(doc, replies[0])
    return score(doc, replies) | {"macro_f1": pair, "recognised": pair}


def score_numbers(doc: dict, replies: list[str]) -> dict:
    """With the relative error of a number, from 0 to 1, and whether there was none; see number_task.yaml.

    A number counts with the unit of the parameter that the row asks for; of several the worst counts. A reply without
    one, like an error beyond 100 %, counts as 1, so that neither silence nor one wild number moves a mean.
    """
    error = error_of(doc, replies[0])
    capped = min(error, 1.0)
    return score(doc, replies) | {
        **{"error_median": capped, "error_mean": capped, "missing": float(error == math.inf)},
        **{f"within_{percent}": float(error <= percent / 100) for percent in (5, 10)},
    }
