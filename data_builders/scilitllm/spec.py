"""What the scilitllm data are made from: the `[data]` table of a recipe. Light: no reading, no building."""

from typing import Literal

from pydantic import Field, model_validator

from data_builders.core.judge import Judge
from data_builders.core.table import Count, DataTable, KeptApart, Need, Share, extra
from data_builders.core.text_quality import TextQuality
from data_builders.llm.table import Teacher
from data_builders.sources.repair import Repair
from recipes.base.table import runtime_field


class World(DataTable):
    """The generated corpus of the embedded profile."""

    substances: int = Field(
        default=80, ge=8, description="invented substances; half of them are asked about in training"
    )
    reports: int = Field(default=6, ge=1, description="good reports on each, every third of them a damaged scan")
    hearsay: Share = Field(default=0.17, description="share of all documents that contradict the reports")
    boilerplate: Share = Field(default=0.04, description="share that says nothing")
    garble: Share = Field(default=0.04, description="share whose letters are out of order")

    @model_validator(mode="after")
    def _some_good(self):
        if self.hearsay + self.boilerplate + self.garble > 0.9:
            raise ValueError("hearsay, boilerplate and garble must leave a tenth of the documents good")
        return self


class Keywords(DataTable):
    """How keywords are drawn for a synthetic row (arXiv 2408.15545, appendix C)."""

    count: int = Field(default=20, ge=1, description="keywords of one row, drawn with replacement")
    temperature: float = Field(default=3.0, gt=0, description="T of q_i ~ p_i^(1/T); 1 keeps the frequencies")
    documents: int = Field(
        default=3, ge=1, description="documents that a word has to stand in; rarer ones are mostly debris"
    )


class Synthesis(Teacher):
    """The `[data.teacher]` table: who writes the synthetic rows, and how many of each kind are asked for."""

    rows: Count = Field(default=110, description="rows of each of the six task kinds that training wants")
    surplus: float = Field(
        default=1.2, ge=1, description="asked for over wanted, since some are dropped; paper: 3 for tables"
    )
    reply_tokens: int = runtime_field(600, "tokens of one row, for the bill of `plan`", ge=1)


class Tests(DataTable):
    facts: Count = Field(default=160, description="closed-book items on substances that only the corpus speaks of")
    extraction: Count = Field(default=60, description="items with a table or entities to extract")
    choice: Count = Field(default=40, description="items with four options, answered from a text")
    true_false: Count = Field(default=40, description="statements to check against a text")
    molecules: Count = Field(default=40, description="items answered with a SMILES string")
    published: Count = Field(default=1000, description="most items of each published test")


class Spec(KeptApart):
    """The `[data]` table of a scilitllm recipe."""

    source: str = Field(
        "generated",
        min_length=1,
        description='"generated", or a folder: documents, or documents/ and the published sets pubmedqa/ and scitldr/',
    )
    text_field: str = Field("text", min_length=1, description="the field of .jsonl rows that holds the text")
    unreadable: Literal["stop", "leave out"] = Field("stop", description="what to do with documents that do not read")
    min_tokens: int = Field(10, ge=1, description="tokens; a shorter text is left out")
    max_tokens: int = Field(100_000, ge=1, description="tokens; a longer text is left out")
    world: World = World()
    repair: Repair = Repair()
    cut: Literal["quality", "random", "none"] = Field(
        "quality", description="how the corpus is cut: by learned quality, at random to the same size, or not at all"
    )
    quality: TextQuality = TextQuality()
    entry_words: int = Field(2048, ge=20, description="most words of one text for pre-training")
    keywords: Keywords = Keywords()
    teacher: Synthesis = Synthesis()
    similar: float = Field(0.8, gt=0, le=1, description="word-triple similarity from which a synthetic row goes")
    judge: Judge = Judge()
    tests: Tests = Tests()
    context_words: int = Field(120, ge=20, description="most words of an abstract that a published row shows")
    published_rows: Count = Field(1500, description="most training rows of each published set")
    general: str = Field(
        "embedded",
        min_length=1,
        description='"embedded", or a file of rows with a question and a reply, as [rows.mix.replay] reads them',
    )
    general_rows: Count = Field(300, description="rows of general ability for the first supervised stage")

    @property
    def needs(self):
        without = "looks only at the form of SMILES strings without it"
        return [Need("rdkit", extra("chemistry"), without, must=False)] if self.tests.molecules else []
