"""Reinforcement that cannot learn: when it is warned of, ended and told."""

from types import SimpleNamespace

import pytest

from recipes.models.idle import ACCURACY, IdleWatch

pytestmark = pytest.mark.slow

CUT = {"reward": 0.0, "completions/clipped_ratio": 1.0, "frac_reward_zero_std": 1.0}
SAME = {"reward": 0.0, "completions/clipped_ratio": 0.1, "frac_reward_zero_std": 1.0}
LEARNT = SAME | {"frac_reward_zero_std": 0.9}


def log_steps(watch, logs, steps, history=None):
    """What a trainer that logs `logs` at each of `steps` steps does with the watch; the step where it stopped."""
    control, history = SimpleNamespace(should_training_stop=False), history if history is not None else []
    for step in range(1, steps + 1):
        history.append(logs)
        state = SimpleNamespace(global_step=step, log_history=history)
        watch.on_log(SimpleNamespace(logging_steps=1), state, control, logs)
        if control.should_training_stop:
            return step
    return None


@pytest.mark.parametrize(
    ("logs", "advice"),
    [
        (CUT, "rl.max_completion_length"),
        (SAME, "easier prompts"),
        (SAME | {"reward": 1.0}, "harder prompts"),
        (SAME | {"reward": 0.1, ACCURACY: 0.0}, "easier prompts"),  # well formed and wrong
        (SAME | {"reward": 0.6, ACCURACY: 0.5}, "prompts in between"),
    ],
)
def test_reinforcement_that_cannot_learn_warns_within_three_steps_and_ends(logs, advice):
    said, history = [], []
    watch = IdleWatch(said.append, "rl", 20)
    assert log_steps(watch, logs, 3, history) is None and len(said) == 1 and advice in said[0]
    again = IdleWatch(said.append, "rl", 20)  # the run was killed and went on with the history of its checkpoint
    assert log_steps(again, logs, 100, history) == 17 and advice in again.ended and "stopped at step" in said[-1]
    assert advice in again.describe(history)


def test_an_algorithm_that_compares_no_replies_is_never_idle():
    """PPO with one reply to a prompt logs that no group has spread, and learns from its value head's advantages."""
    said, history = [], []
    watch = IdleWatch(said.append, "rl", 4, compares=False)
    assert log_steps(watch, SAME | {"reward": 0.3}, 30, history) is None
    assert said == [] and watch.ended == watch.describe(history) == ""


def test_one_reason_after_another_is_idle_all_the_same():
    history = []
    watch = IdleWatch(lambda text: None, "rl", 4)
    assert log_steps(watch, SAME, 2, history) is None and log_steps(watch, CUT, 9, history) == 2


def test_reinforcement_that_learns_now_and_then_is_left_alone():
    said, history = [], []
    watch = IdleWatch(said.append, "rl", 4)
    for _ in range(5):
        assert log_steps(watch, SAME, 2, history) is None and log_steps(watch, LEARNT, 1, history) is None
    assert said == [] and watch.ended == watch.describe(history) == ""


def test_a_short_training_that_never_learnt_is_told_though_it_was_not_ended():
    history = [{"loss": 0.0}]
    never = IdleWatch(lambda text: None, "rl", 0)
    assert log_steps(never, CUT, 12, history) is None and never.ended == ""
    assert "every reply was cut off" in never.describe(history)
    assert never.describe([{"loss": 0.0}]) == ""
