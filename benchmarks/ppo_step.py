"""A rollout and its updates: this project's PPO against TRL's GRPOTrainer on equal shapes.

Same model, prompts, number of replies, tokens of a reply (every one is forced to its full length), iterations, beta,
learning rate, loss reduction; dropout off; arms in turn. What PPO adds is a pass for the values of the rollout and a
value head. Prints the time of a rollout in its parts, passes without gradient and with it, and the ratios, in seconds
of this process's CPU time where there is no GPU, because that is less disturbed by neighbours, else by the clock.

    python -m benchmarks.ppo_step --replies 16 --tokens 32 --rollouts 3
"""

import argparse
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

from recipes.config.schema import Model
from recipes.methods.rl.ppo.trainer import PPOConfig, PPOTrainer
from recipes.models import loader, training
from recipes.models.loader import causal_lm
from tests.helpers.tables import rl_table

SEED = 42
PARTS = ("generation", "scoring", "update")


def now() -> float:
    if loader.device() == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.monotonic()


def timed(trainer_class):
    """The trainer with its time by part in `spent`, and the passes outside generation in `passes`."""

    class Timed(trainer_class):
        def __init__(self, *args, **kwargs):
            self.spent, self.passes, self.generating = dict.fromkeys(PARTS, 0.0), {False: 0, True: 0}, False
            super().__init__(*args, **kwargs)
            for model in filter(None, (self.model, self.ref_model)):
                causal_lm(model).base_model.register_forward_hook(self.count)

        def count(self, *_):
            if not self.generating:
                self.passes[torch.is_grad_enabled()] += 1

        @contextmanager
        def part(self, name):
            began = now()
            yield
            self.spent[name] += now() - began

        def _generate_single_turn(self, *args, **kwargs):
            self.generating = True
            with self.part("generation"):
                found = super()._generate_single_turn(*args, **kwargs)
            self.generating = False
            return found

        def _generate_and_score_completions(self, inputs):
            before = self.spent["generation"]
            with self.part("scoring"):
                found = super()._generate_and_score_completions(inputs)
            self.spent["scoring"] -= self.spent["generation"] - before
            return found

    return Timed


def run(name, arm, args, folder) -> tuple[dict, dict]:
    """({part: seconds of a rollout}, {with gradient: passes of a rollout}) of one fresh trainer."""
    prompts = [{"prompt": [{"role": "user", "content": f"Compute {n} + {n + 7}."}]} for n in range(64)]
    table = rl_table(learning_rate=1e-5)
    settings = dict(
        **training.common_arguments(table, SEED, folder),
        max_steps=args.rollouts * args.iterations,
        per_device_train_batch_size=args.replies,
        num_generations=args.group,
        num_iterations=args.iterations,
        beta=args.beta,
        loss_type="grpo",
        disable_dropout=True,
        max_completion_length=args.tokens,
        generation_kwargs={"min_new_tokens": args.tokens},
        lr_scheduler_type="constant",
    )
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer_class, make = {"ppo": (PPOTrainer, PPOConfig), "grpo": (GRPOTrainer, GRPOConfig)}[name]
    trainer = training.build(
        timed(trainer_class),
        loader.load_base(Model(name=args.model)),
        reward_funcs=[lambda completions, **_: [len(c[0]["content"]) % 7 / 6 for c in completions]],
        args=make(**settings | {"save_strategy": "no"}),
        train_dataset=Dataset.from_list(prompts),
        processing_class=loader.load_tokenizer(Model(name=args.model)),
        peft_config=adapter if arm == "lora" else None,
    )
    began = now()
    trainer.train()
    whole = now() - began
    trainer.spent["update"] = whole - trainer.spent["generation"] - trainer.spent["scoring"]
    lengths = [h["completions/mean_length"] for h in trainer.state.log_history if "completions/mean_length" in h]
    assert set(lengths) == {float(args.tokens)}, "replies of unequal length"
    return (
        {part: seconds / args.rollouts for part, seconds in trainer.spent.items()},
        {grad: passes / args.rollouts for grad, passes in trainer.passes.items()},
    )


def median(values):
    return sorted(values)[len(values) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--replies", type=int, default=16, help="of a rollout")
    parser.add_argument("--group", type=int, default=4, help="replies for a prompt, in both")
    parser.add_argument("--tokens", type=int, default=32, help="of a reply")
    parser.add_argument("--iterations", type=int, default=2, help="passes over a rollout")
    parser.add_argument("--beta", type=float, default=0.05)
    parser.add_argument("--rollouts", type=int, default=3, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all arms after one that does not count")
    args = parser.parse_args()
    print(f"{args.replies} replies of {args.tokens} tokens, {args.iterations} iterations, device {loader.device()}")
    for arm in ("full", "lora"):
        found = {"grpo": [], "ppo": []}
        for count in range(args.rounds + 1):
            for name in found if count % 2 else reversed(found):
                with tempfile.TemporaryDirectory() as folder:
                    seconds, passes = run(name, arm, args, Path(folder))
                if count:
                    found[name].append((seconds, passes))
        for name, rounds in found.items():
            parts = {part: median([seconds[part] for seconds, _ in rounds]) for part in PARTS}
            print(
                f"{arm:5s}{name:5s}"
                + "".join(f"  {part} {value:.3f} s" for part, value in parts.items())
                + f"  passes {passes_of(rounds, False):g} without gradient, {passes_of(rounds, True):g} with"
            )
        ratios = [
            sum(ppo.values()) / sum(grpo.values())
            for (ppo, _), (grpo, _) in zip(found["ppo"], found["grpo"], strict=True)
        ]
        updates = [
            ppo["update"] / grpo["update"] for (ppo, _), (grpo, _) in zip(found["ppo"], found["grpo"], strict=True)
        ]
        print(
            f"{arm:5s}ppo / grpo {median(ratios):.2f} (rounds {', '.join(f'{r:.2f}' for r in ratios)}); "
            f"update alone {median(updates):.2f}"
        )


def passes_of(rounds, grad: bool) -> float:
    return rounds[0][1][grad]


if __name__ == "__main__":
    main()
