"""The LoRAMoE tuner: which layers of a model are adapted."""

from typing import ClassVar

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.loramoe.layer import NO_MERGE, LoraMoeLinear

GATED = ["gate_proj", "up_proj", "down_proj"]
FEED_FORWARD = {
    "llama": GATED,
    "mistral": GATED,
    "qwen2": GATED,
    "qwen3": GATED,
    "gemma": GATED,
    "gemma2": GATED,
    "gemma3_text": GATED,
    "olmo2": GATED,
    "smollm3": GATED,
    "granite": GATED,
    "phi3": ["gate_up_proj", "down_proj"],
    "phi": ["fc1", "fc2"],
    "opt": ["fc1", "fc2"],
    "gpt_neox": ["dense_h_to_4h", "dense_4h_to_h"],
}


class LoraMoeModel(BaseTuner):
    """Puts `LoraMoeLinear` in the place of the layers that the configuration names; without names, of the linear
    layers of the feed-forward blocks, as the paper does. Each has experts and a router of its own."""

    prefix = "loramoe_"
    tuner_layer_cls = LoraMoeLinear
    target_module_mapping: ClassVar[dict[str, list[str]]] = FEED_FORWARD

    def _create_and_replace(
        self,
        peft_config: LoraMoeConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        experts = len((peft_config.kept_experts or {}).get(current_key, ())) or None
        if isinstance(target, LoraMoeLinear):
            target.update_layer(adapter_name, peft_config, experts)
            return
        self._replace_module(parent, target_name, LoraMoeLinear(target, adapter_name, peft_config, experts), target)

    def _check_merge_allowed(self) -> None:
        """Refuse before anything is changed.

        Raises:
            ValueError: always, with the reason.
        """
        raise ValueError(NO_MERGE)
