"""How many simulations an op-amp costs: random sizes and scipy's optimizer at equal calls, hand formulas, and a model.

    python -m benchmarks.opamp_search --data runs/opamp/embedded/data-AAAAAAAA --calls 1 8 64 512
    python -m benchmarks.opamp_search --data … --replies replies.jsonl

Every way is given the same test items and, where it simulates, the same number of calls for each; the best design that
it saw counts: by demands met, then by figure of merit. `random` draws each size log-uniformly within the bounds of
training's golds (--wide: of the simulator); `scipy` is differential evolution over the logarithms of the same box, cut
off at its calls. `--replies` is a file of {"id", "reply"} of a model: one reply is no simulation, several of one id are
so many. Printed: share of demands met and share of items with all met (mean, 95 % interval by bootstrap over items),
and mean figure of merit in MHz pF/mW, 0 where a demand is not met.
"""

import argparse
import math
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import differential_evolution

from data_builders.opamp.search import NAMES, shortfall, size_by_hand
from eval.graders.sizing import read_sizing
from recipes.base.jsonl import read_jsonl
from recipes.base.opamp import BOUNDS, Sizes, Specification, figure_of_merit, read_sizes, read_specification, simulate

Box = list[tuple[float, float]]  # bounds of the logarithm of each size
Score = tuple[float, float, float]  # share of demands met, all met, figure of merit where all are


def score(sizes: Sizes, wanted: Specification) -> Score:
    """What a design is worth."""
    found = simulate(sizes, wanted.load)
    share = wanted.share_met(found)
    return share, float(share == 1), figure_of_merit(found, wanted.load) if share == 1 else 0.0


class Spent(Exception):
    """The calls of an item are used up."""


class Bench:
    """Counts the simulations of one item, and keeps the best that it saw."""

    def __init__(self, wanted: Specification, calls: int):
        self.wanted, self.left, self.best = wanted, calls, (0.0, 0.0, 0.0)

    def cost(self, logarithms: np.ndarray) -> float:
        """What an optimizer makes small: how far the demands are, then power over what is allowed."""
        if self.left == 0:
            raise Spent
        self.left -= 1
        sizes = Sizes(*(math.exp(value) for value in logarithms))
        self.best = max(self.best, score(sizes, self.wanted))
        found = simulate(sizes, self.wanted.load)
        if found.fault:
            return 20.0
        over = found.power / self.wanted.power
        return shortfall(self.wanted, found) + max(0.0, over - 1) + 1e-3 * over


def search_random(bench: Bench, box: Box, seed: int) -> None:
    """Draws until the calls are used up."""
    rng = random.Random(seed)
    while bench.left:
        bench.cost(np.array([rng.uniform(*pair) for pair in box]))


def search_scipy(bench: Bench, box: Box, seed: int) -> None:
    """Differential evolution with scipy's own settings, ended where its calls are."""
    try:
        while bench.left:
            differential_evolution(bench.cost, box, rng=seed, popsize=min(15, max(1, bench.left // 28)), polish=False)
            seed += 1
    except Spent:
        pass


def box_of(data: Path, wide: bool) -> Box:
    """The bounds of the golds of training, or of the simulator."""
    if wide:
        return [(math.log(least), math.log(most)) for least, most in (BOUNDS[name] for name in NAMES)]
    golds = [read_sizes(row["answer"]) for row in read_jsonl(data / "sft.jsonl")]
    columns = ([math.log(getattr(gold, name)) for gold in golds] for name in NAMES)
    return [(min(column), max(column)) for column in columns]


def tell(name: str, scores: list[Score]) -> None:
    """One line of the table."""
    table, rng = np.array(scores), np.random.default_rng(0)
    means = table[rng.integers(len(table), size=(2000, len(table)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    share, met, fom = table.mean(axis=0)
    print(
        f"{name:<14} demands {share:6.1%} ({low[0]:.1%} to {high[0]:.1%})  all met {met:6.1%} ({low[1]:.1%} to "
        f"{high[1]:.1%})  figure of merit {fom:6.1f} ({low[2]:.1f} to {high[2]:.1f})",
        flush=True,
    )


def main() -> None:
    """The table on standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a data artefact of the recipe opamp")
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 8, 64, 512], help="simulations of each item")
    parser.add_argument("--kind", default="design", help="design or transfer")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--wide", action="store_true", help="search the simulator's bounds")
    parser.add_argument("--replies", type=Path, help='JSON lines of {"id", "reply"}')
    own = parser.parse_args()
    rows = [row for row in read_jsonl(own.data / "test.jsonl") if row["kind"] == own.kind]
    wanted, box = [read_specification(row["specification"]) for row in rows], box_of(own.data, own.wide)
    print(f"{len(rows)} items of {own.kind}, seed {own.seed}")
    tell("gold", [score(read_sizes(row["answer"]), one) for row, one in zip(rows, wanted)])
    tell("by hand", [score(size_by_hand(one), one) for one in wanted])
    ways: dict[str, Callable[[Bench, Box, int], None]] = {"random": search_random, "scipy": search_scipy}
    for calls in own.calls:
        for name, search in ways.items():
            benches = [Bench(one, calls) for one in wanted]
            for number, bench in enumerate(benches):
                search(bench, box, own.seed + 1000 * number)
            tell(f"{name} {calls}", [bench.best for bench in benches])
    if own.replies:
        said = defaultdict(list)
        for line in read_jsonl(own.replies):
            said[line["id"]].append(line["reply"])
        best = []
        for row, one in zip(rows, wanted):
            designs = [read_sizing(row, reply) for reply in said[row["id"]]]
            best.append(max((score(sizes, one) for sizes in designs if sizes), default=(0.0, 0.0, 0.0)))
        tell(f"model, {max(map(len, said.values()))}", best)


if __name__ == "__main__":
    main()
