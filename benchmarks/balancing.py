"""What LoRAMoE's routers learn to tell apart, by what the balancing constraint's statistics are taken over.

Arms on the recipe loramoe: no constraint; type_cv2 and load balancing (lbl), each over a micro-batch and over the whole
step (buffer: the global batch of arXiv 2501.11873). A step of 1,024 tokens is split into micro-batches of ROWS rows,
else the two would be one. Of the model after supervised tuning, on gold replies of the test and of general text: the
mutual information of expert and kind of text, the weight that tokens give to the experts of their own type (half of
all experts: 0.5 says nothing), and the entropy of an expert's mean weight; means over layers.

    OMP_NUM_THREADS=1 python -m benchmarks.balancing --seeds 45 46 --epochs 0.5
"""

import argparse
import math
from pathlib import Path
from statistics import mean

from recipes.base.places import GENERAL_TEST, ROOT
from recipes.config.load import load
from recipes.config.schema import Recipe
from recipes.methods.adapters.loramoe import expert_types
from recipes.methods.probe import routing
from recipes.models.loader import load_adapters, load_base, load_tokenizer
from recipes.models.probe_context import ProbeContext
from recipes.models.routing import entropy
from recipes.models.training import read_rows
from recipes.pipeline import Job, run

ROWS = 2
ARMS = {
    "none": {},
    "type_cv2, micro": {"weight": 0.1, "delta": 0.3, "form": "type_cv2", "scope": "micro"},
    "type_cv2, buffer": {"weight": 0.1, "delta": 0.3, "form": "type_cv2", "scope": "buffer"},
    "lbl, micro": {"weight": 0.1, "delta": 0.1, "form": "lbl", "scope": "micro"},
    "lbl, buffer": {"weight": 0.1, "delta": 0.1, "form": "lbl", "scope": "buffer"},
}


def use_arm(seed: int, epochs: float, arm: str) -> Recipe:
    """The recipe loramoe with the balancing of an arm."""
    about = [f"sft.losses.expert_balance.{key}={value}" for key, value in ARMS[arm].items()]
    sets = [f"seed={seed}", f"sft.epochs={epochs}", f"sft.micro_batch={ROWS}"]
    return load(ROOT / "recipes.toml", "loramoe", None, [*sets, *(about or ["sft.losses.expert_balance=false"])])


def routed(recipe: Recipe, runs: Path) -> dict[str, float]:
    """Train the recipe's supervised stage, or take the one that stands, and measure its routers."""
    done = run(Job(recipe, runs), until="sft")
    tokenizer = load_tokenizer(recipe.model)
    model = load_adapters(load_base(recipe.model), {"default": done["sft"] / "adapter"})
    texts = {"field": read_rows(done["data"] / "test.jsonl"), "general": read_rows(GENERAL_TEST)}
    context = ProbeContext(model.eval(), None, tokenizer, texts, "sft")
    found = routing.measure(routing.Config(), context)
    types = expert_types(recipe.settings("sft").adapter)
    layers = found["layers"].values()

    def own(kind: str, type_: int) -> float:
        return mean(sum(w for w, of in zip(layer[kind], types, strict=True) if of == type_) for layer in layers)

    return {
        "information": found["information"],
        "own share, field": own("field", 0),
        "own share, general": own("general", 1),
        "entropy, field": mean(entropy(layer["field"]) for layer in layers),
        "entropy, general": mean(entropy(layer["general"]) for layer in layers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[45, 46, 47])
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/balancing"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help="; ".join(ARMS))
    args = parser.parse_args()
    found = {arm: [] for arm in args.arms}
    for seed in args.seeds:
        for arm in args.arms:
            recipe = use_arm(seed, args.epochs, arm)
            found[arm].append(routed(recipe, args.runs))
    experts = recipe.settings("sft").adapter.experts
    print(
        f"\nnats; information at most {math.log(2):.2f} (two kinds), entropy at most {math.log(experts):.2f} "
        f"({experts} experts); seeds {', '.join(map(str, args.seeds))}"
    )
    for name in found[args.arms[0]][0]:
        print(name)
        for arm, by_seed in found.items():
            values = [one[name] for one in by_seed]
            print(f"  {arm:<17} {mean(values):.4f}; by seed {' '.join(f'{value:.4f}' for value in values)}")


if __name__ == "__main__":
    main()
