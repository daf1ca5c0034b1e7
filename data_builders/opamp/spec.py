"""What the opamp data are made from: the `[data]` table of a recipe. Light: no reading, no building."""

from pydantic import Field

from data_builders.core.table import Count, DataTable, KeptApart


class Tests(DataTable):
    design: Count = Field(150, description="items: loads of training, other specifications")
    transfer: Count = Field(60, description="items: loads that no training row has")


class Spec(KeptApart):
    """The `[data]` table of an opamp recipe."""

    corpus: str = Field("shipped", min_length=1, description='"shipped" or a folder with a demands.toml')
    described: bool = Field(False, description="state circuit and process in each prompt, for a base that can use them")
    sft_rows: int = Field(1200, ge=1, description="sft rows")
    rl_rows: Count = Field(600, description="rl prompts, with specifications of their own")
    search_calls: int = Field(400, ge=10, le=100_000, description="most simulations that look for a row's gold sizes")
    tests: Tests = Tests()
