"""The record that everything in this builder is about, before it is a row."""

from dataclasses import dataclass

from recipes.base.options import option_of
from recipes.base.reply_form import Exchange

KINDS = ("mcq", "open", "calc")


@dataclass(frozen=True, kw_only=True)
class Qtsa:
    """One question–thinking–solution–answer record.

    `answer` is the gold answer (a letter for mcq), `operations` counts those of a calculation, `span`
    says where the source sentence stands ("file:node:start-end", characters of the node's text) for extracted facts.
    `asked` holds the keys, in the store of replies, of what a model was asked for it; `operations` of its records is 0.
    `judge` is the mean score of a judge, where there was one, and `judged` the key of what a model was asked as such.
    """

    id: str
    node_id: str
    fact_id: str
    family: str
    stance: str
    kind: str
    wording: int
    draw: int
    question: str
    thinking: str
    solution: str
    answer: str
    options: tuple[str, ...] | None
    unit: str | None
    operations: int
    split: str
    span: str | None
    request: str
    teacher: str
    prompt_version: int | str
    asked: tuple[str, ...] = ()
    judge: float | None = None
    judged: str = ""

    @property
    def exchange(self) -> Exchange:
        """Its question and reply, to be shown."""
        fields = ("question", "options", "thinking", "solution", "answer")
        return Exchange(**{name: getattr(self, name) for name in fields})

    @property
    def answer_text(self) -> str:
        """The answer in words: of a choice the right option."""
        return option_of(self.answer, self.options) if self.options else self.answer
