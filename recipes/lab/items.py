"""What the makers of documents share: the exchange, the words, the closing lines of a prompt."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from recipes.lab.arithmetic import render_number

WORDS = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split()
LETTERS = "ABCD"
ASK = "Give the final answer in <answer> tags."
ASK_LETTER = "Give the letter in <answer> tags."
ASK_OPTION = "Give the right option in <answer> tags."


@dataclass(frozen=True)
class Item:
    """One exchange. `kind` is arithmetic, facts or instructions; `grader` one of eval.graders; `options` belong to a
    choice, whose answer is a letter or the option's text; `unit` is None for a pure number and for text."""

    kind: str
    prompt: str
    think: str
    solution: str
    answer: str
    grader: str
    options: tuple[str, ...] = ()
    unit: str | None = None

    @property
    def reply(self) -> str:
        return f"<think>{self.think}</think>\n{self.solution}\n<answer>{self.answer}</answer>"


def quantity(value: Fraction, unit: str) -> str:
    """`2.5 m`, or `2.5` for a pure number; the value has an exact decimal."""
    return f"{render_number(value)} {unit}".rstrip()


def listing(parts: list[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def sentence(text: str) -> str:
    """`text` with a capital first letter and one full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
