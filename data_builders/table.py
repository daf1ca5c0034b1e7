"""What the `[data]` tables of all builders are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Table(BaseModel):
    """A frozen TOML table in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
