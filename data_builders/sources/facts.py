"""Facts and formulas about a node: read from the sidecar file beside a chapter (`NAME.toml` beside `NAME.md`)."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recipes.base.errors import RecipeError
from recipes.base.toml import read_toml

Stance = Literal["concepts", "derivation", "design", "analysis", "limits"]  # what a question about a fact looks at
STANCES: tuple[Stance, ...] = get_args(Stance)
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fact(Strict):
    """A statement worth asking for. `questions` are wordings of one question; the last ones are kept for the test."""

    id: Text
    stance: Stance
    questions: tuple[Text, ...] = Field(min_length=3)
    answer: Text
    wrong: tuple[Text, ...] = Field(min_length=3, description="misconceptions, the distractors")
    why: Text = Field(description="one sentence that states the fact")
    span: Text | None = Field(None, description="where the source sentence stands, for facts found in running text")

    @model_validator(mode="after")
    def _answers_differ(self) -> Self:
        options = [option.casefold() for option in (self.answer, *self.wrong)]
        if len(set(options)) < len(options):
            raise ValueError("answer and wrong must all differ")
        return self


class Given(Strict):
    """A quantity the question states, with the values it may take in `unit`."""

    symbol: Text
    quantity: Text
    unit: str
    values: tuple[int | float, ...] = Field(min_length=1)


class Formula(Strict):
    """A computable relation in working units; `wrong` holds typical mistakes as expressions."""

    id: Text
    stance: Stance
    quantity: Text
    symbol: Text
    unit: str
    expression: Text
    statement: Text
    questions: tuple[Text, ...] = Field(min_length=1)
    wrong: tuple[Text, ...] = Field(min_length=1)
    valid: str = ""
    given: tuple[Given, ...] = Field(min_length=1)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(given.symbol for given in self.given)

    @model_validator(mode="after")
    def _givens_once(self) -> Self:
        for question in self.questions:
            if question.count("{givens}") != 1:
                raise ValueError("each question holds {givens} exactly once: " + question)
        if len(set(self.symbols)) < len(self.symbols):
            raise ValueError("given symbols must differ")
        return self


class SidecarNode(Strict):
    section: Text = Field(description="the section number of the heading, or its title where headings have no numbers")
    terms: tuple[Text, ...] = ()
    fact: tuple[Fact, ...] = ()
    formula: tuple[Formula, ...] = ()


class Sidecar(Strict):
    family: Text
    node: tuple[SidecarNode, ...] = ()


def read_sidecar(path: Path) -> Sidecar:
    """The facts of one chapter. Raises RecipeError that lists every problem of the file."""
    try:
        return Sidecar.model_validate(read_toml(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(
            "A sidecar file is not valid TOML.",
            where=str(path),
            got=str(error),
            allowed="TOML with family and [[node]] tables",
            fix="mend the file or remove it",
        ) from None
    except ValidationError as error:
        problems = [".".join(map(str, item["loc"])) + ": " + item["msg"] for item in error.errors()]
        raise RecipeError(
            "A sidecar file breaks its schema.",
            where=str(path),
            got="; ".join(problems[:8]),
            allowed="see data_builders/sources/facts.py",
            fix="mend the entries named",
        ) from None
