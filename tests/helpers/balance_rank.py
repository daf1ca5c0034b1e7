"""One of two processes that share a batch, for the test of the balance term over processes.

python -m tests.helpers.balance_rank RANK FILE      # FILE is where the two meet; prints what was measured as JSON
"""

import json
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from recipes.methods.losses.expert_balance.loss import ExpertBalance
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.loramoe.layer import LoraMoeLinear
from recipes.models.routing import recording

TYPES = [1, 1, 1, 1, 0, 0]


class Toy(nn.Module):
    """Two LoRAMoE layers over embedded tokens, with routers that prefer something."""

    def __init__(self, top_k=0):
        super().__init__()
        torch.manual_seed(0)
        config = LoraMoeConfig(expert_types=TYPES, dropout=0.0, init_weights=False, top_k=top_k)
        self.embedding = nn.Embedding(50, 16).requires_grad_(False)
        self.first, self.second = (
            LoraMoeLinear(nn.Linear(16, 16).requires_grad_(False), "default", config) for _ in range(2)
        )
        for layer in (self.first, self.second):
            layer.loramoe_router["default"].weight.data.mul_(4)

    def forward(self, input_ids, attention_mask=None):
        return self.second(self.first(self.embedding(input_ids)).tanh())


def batch_of(rows, tokens=10, seed=0):
    """A batch of `rows` rows; every third has no type, lengths differ."""
    drawn = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 50, (rows, tokens), generator=drawn)
    lengths = torch.randint(3, tokens + 1, (rows, 1), generator=drawn)
    mask = (torch.arange(tokens) < lengths).long()
    kinds = torch.arange(rows) % 3 - 1
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100), "sample_type": kinds}


def part(batch, index, size):
    return {key: value[index * size : (index + 1) * size] for key, value in batch.items()}


def term_of(balance, model, batch, scale):
    """(loss, metrics) of one micro-batch, as the trainer makes them."""
    with balance.capture(model):
        output = model(batch["input_ids"], batch["attention_mask"])
    loss, logged = balance.loss(model, batch, scale, 0.0)
    return loss + 0 * output.sum(), logged  # the loss of the tokens, which every weight is part of


def gradient(model):
    """Of all routers, in one row."""
    return torch.cat([weight.grad.flatten() for name, weight in model.named_parameters() if "router" in name])


def whole(balance, model, batch):
    """(value, gradient) of the balance's form on the whole batch at once, straight through autograd."""
    with recording(model) as routed:
        model(batch["input_ids"], batch["attention_mask"])
    rows = balance._rows_of(batch)
    value = balance._over_layers(balance._form(balance._sums([*routed.values()], batch["attention_mask"].bool(), rows)))
    model.zero_grad()
    value.backward()
    return value.item(), gradient(model)


def main(rank: int, meeting: str) -> dict:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    batch, balance = batch_of(12), ExpertBalance(1.0, TYPES, scope="lagged", delta=0.3)
    value, wanted = whole(balance, Toy(), batch)
    model = DistributedDataParallel(Toy())
    for _ in range(2):  # the first pass only gathers what the second goes by
        model.zero_grad()
        for step in range(2):
            loss, logged = term_of(balance, model, part(batch, 2 * rank + step, 3), 0.5)
            loss.backward()
        balance.on_step_end()
    split = gradient(model)
    torch.optim.SGD(model.parameters(), 1.0).step()
    weights = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    both = [torch.empty_like(weights) for _ in range(2)]
    dist.all_gather(both, weights)
    measured = {
        "gradient": ((split - wanted).norm() / wanted.norm()).item(),
        "value": abs(logged["loss"] - value),
        "between ranks": (both[0] - both[1]).abs().max().item(),
    }
    del model  # its reducer holds on to the group, and can wait forever for a process that is gone
    dist.barrier()
    dist.destroy_process_group()
    return measured


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2])))
