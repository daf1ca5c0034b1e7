"""TOML files read, and values and tables written as TOML text (the standard library only reads TOML)."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a TOML file; a byte order mark, which some editors write, does not count.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        tomllib.TOMLDecodeError: it is not valid TOML.
    """
    text = file.read_text(encoding="utf-8-sig")
    return tomllib.loads(text + "\n")  # so that an error on the last line has a number


def toml_value(value):
    """One value on one line. Raises `RecipeError` for what TOML cannot hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return short_float(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml_key(k)} = {toml_value(v)}' for k, v in value.items() if v is not None)} }}"
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise RecipeError("TOML cannot hold this value", got=f"{type(value).__name__} {value!r}")


def short_float(value):
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


def toml_key(key):
    """A key, quoted where it must be."""
    return key if BARE_KEY.fullmatch(key) else json.dumps(key)


def toml_table(name, table):
    """`[name]` with its values, then its sub-tables; keys whose value is None are left out."""
    values = [
        f"{toml_key(key)} = {toml_value(value)}"
        for key, value in table.items()
        if not isinstance(value, (dict, type(None)))
    ]
    tables = [toml_table(f"{name}.{toml_key(key)}", value) for key, value in table.items() if isinstance(value, dict)]
    return "\n".join([f"[{name}]", *values, "", *tables]) if values or not tables else "\n".join(tables)
