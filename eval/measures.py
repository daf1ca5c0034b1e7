"""Scoring of a task whose items need more than a grade: overlap with a gold text, or classes.

Each function is a task's `process_results`, and gives the metrics of hooks.score besides its own.
"""

from eval import classes, overlap
from eval.graders import read_answer
from eval.hooks import chosen, score


def score_text(doc: dict, replies: list) -> dict:
    """With ROUGE, recall of content words, BLEU-4 and CIDEr of the text that the grader reads; see text_task.yaml."""
    return score(doc, replies) | overlap.measures(doc, read_answer(doc, chosen(doc, replies)) or "")


def score_classes(doc: dict, replies: list) -> dict:
    """With macro-F1 and the share of replies that name a class; see class_task.yaml."""
    pair = classes.pair(doc, chosen(doc, replies))
    return score(doc, replies) | {"macro_f1": pair, "recognised": pair}
