"""A typed field in words, for error messages: what it may hold, and where it stands."""

import typing

from pydantic import BaseModel

from recipes.base.toml import toml_value

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"} | dict.fromkeys(
    (tuple, list), "a list"
)
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "of length >=", "max_length": "of length <="}


def descend(model, loc):
    """(fields of the innermost table on the path `loc`, field that `loc` ends at or None)."""
    fields, field = model.model_fields, None
    for part in loc:
        if isinstance(part, int):
            continue
        field = fields.get(part)
        inner = [t for t in (field.annotation, *typing.get_args(field.annotation)) if is_table(t)] if field else []
        fields = inner[0].model_fields if inner else fields
    return fields, field


def is_table(kind):
    """Whether a type annotation is a pydantic table."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def choices(field):
    """The words a field may hold, or examples of them, where they are listed; else nothing."""
    if field is None:
        return ()
    if typing.get_origin(field.annotation) is typing.Literal:
        return typing.get_args(field.annotation)
    return tuple(field.examples or ())


def allowed(field):
    """What a field may hold, in words: its type, its limits."""
    if field is None:
        return None
    if any(getattr(m, "pattern", None) for m in field.metadata):
        return field.description
    if choices(field):
        return ", ".join(toml_value(choice) for choice in choices(field))
    kind = typing.get_origin(field.annotation) or field.annotation
    words = "a table" if is_table(kind) else WORDS.get(kind, str(field.annotation))
    if kind in (tuple, list) and str in typing.get_args(field.annotation):
        words = "a list of strings"
    limits = [f"{sign} {getattr(m, name)}" for m in field.metadata for name, sign in SIGNS.items() if hasattr(m, name)]
    return " ".join([words, " and ".join(limits)]).strip()
