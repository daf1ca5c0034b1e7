"""What a builder is given to tell how far it is: a bar for a piece of work, and a line of text."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Progress of one piece of work."""

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Count `n` more units done; `note` says something of the last."""


class Bar(Protocol):
    """Opens the progress of a piece of work of `total` units; None where that is not known."""

    def __call__(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Progress]: ...


Say = Callable[[str], None]  # tells a person one line
