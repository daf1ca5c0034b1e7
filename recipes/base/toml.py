"""TOML files read, and values and tables written by tomlkit (the standard library only reads TOML)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.base.errors import RecipeError

if TYPE_CHECKING:
    from tomlkit.items import Item


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a TOML file; a byte order mark, which some editors write, does not count.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        tomllib.TOMLDecodeError: it is not valid TOML.
    """
    text = file.read_text(encoding="utf-8-sig")
    return tomllib.loads(text + "\n")  # so that an error on the last line has a number


def toml_value(value: object) -> str:
    """One value on one line. Raises `RecipeError` for what TOML cannot hold."""
    return _inline_item(value).as_string()


def toml_table(name: str, table: Mapping[str, Any]) -> str:
    """`[name]` with its values, then its sub-tables; keys whose value is None are left out.

    Raises `RecipeError` for what TOML cannot hold.
    """
    import tomlkit

    document = tomlkit.document()
    document[name] = _table_item(table)
    return tomlkit.dumps(document)


def short_float(value: float) -> str:
    """The shortest text that reads back as the same float: `2e-4` rather than `0.0002`, `0.05`, `3.0`."""
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if exponent:
        return f"{mantissa}e{int(exponent)}"
    if 0 < abs(value) < 1e-2:
        digits, _, exponent = f"{value:e}".partition("e")
        scientific = f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
        return scientific if float(scientific) == value and len(scientific) < len(text) else text
    return text


def _inline_item(value: object) -> Item:
    """A value as an item on one line: tables in braces, floats as `short_float` writes them."""
    import tomlkit
    from tomlkit.exceptions import ConvertError
    from tomlkit.items import Float, Trivia

    if isinstance(value, float):
        return Float(value, Trivia(), short_float(value))
    if isinstance(value, list | tuple):
        array = tomlkit.array()
        for item in value:
            array.append(_inline_item(item))
        return array
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        for key, item in value.items():
            if item is not None:
                table[key] = _inline_item(item)
        return table
    try:
        return tomlkit.item(value)
    except ConvertError:
        raise RecipeError("TOML cannot hold this value", got=f"{type(value).__name__} {value!r}") from None


def _table_item(table: Mapping[str, Any]) -> Item:
    """A table under a heading of its own, its sub-tables after its values."""
    import tomlkit

    values = {key: value for key, value in table.items() if not isinstance(value, Mapping | None)}
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    # a table of tables alone needs no heading
    item = tomlkit.table(is_super_table=bool(tables) and not values)
    for key, value in values.items():
        item[key] = _inline_item(value)
    for key, value in tables.items():
        item[key] = _table_item(value)
    return item
