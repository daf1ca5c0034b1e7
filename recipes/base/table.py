"""The frozen, typed TOML table that every part of a recipe is made of."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Table(BaseModel):
    """A frozen TOML table in which unknown keys and infinities are errors.

    `recipes.config.load` reads every table strictly, so that no value of a recipe file is converted. A test that makes
    one in Python may give a list for a tuple.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def runtime_field(default: Any, description: str, **limits: Any) -> Any:
    """A field about execution (batch per device, how often to save), which never enters a fingerprint."""
    return Field(default, description=description, json_schema_extra={"identity": False}, **limits)
