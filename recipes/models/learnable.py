"""Measure, before reinforcement, how many prompts it can learn from."""

from pathlib import Path
from typing import Any


def measure_learnable(
    spec: Any, policy: Any, reader: Any, rows: list[dict[str, Any]], out: Path, runtime: Any
) -> tuple[dict[str, float], list[str]]:
    """({"learnable": share of prompts with right and wrong replies among group_size, "always_right", "never_right"},
    the same in words, for people).

    Only these prompts can teach an algorithm that compares replies to one prompt. Rows with images are passed over.
    """
    from transformers import ProcessorMixin

    from eval.graders import grade_sampled
    from recipes.models.sampling import sample_by_table

    rl, samples = spec.rl, max(2, spec.rl.group_size)
    asked = rows[:: max(1, len(rows) // max(1, rl.probe_prompts))][: rl.probe_prompts]
    if not asked or isinstance(reader, ProcessorMixin):
        return {}, []
    replies = sample_by_table(policy, reader, asked, out / "before.jsonl", samples, rl, spec.seed, runtime)
    policy.train()
    grades = grade_sampled(asked, replies)
    right: dict[str, list[float]] = {}
    for entry, score in zip(replies, grades, strict=True):
        right.setdefault(entry["id"], []).append(score)
    shares = [sum(scores) / len(scores) for scores in right.values()]
    found = {
        "learnable": sum(0 < share < 1 for share in shares) / len(shares),
        "always_right": sum(share >= 1 for share in shares) / len(shares),
        "never_right": sum(share == 0 for share in shares) / len(shares),
    }
    told = (
        f"of {len(shares)} prompts {found['learnable']:.0%} have right and wrong replies among {samples}, "
        f"{found['always_right']:.0%} only right ones, {found['never_right']:.0%} none"
    )
    runtime.say(f"rl: {told}")
    return {name: round(share, 3) for name, share in found.items()}, [f"Before it, {told}."]
