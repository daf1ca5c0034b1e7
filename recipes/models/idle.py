"""Reinforcement that cannot learn: warned of within three steps, ended after a stated number, and told."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

WARN_STEPS = 3
ACCURACY = "rewards/accuracy_reward/mean"


def explain_idle(logs: dict[str, Any], table: str) -> str:
    """Why nothing can be learnt from a step of which a trainer logged this, and what to change; empty where it can.

    Advantage and gradient are zero where every reply was cut off, or no group has replies of different reward.
    """
    if float(logs.get("completions/clipped_ratio", 0.0)) >= 1.0:
        return f"every reply was cut off; raise {table}.max_completion_length"
    if float(logs.get("frac_reward_zero_std", 0.0)) < 1.0:
        return ""
    right = float(logs.get(ACCURACY, logs["reward"]))
    if right <= 0:
        which = "wrong", f"take easier prompts, more {table}.group_size, or tune longer before"
    elif right >= 1:
        which = "right", f"take harder prompts or a higher {table}.temperature"
    else:
        which = "right or all wrong", f"take prompts in between, more {table}.group_size, or a higher temperature"
    return "all replies to a prompt got the same reward (all {}); {}".format(*which)


class IdleWatch(TrainerCallback):
    """Warns where reinforcement cannot learn anything, and ends it after `limit` such steps in a row (0: never).

    It counts in the trainer's own history, which checkpoints keep, so that a run that went on counts on.

    Args:
        compares: whether the algorithm compares the replies to one prompt. One with a value head does not: it learns
            from replies of one reward too, and with one reply to a prompt no group ever has spread.
    """

    def __init__(self, say: Callable[[str], None], table: str, limit: int, compares: bool = True):
        self.say, self.table, self.limit, self.compares = say, table, limit, compares
        self.ended = ""  # why the training was ended; empty where it was not

    def explain_steps(self, history: list[dict[str, Any]]) -> list[str]:
        """`explain_idle` of each logged step with a reward."""
        return [explain_idle(logs, self.table) if self.compares else "" for logs in history if "reward" in logs]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if "reward" not in (logs or {}):
            return
        reasons = self.explain_steps(state.log_history)
        idle = next((count for count, reason in enumerate(reversed(reasons)) if not reason), len(reasons))
        steps = idle * args.logging_steps
        if steps >= WARN_STEPS > steps - args.logging_steps:
            self.say(f"rl: nothing can be learnt so far, {steps} steps: {reasons[-1]}")
        if idle and self.limit and steps >= self.limit:
            self.ended = reasons[-1]
            self.say(f"rl: stopped at step {state.global_step}: {self.ended}")
            control.should_training_stop = True

    def describe(self, history: list[dict[str, Any]]) -> str:
        """Why nothing was learnt in the whole training, or why it was ended early; empty where it learnt."""
        reasons = self.explain_steps(history)
        return self.ended or (reasons[-1] if reasons and all(reasons) else "")
