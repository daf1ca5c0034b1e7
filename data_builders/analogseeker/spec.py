"""What the analogseeker data are made from: the `[data]` table of a recipe. Light: no reading, no building."""

from typing import Literal

from pydantic import Field, model_validator

from data_builders.core.judge import Judge
from data_builders.core.paraphrases import Paraphrases
from data_builders.core.table import Count, DataTable, KeptApart, Share, Shares
from data_builders.llm.table import Teacher
from data_builders.sources.repair import Repair


class AnalogTeacher(Teacher):
    draws: int = Field(default=6, ge=1, le=100, description="training questions of each node that a model is asked for")


class Tests(DataTable):
    knowledge: Count = Field(default=300, description="items: seen node, unseen wording, multiple choice")
    calculation: Count = Field(default=300, description="items: unseen values, numeric answer")
    transfer: Count = Field(default=100, description="items from nodes held out as a whole")


class Mix(Shares):
    mcq: Share = Field(default=0.45, description="share of sft rows that are multiple choice")
    open: Share = Field(default=0.2, description="share of sft rows with a short free answer")
    calc: Share = Field(default=0.35, description="share of sft rows that calculate")


class Spec(KeptApart):
    """The `[data]` table of an analogseeker recipe."""

    corpus: str = Field("shipped", min_length=1, description='"shipped" or a folder of documents')
    text_field: str = Field("text", min_length=1, description="the field of .jsonl rows that holds the text")
    unreadable: Literal["stop", "leave out"] = Field("stop", description="what to do with documents that do not read")
    teacher: AnalogTeacher = AnalogTeacher()
    repair: Repair | None = Field(None, description="who restores damaged text of the corpus; none: taken as it is")
    judge: Judge | None = Field(None, description="who scores the records before they become rows; none: nobody")
    facts_per_node: int = Field(1000, ge=1, description="most facts that are taken from the sentences of one node")
    facts_per_sentence: Count = Field(2, description="most facts of one sentence beside the quantities it states")
    draws: int = Field(2, ge=1, le=24, description="multiple-choice rows for each fact and wording, options varied")
    test_wordings: int = Field(2, ge=1, description="last wordings of each fact that are kept for the test")
    calc_per_formula: Count = Field(24, description="value combinations of each formula that may become sft rows")
    choice_per_formula: Count = Field(2, description="numeric multiple-choice questions of each formula for sft")
    tests: Tests = Tests()
    mix: Mix = Mix()
    sft_rows: int = Field(4000, ge=1, description="most sft rows; fewer where a share of the mix runs out")
    rl_rows: Count = Field(2000, description="most rl prompts")
    rl_forms: bool = Field(
        False, description='ask each rl item as yes or no, as a choice and openly; rl.order = "kind" keeps that order'
    )
    transfer_share: float = Field(0.125, gt=0, lt=1, description="share of nodes held out for the transfer test")
    tolerance: float = Field(0.01, gt=0, lt=1, description="relative error a numeric answer may have")
    min_tokens: int = Field(30, ge=1, description="tokens; a shorter node is flagged and not asked about")
    max_tokens: int = Field(10000, ge=1, description="tokens; a longer node is flagged and not asked about")
    similar: float = Field(0.8, gt=0, le=1, description="word-triple similarity from which another fact's row goes")
    leak_phrases: tuple[str, ...] = Field((), description="textbook phrases that count as no leak")
    paraphrases: Paraphrases | None = Field(None, description="rows that ask a test item in other words go; none: stay")

    @model_validator(mode="after")
    def _forms(self):
        if self.rl_forms and self.teacher.kind != "expert":
            raise ValueError('rl_forms needs data.teacher.kind = "expert": a model writes each record in one form')
        return self
