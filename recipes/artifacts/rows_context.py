"""What the engine gives to a method that selects, makes or adds rows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_builders.core.ledger import Ledger


@dataclass
class RowsContext:
    """The step that a method of the slots select, augment and mix works in.

    Attributes:
        seed: of the run.
        tests: {name: items} that no row of training may hold: the recipe's own test and sets from outside.
        ledger: counts every row that is left out, with its reason.
        folder: of the step, for what a method wants to keep; what lies there when it starts is from an earlier attempt.
        runtime: progress (`bar`, `say`).
        load_model: loads (model, tokenizer) of the recipe's base; for methods whose NEEDS have "base_model".
        note: {method: anything} for the data card.
    """

    seed: int
    tests: dict[str, list[Any]]
    ledger: Ledger
    folder: Path
    runtime: Any
    load_model: Callable[[], tuple[Any, Any]] | None = None
    note: dict[str, Any] = field(default_factory=dict)
