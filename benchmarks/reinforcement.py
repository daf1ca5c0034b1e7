"""How to go on from a short supervised warm-up: the methods of ReFT (arXiv 2401.08967) at equal replies, several seeds.

Arms on the recipe reft: the warm-up (two epochs); supervised tuning of LONGER epochs instead, which passes the rows at
least as often as warm-up and reinforcement together; and from the warm-up on offline and online self-training, GRPO,
RLOO, PPO, and PPO without KL penalty. All sample the same number of replies to the same prompts, 64 at a time: methods
of groups 8 for each of 8 prompts, PPO one for each of 64, on which it takes two steps. A seed has one set of rows and
one warm-up for all arms, and one evaluation of all models. Every stage is kept as in any run, so the command goes on
where it was stopped. Learning rates: `--tune` prints what was tried, on a seed that is in no comparison.

    OMP_NUM_THREADS=1 python -m benchmarks.reinforcement --seeds 45 46 47
"""

import argparse
from pathlib import Path
from statistics import mean

from benchmarks.arms import compare, use_settings
from recipes.artifacts import store
from recipes.artifacts.steps import Prepared, prepare
from recipes.base.places import ROOT
from recipes.config.load import load
from recipes.config.schema import Recipe
from recipes.config.slots import load as load_slot
from recipes.pipeline import Job, make, run
from recipes.report.load import Evaluation, load_evaluation

ROLLOUTS, TUNING_ROLLOUTS = 10, 6
RATES = (1e-4, 5e-4)
LONGER = 3
SHARED = ("temperature", "max_completion_length", "micro_batch")  # with the recipe's own PPO
REWARD = ("format_weight", "partial")
METHODS = {  # algorithm, learning rate, whether it reads the weights of the reward, and the KL penalty
    "offline": ("offline_self_training", 5e-4, False, False),
    "online": ("online_self_training", 5e-4, False, False),
    "grpo": ("grpo", 1e-4, True, True),
    "rloo": ("rloo", 1e-4, True, True),
    "ppo": ("ppo", 1e-4, True, True),
    "ppo_no_kl": ("ppo", 1e-4, True, False),
}


def reinforced(recipe: Recipe, method: str, rollouts: int, rate: float | None = None) -> Recipe:
    """The recipe with `method` as its reinforcement, of `rollouts` times 64 replies."""
    algorithm, chosen, rewarded, penalised = METHODS[method]
    rl = recipe.settings("rl")
    kept = {name: getattr(rl, name) for name in (*SHARED, *(REWARD if rewarded else ()))}
    if algorithm == "ppo":
        shape = {"prompts_per_step": 64, "group_size": 1, "steps": rollouts * rl.method.iterations}
        own = rl.method.model_copy(update={} if penalised else {"beta": 0.0, "allow_no_kl": True})
    else:
        shape = {"prompts_per_step": 8, "group_size": 8, "steps": rollouts}
        own = load_slot("rl", algorithm).Config(use=algorithm, **({"beta": rl.method.beta} if penalised else {}))
    return use_settings(recipe, "rl", type(rl)(method=own, learning_rate=rate or chosen, **shape, **kept))


def trained(recipes: dict[str, Recipe], runs: Path) -> dict[str, Path]:
    """{"data", "sft", arm …: artefact folder} of one seed; an arm without reinforcement is its supervised model."""
    done = {}
    for arm, recipe in recipes.items():
        last = "rl" if recipe.step("rl") else "sft"
        stages = run(Job(recipe, runs), until=last)
        done |= {"data": stages["data"], arm: stages[last]}
    return done


def evaluated(recipe: Recipe, done: dict[str, Path], runs: Path) -> Evaluation:
    """One evaluation of all models of a seed."""
    job, arms = Job(recipe, runs), tuple(name for name in done if name != "data")
    own = prepare(recipe)[-1]
    lines = {arm: (arm,) for arm in arms}
    step = Prepared(own.step, own.spec, ("data",), arms, lines=lines, asked=arms, watched=own.watched)
    with store.lock(job.home):
        return load_evaluation(make(job, step, done, False, [step]))


def measured(recipes: dict[str, Recipe], runs: Path) -> tuple[dict[str, Path], Evaluation]:
    done = trained(recipes, runs)
    return done, evaluated(recipes["sft"], done, runs)


def tried(recipe: Recipe, runs: Path) -> None:
    """Print the scores of every method at every rate of RATES, after short reinforcement."""
    recipes = {
        f"{method}_{rate:.0e}": reinforced(recipe, method, TUNING_ROLLOUTS, rate)
        for method in METHODS
        if method != "ppo_no_kl"  # it takes what PPO takes
        for rate in RATES
    }
    scoring = recipe.settings("evaluate").model_copy(update={"tasks": ("reft_problems",)})
    _, found = measured({"sft": use_settings(use_settings(recipe, "rl", None), "evaluate", scoring)} | recipes, runs)
    for task in found.tasks:
        print(task.name, {name: round(100 * answers.mean, 1) for name, answers in (task.answers | task.others).items()})


def compared(recipes: dict[int, Recipe], runs: Path) -> None:
    """Print the scores of all arms over the seeds, their tests, and what each cost."""
    found = []
    for recipe in recipes.values():
        alone = use_settings(recipe, "rl", None)
        sft = recipe.settings("sft").model_copy(update={"epochs": float(LONGER)})
        longer = {f"sft_{LONGER}": use_settings(alone, "sft", sft)}
        methods = {method: reinforced(recipe, method, ROLLOUTS) for method in METHODS}
        found.append(measured({"sft": alone} | longer | methods, runs))
    for task in found[0][1].tasks:
        by_seed = [next(t for t in evaluation.tasks if t.name == task.name).answers for _, evaluation in found]
        answers = {arm: [of_seed[arm] for of_seed in by_seed] for arm in by_seed[0]}
        for against in ("sft", f"sft_{LONGER}"):
            print("\n" + "\n".join(compare(task.name, answers, against)))
    print("\nthe last stage of each arm, and KL to the base in nats a token on gold replies; means over seeds")
    for arm in [arm for arm in answers if arm != "base"]:
        about = [(store.read_manifest(done[arm]), e.probes["drift"]["values"][arm]) for done, e in found]
        print(f"  {arm} {described(about)}")


def described(arm: list[tuple[dict, dict]]) -> str:
    """Cost and drift from (manifest of the last stage, its drift) of every seed."""
    made, drift = [manifest for manifest, _ in arm], [found["kl"] for _, found in arm]
    parts = {
        "processor": f"{mean(m['cpu_seconds'] for m in made):.0f} s",
        "wall": f"{mean(m['seconds'] for m in made):.0f} s",
        "replies": f"{mean(m['metrics'].get('completions', 0) for m in made):.0f}",
        "tokens": f"{mean(m['metrics']['tokens'] for m in made):.0f}",
        "KL on problems": f"{mean(d['field'] for d in drift):.2f}",
        "KL on general text": f"{mean(d['general'] for d in drift):.2f}",
    }
    interrupted = ", was interrupted" if any(m["resumed"] for m in made) else ""
    return ", ".join(f"{name} {value}" for name, value in parts.items()) + interrupted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[45, 46, 47])
    parser.add_argument("--runs", type=Path, default=Path("runs/reinforcement"))
    parser.add_argument("--tune", type=int, metavar="SEED", help="compare the learning rates of every method instead")
    args = parser.parse_args()

    def recipe(seed):
        loaded = load(ROOT / "recipes.toml", "reft", None, [f"seed={seed}", "eval.infer.few_shot=false"])
        return use_settings(loaded, "evaluate", loaded.settings("evaluate").model_copy(update={"general": ()}))

    if args.tune is not None:
        tried(recipe(args.tune), args.runs)
    else:
        compared({seed: recipe(seed) for seed in args.seeds}, args.runs)


if __name__ == "__main__":
    main()
