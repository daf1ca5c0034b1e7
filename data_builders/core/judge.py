"""A judge of records: scores a question together with its reply, in the aspects of a rubric, and what is weak goes.

    rubric = read_rubric(Path(__file__).with_name("rubric.toml"))
    verdicts, spent = judge_items(table, rubric, [Item(…), …], replies, bar, say)

`table` is a `Judge`. Of kind openai or transformers a model is asked; of kind expert the rules that the rubric names
(`judge_rules`) score, offline. The judge always sees the reply, and the document where there is one. The mean is taken
here: a total that the model gives is not read. A reply that cannot be read, after second chances, drops the item with
that as its reason. (arXiv 2408.15545 judges by the question alone and lets the model add up; see section 5 of its
recipe's sheet for what that costs.)
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, ValidationError, create_model, model_validator

from data_builders.core.judge_rules import RULES
from data_builders.core.progress import Bar, Say
from data_builders.core.table import DataTable
from data_builders.llm.bill import bill
from data_builders.llm.chat import Chat
from data_builders.llm.prompts import prompt, quote_text
from data_builders.llm.survey import survey
from data_builders.llm.table import Teacher
from recipes.base.errors import RecipeError
from recipes.base.reply_form import Exchange
from recipes.base.table import runtime_field
from recipes.base.toml import read_toml

PROMPT = Path(__file__).parent / "prompts" / "judge.md"
ASKED = {"temperature": 0.0, "max_tokens": 800}


class Judge(Teacher):
    """The `[data.judge]` table: who judges, and from which mean score on a record stays."""

    where: ClassVar = "data.judge"

    cut: float = Field(default=4.0, ge=0, description="least mean score of a record that stays, on the rubric's scale")
    reply_tokens: int = runtime_field(120, "tokens of one judgement, for the bill of `plan`", ge=1)


class Aspect(DataTable):
    meaning: str = Field(min_length=10, description="what is scored, as the model is told")
    least: int | None = Field(None, description="a record with a lower score goes, whatever its mean")
    rule: str = Field("", description="name of the rule that scores offline, of judge_rules.RULES")


class Rubric(DataTable):
    """What a judge looks at. One range for all aspects, since their scores are added."""

    name: str = Field(pattern=r"[a-z][a-z0-9_]*")
    version: int = Field(ge=1)
    role: str = Field(min_length=10, description="who the judge is and for whom it judges; begins the prompt")
    low: int = 1
    high: int = 5
    aspects: dict[Annotated[str, Field(pattern=r"[a-z][a-z_]*")], Aspect] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self):
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        for name, aspect in self.aspects.items():
            if name == "why":
                raise ValueError("no aspect may be called why, which holds the judge's reasons")
            if aspect.least is not None and not self.low < aspect.least <= self.high:
                raise ValueError(f"{name}: least must be above {self.low} and at most {self.high}")
        return self

    @property
    def id(self):
        """The versions of what decides a score: the frame of the prompt and the rubric."""
        return f"{prompt(PROMPT).id} {self.name}/{self.version}"

    @cached_property
    def reply(self):
        """The pydantic class of a judgement: `why`, then an integer for each aspect; what else a reply has is ignored.

        On the wire further keys are forbidden, as strict servers ask.
        """
        score = Annotated[int, Field(ge=self.low, le=self.high)]
        config = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": False})
        fields: dict[str, Any] = {"why": (str, ...)} | dict.fromkeys(self.aspects, (score, ...))
        return create_model("Scores", __config__=config, **fields)


@dataclass(frozen=True, kw_only=True)
class Item:
    """What is judged.

    Attributes:
        shown: the question with its options, as the judge sees it.
        reply: the whole reply, as the judge sees it.
        exchange: the same as fields, for rules.
        context: the document that both were made from, or "".
    """

    id: str
    shown: str
    reply: str
    exchange: Exchange
    context: str = ""


@dataclass(frozen=True)
class Verdict:
    """Of one item: its `scores` by aspect, None where there are none; `dropped` is the reason why it goes, or None.

    `asked` is the key of the question in the store of replies, "" for rules.
    """

    id: str
    scores: dict[str, int] | None
    dropped: str | None = None
    asked: str = ""

    @property
    def mean(self) -> float | None:
        """The plain mean of the scores; for `lineage.judge`."""
        return round(sum(self.scores.values()) / len(self.scores), 4) if self.scores else None


def read_rubric(path: Path) -> Rubric:
    """The `Rubric` of a TOML file. Raises RecipeError with all that is wrong with it."""
    try:
        return Rubric.model_validate(read_toml(path))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise RecipeError(
            "A rubric has the wrong form.",
            where=str(path),
            got=str(error),
            allowed="name, version, role and [aspects.NAME] tables with a meaning, see core.judge.Rubric",
            fix="mend the file",
        ) from None


def judge_items(
    table: Judge, rubric: Rubric, items: Sequence[Item], path: Path, bar: Bar, say: Say
) -> tuple[list[Verdict], dict[str, Any]]:
    """([Verdict] in the order of the items, {"replies", "cost", …} of a model or {}).

    `path` is the file of stored replies. Raises RecipeError where the endpoint or the budget ends the run, where the
    cut lies outside the rubric's range, or where rules are to judge and an aspect names none.
    """
    if not rubric.low <= table.cut <= rubric.high:
        raise RecipeError(
            "The judge's cut lies outside the scores.",
            where="data.judge.cut",
            got=f"{table.cut:g}",
            allowed=f"{rubric.low} to {rubric.high}, the range of rubric {rubric.name}",
            fix="correct the cut",
        )
    if table.kind == "expert":
        scores = rule_scores(rubric)
        return [decided(rubric, table.cut, item.id, scores(item)) for item in items], {}

    async def work(asker, item):
        answer = await asker.ask(judge_chat(rubric, item, asker.model))
        if answer.dropped:
            return Verdict(item.id, None, answer.dropped, answer.key)
        scores = {name: getattr(answer.value, name) for name in rubric.aspects}
        return decided(rubric, table.cut, item.id, scores, answer.key)

    return survey(table, path, items, work, bar, say, "judge", "records")


def judge_bill(table, rubric, contexts, written, lengths):
    """The bill of judging one record of each of `contexts`, whose question and reply have `written` tokens."""
    if table.kind == "expert":
        return bill(table, 0, 0, 0)
    blank = Exchange(question="")
    items = [Item(id="", shown="", reply="", exchange=blank, context=context) for context in contexts]
    sent = sum(judge_chat(rubric, item, "").size + written for item in items)
    return bill(table, len(contexts), sent, len(contexts) * lengths.of("judge", table.model, table.reply_tokens))


def decided(rubric, cut, id, scores, asked=""):
    """The `Verdict` that follows from the scores: first the least of single aspects, then the mean."""
    for name, aspect in rubric.aspects.items():
        if aspect.least is not None and scores[name] < aspect.least:
            return Verdict(id, scores, f"judge: {name} below {aspect.least}", asked)
    short = sum(scores.values()) < cut * len(scores)
    return Verdict(id, scores, f"judge: mean below {cut:g}" if short else None, asked)


def judge_chat(rubric, item, model):
    """The question to a model about one item."""
    frame = prompt(PROMPT)
    aspects = "\n".join(f"- {name}: {aspect.meaning}" for name, aspect in rubric.aspects.items())
    system = frame.fill("system", role=rubric.role, low=str(rubric.low), high=str(rubric.high), aspects=aspects)
    user = frame.fill("user", question=quote_text(item.shown), reply=quote_text(item.reply))
    if item.context:
        user = frame.fill("document", document=quote_text(item.context)) + "\n\n" + user
    return Chat("judge", model, system, user, rubric.reply, **ASKED, prompt_version=rubric.id)


def rule_scores(rubric):
    """A function from an `Item` to its scores by the rules that the rubric names. Raises RecipeError where it lacks
    one.

    A rule gives a share from 0 to 1, which becomes a whole number of the range.
    """
    lacking = [
        f"{name}: {aspect.rule or 'none'}" for name, aspect in rubric.aspects.items() if aspect.rule not in RULES
    ]
    if lacking:
        raise RecipeError(
            "A rubric names no rule to judge by.",
            where=f"rubric {rubric.name}, data.judge.kind = expert",
            got="; ".join(lacking),
            allowed=", ".join(RULES),
            fix="give the aspect a rule, or let a model judge",
        )
    span = rubric.high - rubric.low

    def scores(item):
        return {name: rubric.low + round(span * RULES[aspect.rule](item)) for name, aspect in rubric.aspects.items()}

    return scores
