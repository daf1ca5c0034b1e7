"""Options of `python -m recipes embedded build` and `score`: read before torch is imported, so that --help is quick."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from recipes.base.places import LAB_MODEL

STEPS, RATE, SEED = 2500, 3e-3, 0  # of the model in the repository
LENGTH, ROWS = 512, 16  # tokens of a row, rows of a step


def build(argv: list[str]) -> argparse.Namespace:
    about = "Pre-train the embedded base model: under an hour on two CPU cores; a GPU is used where there is one."
    parser = argparse.ArgumentParser(prog="python -m recipes embedded build", description=about)
    steps_text = f"optimizer steps of {ROWS * LENGTH} tokens (default: {STEPS})"
    compile_text = "compile the forward pass; needs a C compiler, about 1.4 times as fast on a CPU"
    work = Path("runs/embedded-build")
    parser.add_argument("--steps", type=positive(int), default=STEPS, help=steps_text)
    parser.add_argument("--rate", type=positive(float), default=RATE, help=f"peak learning rate (default: {RATE})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of documents and first weights (default: {SEED})")
    parser.add_argument("--work", type=Path, default=work, help=f"folder of the checkpoint (default: {work})")
    parser.add_argument("--out", type=Path, default=LAB_MODEL, help="model folder (default: the one in the repository)")
    parser.add_argument("--compile", action="store_true", help=compile_text)
    return parser.parse_args(argv)


def score(argv: list[str]) -> argparse.Namespace:
    about = "Ask the embedded base model the general test through lm-eval, and write its model card (README.md)."
    parser = argparse.ArgumentParser(prog="python -m recipes embedded score", description=about)
    where = "model folder that `embedded build` wrote (default: the one in the repository)"
    parser.add_argument("--model", type=Path, default=LAB_MODEL, help=where)
    return parser.parse_args(argv)


READ = {"build": build, "score": score}


def positive(kind: type) -> Callable[[str], int | float]:
    """What reads an option as a finite number above 0."""

    def read(text: str) -> int | float:
        if not 0 < kind(text) < math.inf:
            raise ValueError
        return kind(text)

    read.__name__ = f"positive {kind.__name__}"  # argparse says "invalid positive int value"
    return read
