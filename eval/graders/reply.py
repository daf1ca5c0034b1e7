"""The parts of a reply: a think block, an answer block, and what is left to see."""

MAX_CHARS = 20_000  # of a long reply the last so many are read


def format_score(reply: str) -> float:
    """1.0 for one filled think block, any text, one filled answer block, and nothing before or after; else 0.0."""
    reply = reply.strip()
    if any(reply.count(tag) != 1 for tag in ("<think>", "</think>", "<answer>", "</answer>")):
        return 0.0
    thinking, _, rest = reply.partition("</think>")
    answer = rest.partition("<answer>")[2].removesuffix("</answer>")
    framed = thinking.startswith("<think>") and rest.endswith("</answer>")
    return float(framed and bool(thinking.removeprefix("<think>").strip()) and bool(answer.strip()))


def extract_answer(reply: str) -> str | None:
    """Text of the answer block behind the thinking; None when there is none, or two that differ."""
    blocks = answers_in(reply[-MAX_CHARS:])
    return blocks.pop() if len(blocks) == 1 else None


def answers_in(reply: str) -> set[str]:
    """The different texts of all answer blocks behind the thinking."""
    # Split, not a lazy regular expression: thousands of opening tags without a closing one would make that quadratic.
    pieces = visible(reply).split("</answer>")[:-1]
    return {piece.rpartition("<answer>")[2].strip() for piece in pieces if "<answer>" in piece}


def visible(reply: str) -> str:
    """What follows the thinking; the whole reply where there is none."""
    return reply.rpartition("</think>")[2]
