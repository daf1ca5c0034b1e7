"""Looks at a base's chat template with its tokenizer alone, while nothing is spent."""

from collections.abc import Callable

from recipes.base.errors import RecipeError
from recipes.config.schema import Model
from recipes.models.base_files import find_files
from recipes.models.gguf import is_gguf


def describe_base(model: Model) -> str:
    """How a base's chat template is used, in words; empty of the embedded one, which has its tests.

    Raises:
        RecipeError: the tokenizer cannot be had, or replies cannot be learnt by its template.
    """
    if model.name == "embedded" and not model.chat_template:
        return ""
    from recipes.models.loader import describe_template

    return describe_template(model)


def is_at_hand(model: Model) -> bool:
    """Whether the tokenizer lies on this machine."""
    folder = find_files(model)
    return is_gguf(model.name) if folder is None else any(folder.glob("tokenizer*"))


def look_at_base(model: Model, needed: bool, say: Callable[[str], None]) -> None:
    """Say how a base's chat template is used, before rows are made for it.

    Args:
        needed: whether the base itself is needed now; else one that cannot be had here is none to refuse.

    Raises:
        RecipeError: as `describe_base`.
    """
    try:
        if told := describe_base(model):
            say(told)
    except RecipeError as error:
        if needed or error.where != "model.name":
            raise
        say(f"its chat template is not looked at: {error.what}")
