"""What the engine gives to an algorithm of reinforcement learning when it asks for its trainer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.models import training

if TYPE_CHECKING:
    from transformers import Trainer


@dataclass
class RlContext:
    """The run that a trainer is made for.

    Attributes:
        rl: the `[rl]` table, without its method's settings.
        seed: of the run.
        policy, reader: the model that learns, and its tokenizer or processor.
        rows: rl rows, in the order in which they are met where the table asks for one.
        columns: makes the dataset that TRL's online trainers read from rows.
        rewards: (reward function, weight), the grader first.
        shared: arguments that every online trainer of TRL takes.
        micro, accumulation: replies of a forward pass, and passes of an optimizer step.
        out: folder of the step, in which replies may be kept.
        runtime: progress.
        metrics: what the method adds to the step's metrics; `completion_length` among them is the mean tokens of a
            sampled reply, where the trainer's log does not have it, and is left out of them.
        environment: makes the environment of a reply, whose methods are the model's tools, in the form of TRL's
            `environment_factory`; None for none. Algorithms with TAKES_TOOLS pass it on.
    """

    rl: Any
    seed: int
    policy: Any
    reader: Any
    rows: list[dict[str, Any]]
    columns: Callable[[list[dict[str, Any]]], Any]
    rewards: list[tuple[Callable[..., list[float]], float]]
    shared: dict[str, Any]
    micro: int
    accumulation: int
    out: Path
    runtime: Any
    metrics: dict[str, Any] = field(default_factory=dict)
    environment: Callable[[], Any] | None = None

    def build(self, kind: type, arguments: Any) -> "Trainer":
        """An online trainer of TRL's form over the rows and rewards, with the environment where there is one."""
        tools = {} if self.environment is None else {"environment_factory": self.environment}
        return training.build(
            kind,
            self.policy,
            reward_funcs=[reward for reward, _ in self.rewards],
            args=arguments,
            train_dataset=self.columns(self.rows),
            processing_class=self.reader,
            **tools,
        )
