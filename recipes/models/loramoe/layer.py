"""One linear layer with LoRA experts behind a router.

    y = W0·x + (alpha / r) · sum_i w_i(x) · B_i·A_i·x        w(x) = softmax(W_g·x)

Every token is routed for itself (arXiv 2312.09979, section 3). The A_i are the rows of one matrix and the B_i the
columns of another, so that N experts cost two products instead of 2N. The layer only ever calls its base layer, which
is why quantised ones work; one dropout mask serves all experts, where the authors' code draws N.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from recipes.models.loramoe.config import LoraMoeConfig

NO_MERGE = (
    "a LoRAMoE adapter cannot be merged into its base: what it adds depends on the input through the router, so no "
    "single weight matrix equals it. Load base and adapter together (PeftModel.from_pretrained); unload() gives the "
    "base back."
)


class LoraMoeLinear(nn.Module, BaseTunerLayer):
    """A linear layer, `base_layer`, with LoRAMoE adapters by name. Input [..., d_in], output [..., d_out].

    Attributes:
        recorder: called with (adapter name, probabilities, weights), both [..., N] in fp32: the router's softmax and
            what the experts are mixed with. Set it on an instance to look on, delete it afterwards.
        reroute: called with (adapter name, logits, weights); gives the weights to mix with instead.

    Raises:
        TypeError: the base layer does not say its in_features and out_features.
    """

    adapter_layer_names = ("loramoe_A", "loramoe_B", "loramoe_router")
    other_param_names = ("r", "num_experts", "scaling", "top_k", "loramoe_dropout")

    recorder: Callable[[str, torch.Tensor, torch.Tensor], None] | None = None
    reroute: Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    in_features: int
    out_features: int
    r: dict[str, int]
    num_experts: dict[str, int]
    scaling: dict[str, float]
    top_k: dict[str, int]

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: LoraMoeConfig, experts: int | None = None):
        super().__init__()
        self.base_layer = base_layer
        linear = self.get_base_layer()
        if not (hasattr(linear, "in_features") and hasattr(linear, "out_features")):
            raise TypeError(
                f"LoRAMoE adapts layers with in_features and out_features, and {type(linear).__name__} has none; "
                "name others in target_modules"
            )
        self.in_features, self.out_features = cast(Any, linear).in_features, cast(Any, linear).out_features
        self.r, self.num_experts, self.scaling, self.top_k = {}, {}, {}, {}
        # Modules, not bare parameters: TRL finds the weights that it copies for its reference by ".default." in the
        # name, which a bare parameter would end in.
        self.loramoe_A, self.loramoe_B, self.loramoe_router = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.loramoe_dropout = nn.ModuleDict()
        self.merged_adapters = []
        self._disable_adapters = False
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, experts)

    def update_layer(self, adapter_name: str, config: LoraMoeConfig, experts: int | None = None) -> None:
        """Add the adapter, or start it afresh; `experts` where pruning left fewer than config.num_experts."""
        experts = experts or config.num_experts
        rows = experts * config.r
        self.r[adapter_name], self.num_experts[adapter_name] = config.r, experts
        self.scaling[adapter_name], self.top_k[adapter_name] = config.lora_alpha / config.r, min(config.top_k, experts)
        down = nn.Linear(self.in_features, rows, bias=False)
        up = nn.Linear(rows, self.out_features, bias=False)
        router = nn.Linear(self.in_features, experts, bias=False)
        self.loramoe_A[adapter_name], self.loramoe_B[adapter_name] = down, up
        self.loramoe_router[adapter_name] = router
        self.loramoe_dropout[adapter_name] = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        # The bound depends on the number of columns alone: one stacked A is N separate ones in distribution.
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        if config.router_init == "zero":
            nn.init.zeros_(router.weight)
        else:
            nn.init.kaiming_uniform_(router.weight, a=math.sqrt(5))
        if config.init_weights:
            nn.init.zeros_(up.weight)
        else:
            nn.init.kaiming_uniform_(up.weight, a=math.sqrt(5))
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def keep(self, adapter_name: str, places: list[int]) -> None:
        """Leave the experts at `places` and their rows of the router; the softmax then runs over these alone."""
        rows = torch.cat([torch.arange(self.r[adapter_name]) + place * self.r[adapter_name] for place in places])
        down, up = self._linear(self.loramoe_A, adapter_name), self._linear(self.loramoe_B, adapter_name)
        router = self._linear(self.loramoe_router, adapter_name)
        for module, weight in ((down, down.weight[rows]), (up, up.weight[:, rows]), (router, router.weight[places])):
            module.weight = nn.Parameter(weight.detach().clone(), requires_grad=module.weight.requires_grad)
            module.out_features, module.in_features = weight.shape
        self.num_experts[adapter_name] = len(places)
        self.top_k[adapter_name] = min(self.top_k[adapter_name], len(places))

    @staticmethod
    def _linear(modules: nn.ModuleDict, adapter_name: str) -> nn.Linear:
        return cast(nn.Linear, modules[adapter_name])

    def route(self, x: torch.Tensor, adapter_name: str) -> torch.Tensor:
        """The weights [..., N] that the experts are mixed with, fp32; each row sums to one."""
        logits = self.loramoe_router[adapter_name](x).float()
        probabilities = torch.softmax(logits, dim=-1)
        weights = probabilities
        if self.top_k[adapter_name]:
            largest = probabilities.topk(self.top_k[adapter_name], dim=-1)
            kept = largest.values / largest.values.sum(dim=-1, keepdim=True)
            weights = torch.zeros_like(probabilities).scatter(-1, largest.indices, kept)
        if self.reroute is not None:
            weights = self.reroute(adapter_name, logits, weights)
        if self.recorder is not None:
            self.recorder(adapter_name, probabilities, weights)
        return weights

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name not in self.loramoe_A:
                continue
            down, up = self._linear(self.loramoe_A, name), self._linear(self.loramoe_B, name)
            entering = self._cast_input_dtype(x, down.weight.dtype)
            weights = self.route(entering, name) * self.scaling[name]
            hidden = down(self.loramoe_dropout[name](entering))
            hidden = hidden.unflatten(-1, (self.num_experts[name], self.r[name])) * weights.unsqueeze(-1).to(hidden)
            result = result + up(hidden.flatten(-2)).to(result.dtype)
        return result

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise ValueError(NO_MERGE)

    def unmerge(self) -> None:
        raise ValueError(NO_MERGE)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        return False

    def __repr__(self) -> str:
        return "loramoe." + super().__repr__()
