"""What the engine gives to a probe: a method of the slot `probe`, which measures something inside a model.

def measure(own, context) -> dict      {key of LOGS: number, {label: number} or {row: {label: [numbers]}}}
LOGS = {key: (title, unit)}
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ProbeContext:
    """A tuned model, ready to be looked into.

    Attributes:
        model: the model, its adapter active.
        base: the base beside it where every weight was trained; None where the base is `model` with its adapter off.
        reader: its tokenizer, or its processor where rows have images.
        texts: kind of text ("field", "general") -> rows with prompt and gold reply; a kind without rows is left out.
        name: the step that left the model.
    """

    model: Any
    base: Any
    reader: Any
    texts: dict[str, list[dict[str, Any]]]
    name: str
