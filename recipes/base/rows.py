"""Rows: what is learnt, reinforced and tested, as fields; files hold the rendered turns beside them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id
from recipes.base.reply_form import Exchange, Turns, render_messages, render_prompt

ALWAYS = ("question", "options", "thinking", "solution", "answer")  # fields of an exchange that every written row has


@dataclass(frozen=True, kw_only=True)
class Row(Exchange):
    """What every row has beside its exchange.

    Attributes:
        id: stable; made of the content where none is given. `dataclasses.replace` keeps it.
        kind: of the row, such as "open" or "transfer": reports count by it.
        node_id: the source that it was made from; splits are by source.
        fact_id: what it teaches or tests; rows of one fact share it. Empty where that is no one thing.
        family: the field of the source.
        lineage: where it comes from and what it has passed.
        images: files of the artefact, as `data_builders.core.schema.store_image` names them, shown before the text.
    """

    id: str = ""
    kind: str
    node_id: str = ""
    fact_id: str = ""
    family: str = ""
    lineage: dict[str, Any] = field(default_factory=dict)
    images: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        prompt, reply = self.messages
        if not self.id:
            object.__setattr__(self, "id", stable_id(*self._identity(prompt, reply)))

    @property
    def messages(self) -> tuple[Turns, Turns]:
        """(turns of the prompt, turns of the reply). Raises RecipeError for an answer that is no option's letter."""
        try:
            return render_messages(self)
        except ValueError as error:
            raise RecipeError(
                "a row cannot be written",
                where=f"row {self.id}" if self.id else f"the question {self.question[:80]!r}",
                got=error,
                allowed="as answer of lettered options the letter of one of them",
                fix="correct the builder",
            ) from None

    def _identity(self, prompt: Turns, reply: Turns) -> Iterator[Any]:
        """What the id is made of."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SftRow(Row):
    """A supervised row: the reply is trained, the prompt is not."""

    def _identity(self, prompt: Turns, reply: Turns) -> Iterator[Any]:
        yield from ("sft", prompt, reply)


@dataclass(frozen=True, kw_only=True)
class GradedRow(Row):
    """A row with a gold answer, for reinforcement or a test.

    Attributes:
        grader: a name in `eval.graders`.
        unit: of the answer; None for a pure number and for text.
        tolerance: relative error that a number may have; None for text.
        difficulty: counts operations.
        aliases: further answers that are right.
        level: reports break scores down by it.
    """

    grader: str
    unit: str | None = None
    tolerance: float | None = None
    difficulty: int = 1
    aliases: tuple[str, ...] = ()
    level: str = ""

    def _identity(self, prompt: Turns, reply: Turns) -> Iterator[Any]:
        yield from (self.kind, prompt, self.answer)


DEFAULTS = {  # fields that a written row has only where they are set
    **{entry.name: entry.default for entry in fields(Exchange) if entry.name not in ALWAYS},
    **{"images": (), "aliases": (), "level": ""},
}


def dump_row(row: Row) -> dict[str, Any]:
    """The object that stands for a row in a file: its fields, `prompt`, and `completion` (SftRow) or `reply`."""
    prompt, reply = row.messages
    kept = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(row).items()
        if name not in DEFAULTS or value != DEFAULTS[name]
    }
    written = {"reply": reply[0]["content"]} if isinstance(row, GradedRow) else {"completion": reply}
    return kept | {"prompt": prompt} | written


def read_exchange(row: Mapping[str, Any]) -> Exchange | None:
    """The exchange of a row as a file has it.

    None for a row of which only the text is known: one from outside, or one whose prompt is not what its fields give.
    """
    if not isinstance(row.get("question"), str) or not isinstance(row.get("prompt"), list):
        return None
    known = {entry.name: row[entry.name] for entry in fields(Exchange) if entry.name in row}
    known["options"] = tuple(row["options"]) if row.get("options") else None
    exchange = Exchange(**known)
    try:
        same = row["prompt"][-1]["content"] == render_prompt(exchange)
    except (ValueError, TypeError, LookupError):
        same = False
    return exchange if same else None
