"""What the reft data are made from: the `[data]` table of a recipe. Light: no reading, no building."""

from typing import Literal

from pydantic import Field

from data_builders.core.table import Count, DataTable, KeptApart, Share, Shares


class Tests(DataTable):
    problems: Count = Field(default=300, description="generated: items of taught families, with new values")
    transfer: Count = Field(
        default=200, description="generated: items of families whose formula is taught in no other words"
    )
    published: Count = Field(default=2000, description="published: most items of the official test")


class Mix(Shares):
    one: Share = Field(default=0.35, description="generated: share of problems with one operation")
    two: Share = Field(default=0.3, description="share with two operations")
    three: Share = Field(default=0.2, description="share with three operations")
    four: Share = Field(default=0.15, description="share with four operations")


class Spec(KeptApart):
    """The `[data]` table of a reft recipe."""

    source: str = Field(
        "generated",
        min_length=1,
        description='"generated", a folder or file with GSM8K, SVAMP (and MAWPS, ASDiv-A) or MathQA, or a hub name '
        '"owner/name"',
    )
    mathqa: Literal["numeric", "choice"] = Field(
        "numeric", description="MathQA: the number is asked for, or one of five options, which a guess gets too"
    )
    teacher_chains: str = Field(
        "",
        description="published: JSON lines of a teacher's {question, chain}, several to a question, each checked",
    )
    prompt_tokens: Count = Field(
        300, description="published: training rows with longer questions are left out; 0: none"
    )
    chain: Literal["natural", "program"] = Field(
        "natural", description="how a reply works: lines of arithmetic, or a Python program that prints the answer"
    )
    forms: Literal["several", "line"] = Field(
        "several", description="generated: chains in words of several kinds, or all as one line of equal expressions"
    )
    rl_prompts: Literal["same", "fresh"] = Field(
        "same", description="reinforce on the questions of the sft rows, as ReFT does, or on others"
    )
    tests: Tests = Tests()
    mix: Mix = Mix()
    largest: int = Field(250, ge=20, le=9999, description="generated: no number of a chain is larger")
    sft_rows: int = Field(1500, ge=1, description="most sft rows")
    rl_rows: Count = Field(1500, description="most rl prompts")
    tolerance: float = Field(1e-6, gt=0, lt=1, description="relative error an answer may have; results are exact")
