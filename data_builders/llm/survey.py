"""One round of questions to a model for the builders: asks, shows how far it is, and closes what it opened."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from data_builders.llm.table import Teacher

if TYPE_CHECKING:
    from data_builders.llm.asking import Asker

Item = TypeVar("Item")
Result = TypeVar("Result")


def survey(
    table: Teacher,
    path: Path,
    items: Sequence[Item],
    work: "Callable[[Asker, Item], Awaitable[Result]]",
    bar: Callable[..., Any],
    say: Callable[[str], None],
    title: str,
    unit: str,
) -> tuple[list[Result], dict[str, Any]]:
    """([result of `await work(asker, item)`] in the order of the items, what the replies cost).

    `table` is a Teacher of kind openai or transformers, `path` the file of stored replies; `title` and `unit` name the
    round and its items on the bar. Raises RecipeError where the endpoint or the budget ends the run; what was answered
    until then is kept.
    """
    from data_builders.llm.asking import open_teacher  # asyncio and SQLite: not for who reads a recipe's tables

    asker = open_teacher(table, path, say)
    try:
        with bar(title, len(items), unit) as progress:
            results = asker.each(
                items, lambda item: work(asker, item), lambda result: progress.advance(1, asker.spent())
            )
        return results, asker.figures()
    except BaseException:
        say(f"{title}: {asker.spent()} so far, kept in {path}")
        raise
    finally:
        asker.close()
