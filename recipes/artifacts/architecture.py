"""The sizes of a base, read from its config.json alone: nothing is loaded and no network is asked."""

import json
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from recipes.base.toml import read_toml
from recipes.config.schema import Model, model_folder

KNOWN = Path(__file__).with_name("architectures.toml")
KEYS = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate": "intermediate_size",
    "vocab": "vocab_size",
    "tied": "tie_word_embeddings",
    "experts": "num_experts",
}


@dataclass(frozen=True)
class Architecture:
    """A decoder of attention and gated feed-forward layers.

    Attributes:
        hidden, intermediate, vocab, head_dim: widths; `layers`, `heads`, `kv_heads`: counts.
        tied: whether the head shares the embedding's weights.
        experts: feed-forward blocks of a layer, 1 where it is no mixture.
        vision: weights of a vision tower.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool = False
    experts: int = 1
    vision: int = 0

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """{name: (inputs, outputs)} of the linear maps of one layer, without the experts of a mixture counted twice."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, query),
            "k_proj": (self.hidden, key),
            "v_proj": (self.hidden, key),
            "o_proj": (query, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_weights(self) -> int:
        """Weights of all linear maps in the layers: those that are held in 4 bits under nf4."""
        size = {name: a * b for name, (a, b) in self.linears.items()}
        forward = sum(size[name] for name in ("gate_proj", "up_proj", "down_proj"))
        return self.layers * (sum(size.values()) - forward + forward * self.experts)

    @property
    def other_weights(self) -> int:
        """Weights of embedding, head, norms and vision tower."""
        return self.vocab * self.hidden * (1 if self.tied else 2) + (2 * self.layers + 1) * self.hidden + self.vision

    @property
    def weights(self) -> int:
        """All of them."""
        return self.linear_weights + self.other_weights

    def count_adapted(self, target: tuple[str, ...]) -> list[tuple[int, int]]:
        """(inputs, outputs) of each map of the whole model that an adapter on `target` stands beside."""
        some = [
            size for name, size in self.linears.items() if target == ("all-linear",) or name.endswith(tuple(target))
        ]
        return some * self.layers


def read_architecture(model: Model) -> Architecture | None:
    """The sizes of the recipe's base: of its folder, of the hub's local cache, or of the committed table; else None."""
    folder = model_folder(model.name)
    if folder is None:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
        file = Path(cached) if isinstance(cached, str) else None
    else:
        file = folder / "config.json"
    if file is not None and file.is_file():
        try:
            found = parse_config(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, OSError):
            found = None
        if found is not None:
            return found
    return list_known().get(model.name)


@cache
def list_known() -> dict[str, Architecture]:
    """{hub id: sizes} of the committed table."""
    return {name: Architecture(**table) for name, table in read_toml(KNOWN).items()}


def parse_config(config: dict[str, Any]) -> Architecture | None:
    """The sizes that a config.json gives, those of the language side where it sees; None where one is not told."""
    text = config.get("text_config") or config
    found: dict[str, Any] = {ours: text[theirs] for ours, theirs in KEYS.items() if text.get(theirs) is not None}
    if not {"hidden", "layers", "heads", "intermediate", "vocab"} <= found.keys():
        return None
    found.setdefault("kv_heads", found["heads"])
    found.setdefault("head_dim", found["hidden"] // found["heads"])
    if found.get("experts", 1) > 1 and text.get("moe_intermediate_size"):
        found["intermediate"] = text["moe_intermediate_size"]
    vision = config.get("vision_config") or {}
    width, depth = (
        vision.get("embed_dim") or vision.get("hidden_size"),
        vision.get("depth") or vision.get("num_hidden_layers"),
    )
    if width and depth:
        found["vision"] = 12 * width * width * depth  # attention 4, feed-forward of four times the width 8
    names = {field.name for field in fields(Architecture)}
    return Architecture(**{name: value for name, value in found.items() if name in names})
