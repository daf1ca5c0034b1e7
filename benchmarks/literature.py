"""What pre-training on the literature adds, and what the quality cut does for it: scilitllm with and without them.

Arms on the embedded base, the same supervised rows, test items and decoding: supervised stages alone; pre-training and
supervised stages on the texts of the quality cut, of a random cut to the same size, and uncut. Of every arm with
pre-training the model after it is measured too. Each arm and seed is a run like any other, so the command goes on where
it was stopped. Prints scores pooled over the seeds and paired tests with the substances as clusters (Holm over the
tasks): each step of the ladder base, pre-training, supervised, both; then the quality cut against the others.

    python -m benchmarks.literature --seeds 43 44
"""

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.arms import format_interval
from recipes.base.places import ROOT
from recipes.config.load import load
from recipes.pipeline import Job, run
from recipes.report import stats
from recipes.report.load import load_evaluation
from recipes.report.seeds import pooled

QUICK = ["eval.infer={}", "eval.general=[]"]
ARMS = {"sft": "quality", "quality": "quality", "random": "random", "none": "none"}
LADDER = [
    ("base", ("quality", "base")),
    ("pre-training", ("quality", "cpt")),
    ("supervised", ("sft", "sft")),
    ("both", ("quality", "sft")),
]
PAIRS = [
    ("pre-training − base", ("quality", "cpt"), ("quality", "base")),
    ("supervised − base", ("sft", "sft"), ("quality", "base")),
    ("both − base", ("quality", "sft"), ("quality", "base")),
    ("both − supervised", ("quality", "sft"), ("sft", "sft")),
    ("quality cut − random cut", ("quality", "sft"), ("random", "sft")),
    ("quality cut − no cut", ("quality", "sft"), ("none", "sft")),
]


def job_of(arm: str, seed: int, settings: list[str], runs: Path) -> Job:
    """The run of an arm: the shipped recipe with its cut, without pre-training for the arm `sft`."""
    recipe = load(ROOT / "recipes.toml", "scilitllm", None, [f"seed={seed}", f"data.cut={ARMS[arm]}", *settings])
    return Job(replace(recipe, cpt=None) if arm == "sft" else recipe, runs)


def answers(evaluations: list, task: str, model: str) -> tuple[list[float], list[str]]:
    """(scores, clusters) of a model on one task over the evaluations of all seeds."""
    return pooled([next(found for found in e.tasks if found.name == task).answers[model] for e in evaluations])


def summary(done: dict[str, list]) -> None:
    """Print the ladder and the paired tests; `done` is arm -> evaluations in the order of the seeds."""
    tasks = [task.name for task in done["quality"][0].tasks]
    for name, (arm, model) in LADDER:
        print(f"\n{name}")
        for task in tasks:
            print(f"  {task}, {format_interval(*answers(done[arm], task, model))}")
    for arm in [arm for arm in ("random", "none") if arm in done]:
        print(f"\ncut: {arm}")
        for task in tasks:
            print(f"  {task}, {format_interval(*answers(done[arm], task, 'sft'))}")
    for name, after, before in [pair for pair in PAIRS if pair[1][0] in done and pair[2][0] in done]:
        print(f"\n{name}")
        found = []
        for task in tasks:
            scores, clusters = answers(done[after[0]], task, after[1])
            found.append(stats.paired(scores, answers(done[before[0]], task, before[1])[0], clusters))
        for task, test, p in zip(tasks, found, stats.holm([test.p for test in found]), strict=True):
            low, high = 100 * test.interval.low, 100 * test.interval.high
            print(f"  {task}, {test.n} items: {100 * test.difference:+.1f} ({low:+.1f} to {high:+.1f}), p {p:.2g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[43, 44])
    parser.add_argument("--runs", type=Path, default=Path("runs/literature"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="quality and sft are always run")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    args = parser.parse_args()
    done: dict[str, list] = {}
    for seed in args.seeds:
        for arm in dict.fromkeys(["quality", "sft", *args.arms]):
            folders = run(job_of(arm, seed, [*QUICK, *args.settings], args.runs))
            done.setdefault(arm, []).append(load_evaluation(folders["evaluate"]))
    summary(done)


if __name__ == "__main__":
    main()
