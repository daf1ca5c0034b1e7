"""What the vsllava data are made from: the `[data]` table of a recipe. Light: no reading, no building."""

from typing import Literal

from pydantic import Field, model_validator

from data_builders.core.table import Count, DataTable, KeptApart, Need, Share, Shares, extra


class Tests(DataTable):
    type: Count = Field(default=192, description="items: name the signal type, new parameters and wording")
    parameter: Count = Field(default=120, description="simulated: items that ask for a parameter with its unit")
    explain: Count = Field(default=36, description="items: write a finding")
    pairs: Count = Field(
        default=48, description="simulated: superpositions whose pair of types is taught, new parameters"
    )
    composition: Count = Field(default=48, description="simulated: superpositions whose pair of types is held out")
    controls: Count = Field(
        default=96,
        description="type items, and as many parameter items, asked again without a signal and with another's",
    )


class Mix(Shares):
    type: Share = Field(default=0.65, description="share of sft rows that ask for the type")
    parameter: Share = Field(default=0.2, description="simulated: share that ask for a parameter")
    explain: Share = Field(default=0.05, description="share that ask for a finding")
    pairs: Share = Field(default=0.1, description="simulated: share that ask for the types of a superposition")


class Spec(KeptApart):
    """The `[data]` table of a vsllava recipe."""

    source: str = Field(
        "simulated",
        min_length=1,
        description='"simulated", or a folder of recordings: CWRU as MATLAB files, or any with a recordings.toml',
    )
    view: Literal["features", "quantised", "image", "none"] = Field(
        "features",
        description="how a signal stands in the prompt: measured features, 8-bit samples, a picture for a base that "
        "sees (extra [vlm]), or not at all",
    )
    peaks: int = Field(6, ge=1, le=20, description="features: lines of the spectrum and of the envelope spectrum")
    tests: Tests = Tests()
    mix: Mix = Mix()
    fs: int = Field(2048, ge=2048, description="simulated: Hz; resonances reach 800 Hz")
    seconds: float = Field(1.0, gt=0, description="length of a signal, or of a window of a recording")
    snr_db: tuple[float, ...] = Field((20.0, 10.0, 5.0), min_length=1, description="simulated: noise, dB below signal")
    clean: Share = Field(0.25, description="simulated: share of signals without noise")
    bearings: tuple[Literal["6205", "6203", "ZA-2115"], ...] = Field(
        ("6205",), min_length=1, description="simulated: bearings drawn from"
    )
    train_loads: tuple[str, ...] = Field(("0", "1"), min_length=1, description="recordings: loads for training")
    test_loads: tuple[str, ...] = Field(("2",), min_length=1, description="recordings: loads for the test")
    overlap: float = Field(
        0.5, ge=0, lt=1, description="recordings: share that training windows in a row have in common"
    )
    simulated_rows: Count = Field(
        0, description="recordings: sft rows beside theirs about simulated signals of the same classes"
    )
    sft_rows: int = Field(1600, ge=1, description="most sft rows")
    rl_rows: Count = Field(800, description="most rl prompts, of the type family")
    rl_parameters: Share = Field(
        0.0, description="share of the rl prompts that ask for a parameter; closeness is rewarded"
    )

    @property
    def needs(self):
        if self.view != "image":
            return []
        return [
            Need("matplotlib", extra("vlm"), "draws pictures with it"),
            Need("PIL", extra("vlm"), "draws pictures with it"),
            Need("torchvision", extra("vlm"), "makes pictures that most bases which see read through it", must=False),
        ]

    @model_validator(mode="after")
    def _apart(self):
        if both := set(self.train_loads) & set(self.test_loads):
            raise ValueError(f"loads {sorted(both)} are for training and for the test; windows are split by load")
        return self
