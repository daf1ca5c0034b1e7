"""The configuration of a LoRAMoE adapter, saved beside its weights as adapter_config.json."""

from dataclasses import dataclass, field

from peft import PeftConfig, PeftType


@dataclass
class LoraMoeConfig(PeftConfig):
    """What a LoRAMoE adapter is made of. Defaults of r, alpha, dropout and experts: the paper's, arXiv 2312.09979.

    Raises:
        ValueError: a value that the method has no meaning for; the text names all of them.
    """

    r: int = field(default=4, metadata={"help": "rank of every expert"})
    num_experts: int = field(default=6, metadata={"help": "experts of every adapted layer, N"})
    lora_alpha: float = field(default=32, metadata={"help": "the sum of the experts is scaled by lora_alpha / r"})
    dropout: float = field(
        default=0.05,
        metadata={"help": "dropout of the experts' input, one mask for all of them; the router sees the whole input"},
    )
    top_k: int = field(
        default=0, metadata={"help": "keep the k largest router weights of a token, renormalised; 0 keeps all"}
    )
    expert_types: list[int] | None = field(
        default=None,
        metadata={
            "help": "type of every expert, for a balance term: any number of types. None: the first N // 2 experts "
            "have type 1, the others type 0"
        },
    )
    kept_experts: dict[str, list[int]] | None = field(
        default=None,
        metadata={"help": "places of the experts that pruning left, by module name; modules not named have all"},
    )
    target_modules: set[str] | list[str] | str | None = field(
        default=None,
        metadata={"help": 'names, a regular expression or "all-linear"; None: the feed-forward linears of the model'},
    )
    exclude_modules: set[str] | list[str] | str | None = field(
        default=None, metadata={"help": "names or a regular expression of modules that are left as they are"}
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "indexes of the layers that are adapted; None: all"}
    )
    layers_pattern: list[str] | str | None = field(
        default=None, metadata={"help": "name of the list of layers, where it is not the usual one"}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "further modules that are trained whole and saved with the adapter"}
    )
    bias: str = field(default="none", metadata={"help": 'only "none": the biases of the base stay frozen'})
    router_init: str = field(
        default="kaiming", metadata={"help": '"kaiming" uniform with a = sqrt(5), or "zero": equal weights at first'}
    )
    init_weights: bool = field(
        default=True, metadata={"help": "start with B = 0, so that the adapter changes nothing; False is for tests"}
    )

    def __post_init__(self):
        super().__post_init__()
        self.peft_type = PeftType["LORAMOE"]
        for name in ("target_modules", "exclude_modules"):
            if isinstance(getattr(self, name), (list, tuple)):
                setattr(self, name, set(getattr(self, name)))
        if self.expert_types is None:
            self.expert_types = [int(number < self.num_experts // 2) for number in range(self.num_experts)]
        self.expert_types = list(self.expert_types)
        wrong = [
            f"{name} = {getattr(self, name)!r}, allowed: {allowed}"
            for name, allowed, holds in (
                ("r", "1 or more", self.r >= 1),
                ("num_experts", "1 or more", self.num_experts >= 1),
                ("top_k", f"0 to num_experts ({self.num_experts})", 0 <= self.top_k <= self.num_experts),
                ("dropout", "0 to below 1", 0 <= self.dropout < 1),
                ("bias", '"none"', self.bias == "none"),
                ("router_init", '"kaiming" or "zero"', self.router_init in ("kaiming", "zero")),
                (
                    "expert_types",
                    f"{self.num_experts} integers of 0 or more, one for each expert",
                    len(self.expert_types) == self.num_experts
                    and all(isinstance(t, int) and t >= 0 for t in self.expert_types),
                ),
            )
            if not holds
        ]
        if self.layers_pattern and self.layers_to_transform is None:
            wrong.append(f"layers_pattern = {self.layers_pattern!r} without layers_to_transform, which it belongs to")
        if wrong:
            raise ValueError("LoraMoeConfig: " + "; ".join(wrong))
