"""One error type for everything a person can put right: what, where, what was got, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterable


class RecipeError(Exception):
    """A problem stated so that the reader can act on it; `str()` gives the whole text, one labelled line per part."""

    def __init__(
        self, what: str, *, where: object = None, got: object = None, allowed: object = None, fix: str | None = None
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.got, self.allowed, self.fix = what, where, got, allowed, fix

    def __str__(self) -> str:
        parts = (("where", self.where), ("got", self.got), ("allowed", self.allowed), ("do", self.fix))
        return "\n".join([str(self.what)] + [f"  {label:<8}{text}" for label, text in parts if text is not None])


class ConfigErrors(RecipeError):
    """Every configuration problem of one load, so that a person mends them in one go.

    `problems` is the list of `RecipeError`, in the order of the file.
    """

    def __init__(self, problems: Iterable[RecipeError]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        super().__init__(f"{count} configuration {'error' if count == 1 else 'errors'}; nothing was started")

    def __str__(self) -> str:
        return "\n\n".join([self.what] + [f"{number}. {problem}" for number, problem in enumerate(self.problems, 1)])
