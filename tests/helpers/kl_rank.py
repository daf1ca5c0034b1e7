"""Supervised training with a divergence term, for the test that two ranks learn as one.

python -m tests.helpers.kl_rank FOLDER      # RANK and WORLD_SIZE as torchrun sets them; leaves the weights
"""

import os
import sys
from pathlib import Path

from safetensors.torch import save_file

from tests.models.test_neighbourhood import make_trainer, shake


def learnt(trainer) -> dict:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}


def train(folder: Path, rank: int, world: int) -> None:
    """Two steps on eight rows each: of two micro-batches of four rows alone, of two of two on each of two ranks."""
    settings = dict(per_device=4 // world, accumulation=2, max_steps=2, learning_rate=0.05, optim="sgd")
    settings |= {"max_grad_norm": 0.0} | ({"ddp_backend": "gloo"} if world > 1 else {})
    trainer = make_trainer(folder / f"{world}-{rank}", 1.0, **settings)
    shake(trainer)
    if world == 1:
        save_file(learnt(trainer), folder / "start.safetensors")
    trainer.train()
    save_file(learnt(trainer), folder / f"{world}-{rank}.safetensors")


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
