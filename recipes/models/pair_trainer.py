"""TRL's DPOTrainer on pairs that are tokens already."""

from typing import Any

from trl import DPOTrainer

from recipes.models.chat_form import encode_replies


class PairTrainer(DPOTrainer):
    """DPOTrainer whose rows have prompt_ids, chosen_ids and rejected_ids, as `encode_pairs` gives them.

    TRL renders prompt and reply as one conversation and learns what stands behind the tokens that both begin with,
    whatever the chat template made of the reply.
    """

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


def encode_pairs(tokenizer: Any, rows: list[dict[str, Any]]) -> list[dict[str, list[int]]]:
    """The tokens of pair rows: of the prompt, and of both replies with their end token."""
    sides = {
        side: encode_replies(tokenizer, [(row["prompt"], row[side][-1]["content"]) for row in rows])
        for side in ("chosen", "rejected")
    }
    return [
        {"prompt_ids": asked, "chosen_ids": chosen, "rejected_ids": rejected}
        for (asked, chosen), (_, rejected) in zip(sides["chosen"], sides["rejected"], strict=True)
    ]
