"""What the engine gives to a method that selects, makes or adds rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_builders.core.decontamination import OWN, remove_test_items
from data_builders.core.leaks import Compared
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
        load_reader: loads what turns rows into tokens; for methods whose NEEDS have "base_tokenizer".
        note: {method: anything} for the data card.
    """

    seed: int
    tests: dict[str, list[Compared]]
    ledger: Ledger
    folder: Path
    runtime: Any
    load_model: Callable[[], tuple[Any, Any]] | None = None
    load_reader: Callable[[Sequence[dict[str, Any]]], Any] | None = None
    note: dict[str, Any] = field(default_factory=dict)

    def remove_test_items(self, rows: Sequence[dict[str, Any]], step: str) -> list[dict[str, Any]]:
        """The rows that hold no item of `tests`; the others are counted at this step of the ledger."""
        outside = {name: items for name, items in self.tests.items() if name != OWN}
        kept, _ = remove_test_items(rows, self.tests.get(OWN, []), outside, self.ledger, step)
        return kept
