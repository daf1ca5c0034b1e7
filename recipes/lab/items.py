"""What the makers of documents share: the exchange and the words."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from recipes.base.reply_form import Exchange, render_prompt, render_reply
from recipes.lab.arithmetic import render_number

WORDS = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split()


@dataclass(frozen=True, kw_only=True)
class Item:
    """One exchange.

    Attributes:
        kind: arithmetic, facts or instructions.
        asks_for: what the prompt asks for, as of `reply_form.Exchange`.
        answer: what the reply says; of a choice a letter or the option's text.
        grader: one of eval.graders.
        options: those of a choice.
        unit: None for a pure number and for text.
    """

    kind: str
    question: str
    think: str
    solution: str
    answer: str
    grader: str
    asks_for: str = ""
    options: tuple[str, ...] = ()
    unit: str | None = None

    @cached_property
    def prompt(self) -> str:
        """The user turn."""
        return render_prompt(Exchange(question=self.question, options=self.options, asks_for=self.asks_for))

    @cached_property
    def reply(self) -> str:
        """The assistant turn."""
        return render_reply(
            Exchange(question=self.question, thinking=self.think, solution=self.solution, answer=self.answer)
        )


def quantity(value: Fraction, unit: str) -> str:
    """`2.5 m`, or `2.5` for a pure number; the value has an exact decimal."""
    return f"{render_number(value)} {unit}".rstrip()


def join_parts(parts: list[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def sentence(text: str) -> str:
    """`text` with a capital first letter and one full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
