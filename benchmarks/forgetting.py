"""What tuning costs in general ability, by method: one frontier of gain and retention over several seeds.

Arms on the embedded base and the analogseeker data, one epoch, the same rows, prompts and decoding: LoRA of rank 48 on
the feed-forward layers; the same held near its start with three weights; the same with 15 % general rows; LoRAMoE of
six experts of rank 8 with those rows, without and with balancing; every weight. Each arm and seed is a run like any
other, so the command goes on where it was stopped. Prints scores pooled over seeds, and the paired difference of every
arm to one of them (`--against`) on the items of all seeds (Holm over the arms of a task); the leaderboard page below
`--runs` draws the frontier.

    python -m benchmarks.forgetting --seeds 45 46 47
"""

import argparse
from pathlib import Path

from benchmarks.arms import compare
from recipes.config.load import load
from recipes.pipeline import Job, run
from recipes.report.leaderboard import write_leaderboard
from recipes.report.load import load_evaluation

TABLE = """
[{name}]
summary = "{about}"
builder = "analogseeker"
[{name}.data.tests]
knowledge = 150
calculation = 150
transfer = 40
{mix}
[{name}.model]
name = "embedded"
[{name}.sft]
epochs = 1
batch_tokens = 1024
log_steps = 20
{sft}
[{name}.eval]
tasks = ["analogseeker_knowledge", "analogseeker_calculation"]
general = ["general_arithmetic", "general_facts", "general_instructions"]
batch_size = 48
max_new_tokens = 96
"""
LAYERS = 'learning_rate = 2e-3\nalpha = 96\ntarget = ["gate_proj", "up_proj", "down_proj"]\n'
LORA, EXPERTS = f"{LAYERS}rank = 48\n", f'{LAYERS}method = "loramoe"\nrank = 8\n'
MIXED = "[{name}.mix]\nshare = 0.15\n"
ARMS = {
    "lora": ("LoRA, rank 48, feed-forward layers", LORA, ""),
    "nsc_003": ("LoRA held near its start, weight 0.03", f"{LORA}kl_weight = 0.03\n", ""),
    "nsc_01": ("LoRA held near its start, weight 0.1", f"{LORA}kl_weight = 0.1\n", ""),
    "nsc_03": ("LoRA held near its start, weight 0.3", f"{LORA}kl_weight = 0.3\n", ""),
    "full": ("every weight", 'method = "full"\nlearning_rate = 5e-4\n', ""),
    "lora_mix": ("LoRA, rank 48, 15 % general rows", LORA, MIXED),
    "loramoe_mix": ("LoRAMoE, 6 experts of rank 8, 15 % general rows", EXPERTS, MIXED),
    "loramoe_balance_mix": (
        "LoRAMoE with balancing, 6 experts of rank 8, 15 % general rows",
        f"{EXPERTS}balance = {{weight = 0.1, delta = 0.3}}\n",
        MIXED,
    ),
}


def write_recipes(file: Path) -> None:
    tables = (
        TABLE.format(name=name, about=about, sft=sft, mix=mix.format(name=name))
        for name, (about, sft, mix) in ARMS.items()
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(tables).lstrip(), encoding="utf-8")


def summary(done: dict[str, list], against: str) -> None:
    """Print the arms task by task; `done` is arm -> evaluations in the order of the seeds."""
    for task in [task.name for task in done[against][0].tasks]:
        found = {arm: [next(t for t in e.tasks if t.name == task).answers for e in of] for arm, of in done.items()}
        base = {"base": [answers["base"] for answers in found[against]]}
        arms = {arm: [answers["sft"] for answers in of] for arm, of in found.items()}
        print("\n" + "\n".join(compare(task, base | arms, against)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[45, 46, 47])
    parser.add_argument("--runs", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--against", choices=ARMS, default="lora")
    parser.add_argument("--only-print", action="store_true", help="of the arms that were run with all seeds")
    args = parser.parse_args()
    file = args.runs / "recipes.toml"
    write_recipes(file)
    done = {}
    for arm in dict.fromkeys([args.against, *args.arms]):
        for seed in args.seeds:
            job = Job(load(file, arm, None, [f"seed={seed}"]), args.runs)
            if not args.only_print:
                done.setdefault(arm, []).append(load_evaluation(run(job)["evaluate"]))
                continue
            found = [load_evaluation(folder) for folder in job.home.glob("evaluate-????????")]
            done.setdefault(arm, []).extend(e for e in found if e.manifest.seed == seed)
    summary({arm: found for arm, found in done.items() if len(found) == len(args.seeds)}, args.against)
    print(write_leaderboard(args.runs, args.runs / "leaderboard")[0])


if __name__ == "__main__":
    main()
