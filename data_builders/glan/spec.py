"""What the glan data are made from: the `[data]` table of a recipe. Light: no reading, no building."""

from typing import Literal

from pydantic import Field

from data_builders.core.table import Count, DataTable, KeptApart, Share
from data_builders.llm.table import Teacher


class Tests(DataTable):
    seen: Count = Field(default=20, description="items of each discipline, on concepts that training rows are about")
    heldout: Count = Field(default=8, description="items of each discipline, on concepts that no training row is about")


class Filters(DataTable):
    """What may be taken out of the answered questions. The paper has none of these, so all are off."""

    near_duplicates: Share = Field(
        default=0.0, description="word-triple similarity from which a later question goes; 0: off"
    )
    refusals: Literal["count", "drop"] = Field(default="count", description="answers that say they do not know")
    shortest: Count = Field(default=0, description="fewest words of an answer; 0: any")
    longest: Count = Field(default=0, description="most words of an answer; 0: any")
    quota: Count = Field(default=0, description="most training rows of a discipline; 0: all")


class Spec(KeptApart):
    """The `[data]` table of a glan recipe."""

    corpus: str = Field("shipped", min_length=1, description='"shipped" or a folder with a taxonomy.toml of your own')
    disciplines: tuple[str, ...] = Field(
        (), strict=False, description="of the taxonomy, by name; empty: all that the teacher can be asked about"
    )
    teacher: Teacher = Teacher()
    licence: str = Field("", description="terms under which the teacher's output may be used; noted in every row")
    subject_queries: int = Field(10, ge=1, description="times that the subjects of a discipline are asked for")
    subjects: Count = Field(0, description="most subjects of a discipline; 0: all")
    lessons: Count = Field(0, description="most class sessions of a syllabus; 0: all")
    questions: int = Field(220, ge=1, description="training questions of each discipline, each on a fresh concept set")
    single: Share = Field(0.5, description="share of the sets that are taken from one session, the others from two")
    concepts: int = Field(5, ge=2, description="most key concepts of a set")
    rl_questions: Count = Field(0, description="graded questions of each discipline for reinforcement")
    tests: Tests = Tests()
    heldout_share: float = Field(0.2, gt=0, lt=1, description="share of a discipline's concepts kept for the test")
    filters: Filters = Filters()
    tolerance: float = Field(0.01, gt=0, lt=1, description="relative error a numeric answer may have")
