"""Rewards of reinforcement: the grade, the form of a reply, and a readable answer that is wrong."""

from collections.abc import Callable
from functools import wraps
from typing import Any

Reward = Callable[..., list[float]]


def text_of(completion: str | list[dict[str, Any]]) -> str:
    """What is graded of a reply: its text, or the last turn of one that used tools; nothing where a tool spoke last."""
    if isinstance(completion, str):
        return completion
    last = completion[-1] if completion else {}
    return str(last.get("content") or "") if last.get("role", "assistant") == "assistant" else ""


def reading_replies(reward: Reward, reader: Any) -> Reward:
    """`reward`, which is given replies in the recipe's form: of a base whose chat template has marks of its own they
    are read from the tokens, of which TRL's texts lack the special ones and what the prompt opened."""
    from recipes.models.chat_form import chat_form_of, decode_reply

    form = chat_form_of(reader)
    if not (form.channel or form.special or form.plain.strip()):
        return reward

    def read(completion: str | list[dict[str, Any]], ids: list[int]) -> str:
        turns = 1 if isinstance(completion, str) else len(completion)
        return decode_reply(reader, ids, form) if turns == 1 else form.read(text_of(completion))

    @wraps(reward)
    def read_first(completions, completion_ids, **columns):
        texts = [read(completion, ids) for completion, ids in zip(completions, completion_ids, strict=True)]
        return reward(texts, completion_ids=completion_ids, **columns)

    return read_first


def pair_replies(completions, columns: dict[str, list]) -> list[tuple[dict, str]]:
    """(what the grader reads of a row, text of the reply) of each reply."""
    from eval.graders import ROW_KEYS

    keys = [key for key in ROW_KEYS if key in columns]
    rows = [dict(zip(keys, values, strict=True)) for values in zip(*(columns[key] for key in keys), strict=True)]
    return [(row, text_of(completion)) for row, completion in zip(rows, completions, strict=True)]


def accuracy_reward(completions, **columns) -> list[float]:
    """The metric itself: the grade of each reply against its row."""
    from eval.graders import grade_all

    pairs = pair_replies(completions, columns)
    return grade_all([row for row, _ in pairs], [text for _, text in pairs])


def partial_reward(completions, **columns) -> list[float]:
    """1.0 for a reply from which the grader reads an answer that is wrong; its weight is `rl.partial`.

    A bare guess earns it too, so its mean is logged as "partial", apart from accuracy (ReFT, arXiv 2401.08967).
    """
    from eval.graders import grade_all, is_readable

    pairs = pair_replies(completions, columns)
    grades = grade_all([row for row, _ in pairs], [text for _, text in pairs])
    return [float(score == 0.0 and is_readable(*pair)) for score, pair in zip(grades, pairs, strict=True)]


def format_reward(completions, **_) -> list[float]:
    """1.0 for a reply of one think block and one answer block."""
    from eval.graders.reply import format_score

    return [format_score(text_of(completion)) for completion in completions]
