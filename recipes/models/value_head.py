"""The value head of PPO: a linear map from the hidden state to one number, kept beside any peft adapter.

It hangs on the causal model as `v_head` and is named in the adapter's `modules_to_save`: peft then trains it, writes it
into the adapter's file, and leaves it out where the adapter is loaded on a model without one.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from recipes.base.errors import RecipeError
from recipes.models.adapter_methods import register_adapter

HEAD = "v_head"


class ValueHead(nn.Module):
    """hidden [..., H] -> values [...] in float32, whatever the model computes in. All zero at first.

    It is no `nn.Linear`, so that an adapter on "all-linear" passes it by.
    """

    def __init__(self, size: int, device=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, size, dtype=torch.float32, device=device))
        self.bias = nn.Parameter(torch.zeros(1, dtype=torch.float32, device=device))

    def forward(self, hidden):
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.float(), self.weight.float(), self.bias.float()).squeeze(-1)


def attach_value_head(base) -> None:
    """Hang a zero value head on a causal model that has none."""
    if not hasattr(base, HEAD):
        embedding = base.get_input_embeddings().weight
        setattr(base, HEAD, ValueHead(base.config.get_text_config().hidden_size, embedding.device))


def with_head_saved(config):
    """`config`, a peft configuration, with the value head among its `modules_to_save`, ready to be trained.

    Raises:
        RecipeError: adapters of this kind cannot hold a whole module.
    """
    if not hasattr(config, "modules_to_save"):
        raise RecipeError(
            "this kind of adapter cannot hold a value head",
            where="peft configuration",
            got=str(config.peft_type),
            allowed="a configuration with modules_to_save, such as LoRA",
        )
    config.modules_to_save = sorted({*(config.modules_to_save or ()), HEAD})
    config.inference_mode = False
    return config


def policy_with_value_head(base, adapter: Path | None = None):
    """The policy that PPO trains: `base` with a value head, or that with the adapter of a folder, trainable.

    The logits are those of `base`, or of `base` under the adapter. The head is zero, unless the adapter brings one.
    `PeftModel.from_pretrained` cannot do this: it asks the file for the weights of a head that supervised fine-tuning
    did not have.

    Raises:
        RecipeError: the folder lacks weights that its own configuration asks for, or holds others.
    """
    attach_value_head(base)
    if adapter is None:
        return base
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from peft.utils import load_peft_weights

    register_adapter(adapter)
    model = get_peft_model(base, with_head_saved(PeftConfig.from_pretrained(str(adapter))))
    asked = get_peft_model_state_dict(model)
    found = load_peft_weights(str(adapter), device="cpu")
    head = {name: tensor for name, tensor in asked.items() if f".{HEAD}." in name}
    weights = {**head, **found}
    if weights.keys() != asked.keys():
        odd = sorted(weights.keys() ^ asked.keys())
        raise RecipeError(
            "the adapter does not fit its own configuration",
            where=adapter,
            got=f"{len(odd)} weights are missing or unknown, such as {odd[0]}",
            allowed="a folder written by save_pretrained for this base model",
        )
    set_peft_model_state_dict(model, weights)
    return model


def forget_reference(model) -> None:
    """Drop the frozen copy of the adapter ("ref") that TRL measures KL against; evaluation has no use for it."""
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")
