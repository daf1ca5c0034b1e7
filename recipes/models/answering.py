"""A way to answer: what a method of the slot `infer` gives to an evaluation.

    def answer(own, context) -> Answering

The evaluation asks a model so and scores it as one more row, beside the same model's plain (greedy, zero-shot) answers.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from recipes.config.schema import Model, Names
from recipes.config.slots import Method


class AnsweringTable(Method):
    """What every table of the slot `infer` has; a method's Config derives from it."""

    models: Names = Field((), description='which models answer so: "base" and names of steps; empty: the tuned ones')
    tasks: Names = Field((), description="tasks that are answered so; empty: those of the recipe's field")
    items: int = Field(0, ge=0, description="items of a task, evenly chosen, at most; 0: all")


@dataclass(frozen=True)
class Answering:
    """How a model answers.

    Attributes:
        shots: examples in the prompt, drawn from the training rows that the task names.
        samples: replies to an item, of which `choose` takes one.
        temperature: of sampling; 0: greedy.
        top_p, top_k: of sampling; 1 and 0 leave the whole distribution.
        rewrite: (document, prompt) -> the prompt that is asked, before the chat template.
        choose: (document, its replies) -> the reply that counts; without it the first.
        decided_by: fingerprints of what else `choose` goes by, such as a second model. Where it has some, choices are
            kept beside the replies, and made again only when one of these changes.
        note: what else the report says of it in a few words.
        around: model -> context manager in which it answers, for overrides of routers and the like.
    """

    shots: int = 0
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    rewrite: Callable[[dict[str, Any], str], str] | None = None
    choose: Callable[[dict[str, Any], list[str]], str] | None = None
    decided_by: tuple[str, ...] = ()
    note: str = ""
    around: Callable[[Any], AbstractContextManager[Any]] | None = None

    @property
    def generation(self) -> dict[str, Any]:
        """lm-eval's generation arguments, but for the length."""
        if not self.temperature:
            return {}
        return {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}

    @property
    def described(self) -> str:
        """In a few words, for the report."""
        parts = [f"{self.shots} examples in the prompt"] if self.shots else []
        parts += [self.note] if self.note else []
        parts += [f"{self.samples} samples"] if self.samples > 1 else []
        parts += [f"temperature {self.temperature:g}"] if self.temperature else []
        return ", ".join(parts) or "greedy"


@dataclass(frozen=True)
class AnsweringContext:
    """The evaluation that a method of the slot `infer` works in.

    Attributes:
        model: the recipe's `[model]` table.
        inputs: what the evaluation gets: {"data": folder of rows, name of a step: its folder}.
        seed: of the run.
        digest: a folder -> one fingerprint of its files.
    """

    model: Model
    inputs: Mapping[str, Path]
    seed: int
    digest: Callable[[Path], str]
