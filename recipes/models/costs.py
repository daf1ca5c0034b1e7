"""What an answer takes: tokens and seconds of each task that a model answers in its own words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.models.variants import Variant, find_results

FILE = "cost.json"  # beside lm-eval's results of a variant
COUNTED = 64  # items of a task whose tokens are counted, evenly chosen


def measure_costs(
    samples: Mapping[str, list[dict[str, Any]]], tokenizer: Any, drawn: int, timed: Mapping[str, tuple[int, float]]
) -> dict[str, dict[str, float | int | None]]:
    """{task: tokens of a prompt and of a reply, seconds}, each the mean for one answer.

    Args:
        samples: lm-eval's, by task; tasks that are asked by likelihood have no words, and no cost here.
        drawn: replies of which one counts; every one is read, written and paid.
        timed: task -> (replies that were asked now, their seconds). Seconds are None where all replies were kept from
            an earlier run; they are those of a whole batch, divided by its replies.
    """
    found = {}
    for task, rows in samples.items():
        some = [rows[n * len(rows) // min(len(rows), COUNTED)] for n in range(min(len(rows), COUNTED))]
        if not some or not isinstance(some[0]["resps"][0][0], str):
            continue
        prompts = [str(row["arguments"][0][0]) for row in some]
        replies = [row["resps"][0][0] for row in some]
        asked, seconds = timed.get(task, (0, 0.0))
        found[task] = {
            "prompt_tokens": drawn * count_tokens(tokenizer, prompts) / len(some),
            "reply_tokens": drawn * count_tokens(tokenizer, replies) / len(some),
            "seconds": drawn * seconds / asked if asked else None,
        }
    return found


def count_tokens(tokenizer: Any, texts: list[str]) -> int:
    """Tokens of all texts, without those that a tokenizer adds by itself."""
    return sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))


def read_cost(out: Path, variant: Variant) -> dict[str, Any]:
    """What was measured of a variant; empty where nothing was."""
    results = find_results(out, variant)
    file = results.parents[1] / FILE if results else None
    return json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else {}
