"""What the experts of one LoRAMoE layer cost: stacked (this project), one after another, and LoRA of the same rank.

Four arms on the same frozen linear layer and the same input, forward and backward:

    base      the linear layer alone
    stacked   recipes.models.loramoe: all A in one matrix, all B in another
    loop      the same arithmetic expert after expert, each with its own A, B and dropout, as the authors' code has it
    lora      peft's LoRA of rank experts x r, which has as many weights as the experts, and no router

First it is checked that stacked and loop give the same output and gradients. Then the arms take turns in every
repetition. Prints the lower quartile of the time of each arm, the ratios with the spread over repetitions (first and
third quartile of the ratio inside a repetition), and the bytes that an arm keeps for the backward pass beside its
weights and its input. On a GPU it runs in bf16 and adds the peak memory.

    OMP_NUM_THREADS=2 python -m benchmarks.loramoe_layer                        # the five cases, 512 tokens
    python -m benchmarks.loramoe_layer --case 4096 11008 6 4 0.05 --tokens 4096 --quantization nf4
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from recipes.models import loader
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.loramoe.layer import LoraMoeLinear

SEED = 42
ALPHA = 32
CASES = [  # columns, rows, experts, rank, dropout
    (512, 512, 8, 8, 0.0),
    (512, 512, 8, 8, 0.05),
    (512, 1536, 8, 8, 0.0),
    (1536, 512, 8, 8, 0.0),
    (512, 512, 6, 4, 0.0),
]


class Loop(nn.Module):
    """The layer of `stacked` with its experts one after another."""

    def __init__(self, stacked: LoraMoeLinear, rank: int, dropout: float):
        super().__init__()
        down, up = stacked.loramoe_A["default"].weight, stacked.loramoe_B["default"].weight
        self.base, self.scaling = stacked.base_layer, stacked.scaling["default"]
        self.router = linear(stacked.loramoe_router["default"].weight)
        self.down = nn.ModuleList(linear(rows) for rows in down.split(rank))
        self.up = nn.ModuleList(linear(columns) for columns in up.split(rank, dim=1))
        self.dropout = nn.ModuleList(nn.Dropout(dropout) for _ in self.down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.base(x)
        weights = torch.softmax(self.router(x), dim=-1, dtype=torch.float32).to(x.dtype)
        for expert, (down, up, dropout) in enumerate(zip(self.down, self.up, self.dropout, strict=True)):
            result = result + weights[..., expert, None] * up(down(dropout(x))) * self.scaling
        return result


def linear(weight: torch.Tensor) -> nn.Linear:
    """A linear layer with a copy of `weight`."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=weight.dtype)
    layer.weight.data.copy_(weight.data)
    return layer


def frozen(columns: int, rows: int, quantization: str, dtype: torch.dtype) -> nn.Module:
    layer = nn.Linear(columns, rows, bias=False)
    if quantization == "nf4":
        import bitsandbytes

        quantised = bitsandbytes.nn.Linear4bit(columns, rows, bias=False, compute_dtype=dtype, quant_type="nf4")
        quantised.load_state_dict(layer.state_dict())
        return quantised.to(loader.device()).requires_grad_(False)
    return layer.to(loader.device(), dtype).requires_grad_(False)


def arms_of(case, quantization: str, dtype: torch.dtype) -> dict[str, nn.Module]:
    columns, rows, experts, rank, dropout = case
    torch.manual_seed(SEED)
    base = frozen(columns, rows, quantization, dtype)
    config = LoraMoeConfig(
        r=rank, num_experts=experts, lora_alpha=ALPHA, dropout=dropout, init_weights=False, router_init="kaiming"
    )
    stacked = LoraMoeLinear(base, "default", config).to(loader.device())
    for part in (stacked.loramoe_A, stacked.loramoe_B, stacked.loramoe_router):
        part.to(dtype)
    one = LoraConfig(
        r=experts * rank,
        lora_alpha=ALPHA * experts,
        lora_dropout=dropout,
        target_modules=["0"],
        init_lora_weights=False,
    )
    lora = inject_adapter_in_model(one, nn.Sequential(base))
    for name, module in lora.named_modules():
        if "lora_" in name:
            module.to(dtype)
    return {"base": base, "stacked": stacked, "loop": Loop(stacked, rank, dropout), "lora": lora}


def difference(one: LoraMoeLinear, other: Loop, x: torch.Tensor) -> float:
    """Largest relative difference of output, gradient of the input and gradients of the weights, without dropout."""
    results = []
    for module in (one.eval(), other.eval()):
        entering = x.detach().requires_grad_()
        output = module(entering)
        output.square().mean().backward()
        results.append([output.detach(), entering.grad])
    results[0] += [part["default"].weight.grad for part in (one.loramoe_A, one.loramoe_B, one.loramoe_router)]
    results[1] += [
        torch.cat([layer.weight.grad for layer in other.down]),
        torch.cat([layer.weight.grad for layer in other.up], dim=1),
        other.router.weight.grad,
    ]
    for module in (one, other):
        module.train().zero_grad()
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(*results, strict=True))


def kept_bytes(module: nn.Module, x: torch.Tensor) -> int:
    """Bytes that the forward pass keeps for the backward pass, weights and input not counted."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers(), x)}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(x)
    del output  # only now may its memory be used again
    return sum(kept.values())


def seconds(module: nn.Module, x: torch.Tensor, out: torch.Tensor) -> float:
    """Of one forward and backward pass."""
    wait: Callable[[], None] = torch.cuda.synchronize if x.is_cuda else lambda: None
    module.zero_grad(set_to_none=True)
    x.grad = None
    wait()
    began = time.perf_counter()
    module(x).backward(out)
    wait()
    return time.perf_counter() - began


def ratio(times: dict[str, list[float]], over: str, under: str, less: str | None = None) -> str:
    """Median and quartiles, over repetitions, of one arm's time by another's; `less` is taken off both first."""
    off = times[less] if less else [0.0] * len(times[over])
    values = [(a - c) / (b - c) for a, b, c in zip(times[over], times[under], off, strict=True) if b > c]
    first, middle, third = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({first:.2f} to {third:.2f})"


def measure(case, tokens: int, repetitions: int, quantization: str, dtype: torch.dtype) -> None:
    columns, rows, experts, rank, dropout = case
    arms = arms_of(case, quantization, dtype)
    x = torch.randn(1, tokens, columns, device=loader.device(), dtype=dtype).requires_grad_()
    out = torch.randn(1, tokens, rows, device=loader.device(), dtype=dtype)
    apart = difference(arms["stacked"], arms["loop"], x)
    if apart > (1e-4 if dtype == torch.float32 else 3e-2):
        raise SystemExit(f"stacked and loop differ by {apart:.1e}: no timing of unequal work")
    for arm in arms.values():
        arm.train()
        for _ in range(4):
            seconds(arm, x, out)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(repetitions):
        order = list(arms) if turn % 2 else list(reversed(arms))
        for name in order:
            times[name].append(seconds(arms[name], x, out))
    print(f"{columns} -> {rows}, {experts} experts of rank {rank}, dropout {dropout:g}; stacked = loop to {apart:.1e}")
    for name, arm in arms.items():
        peak = ""
        if x.is_cuda:
            torch.cuda.reset_peak_memory_stats()
            seconds(arm, x, out)
            peak = f"   peak {torch.cuda.max_memory_allocated() / 2**20:.1f} MiB"
        print(
            f"  {name:8s} {1000 * statistics.quantiles(times[name], n=4)[0]:8.2f} ms   "
            f"kept {kept_bytes(arm, x) / 2**20:6.2f} MiB{peak}"
        )
    print(
        f"  loop / stacked {ratio(times, 'loop', 'stacked')}   stacked / lora {ratio(times, 'stacked', 'lora')}   "
        f"adapter alone, loop / stacked {ratio(times, 'loop', 'stacked', less='base')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=40, help="turns of all arms, 2 or more")
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none", help="of the base layer")
    parser.add_argument(
        "--case", nargs=5, metavar=("IN", "OUT", "EXPERTS", "RANK", "DROPOUT"), help="one case instead of the five"
    )
    args = parser.parse_args()
    cases = [(*map(int, args.case[:4]), float(args.case[4]))] if args.case else CASES
    dtype = torch.bfloat16 if loader.device() == "cuda" else torch.float32
    print(f"{args.tokens} tokens, {dtype}, {torch.get_num_threads()} threads, device {loader.device()}, seed {SEED}")
    for case in cases:
        measure(case, args.tokens, args.repetitions, args.quantization, dtype)


if __name__ == "__main__":
    main()
