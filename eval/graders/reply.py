"""What a reply is worth by its form alone, and its answer block."""

from recipes.base.reply_form import find_answers, split_reply

MAX_CHARS = 20_000  # of a long reply the last so many are read


def format_score(reply: str) -> float:
    """1.0 for one filled think block, any text, one filled answer block, and nothing before or after; else 0.0."""
    parts = split_reply(reply)
    return float(parts is not None and bool(parts.thinking) and bool(parts.answer))


def extract_answer(reply: str) -> str | None:
    """Text of the answer block behind the thinking; None when there is none, or two that differ."""
    blocks = set(find_answers(reply[-MAX_CHARS:]))
    return blocks.pop() if len(blocks) == 1 else None
