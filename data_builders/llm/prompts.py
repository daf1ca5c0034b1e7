"""Prompts as versioned files: `NAME.md` with a version line and one `## PART` for each turn."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from recipes.base.errors import RecipeError

SLOT = re.compile(r"\{\{(\w+)\}\}")
DOCUMENT = re.compile(r"<(?=[\s/]*(?:document|question|reply|syllabus)\b)", re.I)


@dataclass(frozen=True)
class Prompt:
    """`parts` maps a part's name to its text with {{slots}}."""

    name: str
    version: int
    parts: dict[str, str]

    @property
    def id(self) -> str:
        return f"{self.name}/{self.version}"

    def fill(self, part: str, **values: str) -> str:
        """The text of a part with its slots filled, all in one pass: a value that holds {{…}} stays as it is."""
        return SLOT.sub(lambda match: values[match[1]], self.parts[part])


@cache
def prompt(path: Path) -> Prompt:
    """The prompt of a file. Raises RecipeError where it has no version line or no part."""
    head, *parts = re.split(r"^## (\w+)\n", path.read_text(encoding="utf-8"), flags=re.M)
    version = re.fullmatch(r"version: (\d+)\s*", head)
    if version is None or not parts:
        raise RecipeError(
            "A prompt file has the wrong form.",
            where=str(path),
            got=head[:80],
            allowed='a first line "version: N", then parts under "## name"',
            fix="mend the file",
        )
    return Prompt(path.stem, int(version[1]), {key: text.strip() for key, text in zip(parts[::2], parts[1::2])})


def quote_text(text: str) -> str:
    """A text as it may stand between <document> tags: it can neither close them nor open others."""
    return DOCUMENT.sub("‹", text)
