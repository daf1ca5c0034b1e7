"""Questions about a signal with answers made from its parameters: its type, one parameter, what it means."""

import string
import tomllib
from dataclasses import asdict, dataclass
from typing import Any

from data_builders.core.schema import order
from data_builders.vsllava.bearing import BEARINGS
from data_builders.vsllava.signals import RECORDED, SIMULATED, SPECS, Asked, Signal, text
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id
from recipes.base.reply_form import Exchange, render_messages
from recipes.base.rows import GradedRow, SftRow
from recipes.base.toml import read_toml

FAMILIES = ("type", "parameter", "explain")
LEAST = 5  # wordings of a family, in training and in the test
ASKS_FOR = {"type": "the type", "parameter": "the value", "explain": "the finding"}
GRADERS = {"type": "class", "parameter": "numeric", "explain": "overlap"}  # of test rows
REWARDS = {"type": "label", "parameter": "close"}  # of rows for reinforcement
# Where a parameter is read, by its symbol.
PLACES = {
    "frequency": "the strongest line",
    "amplitude": "the height of the strongest line",
    "fundamental": "the lowest strong line",
    "amplitude_1": "the height of the lowest strong line",
    "carrier": "the middle of the lines",
    "index": "the height of the envelope line",
    "deviation": "half the width of the lines",
    "am_frequency": "the strongest envelope line",
    "rate": "the envelope line",
    "resonance": "the middle of the lines",
    "mesh": "the strongest line",
    "start": "before the first of the track",
    "end": "behind the last of the track",
}


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question about one signal. `shown` is what the model sees of it ("" for nothing); `asked` for parameters."""

    signal: Signal
    family: str
    shown: str
    question: str
    thinking: str
    solution: str
    answer: str
    options: tuple[str, ...]
    wording: int
    split: str
    asked: Asked | None = None

    @property
    def id(self):
        return stable_id(self.signal.id, self.shown, self.question)

    @property
    def targets(self):
        """What the answer states in numbers: [{"name", "value", "unit", "tol"}]."""
        if self.asked is None:
            return []
        value = self.signal.params[self.asked.symbol]
        return [{"name": self.asked.name, "value": value, "unit": self.asked.unit, "tol": self.asked.tolerance}]


def read_wordings(folder):
    """questions.toml as a dict. Raises RecipeError that lists all that is wrong with it."""
    file = folder / "questions.toml"
    try:
        table = read_toml(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError("The wordings cannot be read.", where=str(file), got=str(error)) from None
    faults = []
    for family in FAMILIES:
        by_split = table.get(family, {})
        train, test = (by_split.get(split, []) for split in ("train", "test"))
        faults += [f"{family}: {len(found)} wordings" for found in (train, test) if len(set(found)) < LEAST]
        faults += [f"{family}: {wording!r} in train and test" for wording in set(train) & set(test)]
        if family == "parameter":
            faults += [f"{family}: no {{name}} in {wording!r}" for wording in train + test if "{name}" not in wording]
    for kind, labels in (("class", SPECS), ("recorded", RECORDED)):
        for label in labels:
            told = table.get(kind, {}).get(label, {}).get("explanation") or ()
            faults += [] if told else [f"{kind} {label}: no explanation"]
            drawn = dict.fromkeys(SPECS[label].drawn, 1.0)
            known = {*drawn, *SPECS[label].derive(drawn, next(iter(BEARINGS.values())).orders)}
            unknown = sorted(set().union(*map(_names, told)) - known)
            faults += [f"{kind} {label}: it has no {{{name}}}" for name in unknown]
    if faults:
        raise RecipeError(
            "The wordings are not usable.",
            where=str(file),
            got="\n".join(faults[:10]),
            allowed=f"{LEAST} wordings or more in train and in test, none in both; known parameters in braces",
            fix="mend what is named",
        )
    return table


def _names(sentence):
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def ask(signal, family, shown, noted, number, split, wordings, options, unseen=()):
    """The Item of that family; `number` picks the wording and, with the signal, the parameter.

    `noted` is what was measured in the signal, in a line: what its type is told from; "" where the prompt does not show
    it. Parameters with a symbol in `unseen` are not asked.
    """
    offered = wordings[family][split]
    wording = number % len(offered)
    question, asked = offered[wording], None
    params = {label: {name: text(value) for name, value in values.items()} for label, values in signal.by_label.items()}
    if family == "type":
        thinking, solution, answer = noted, f"The type is {signal.label}.", signal.label
    elif family == "parameter":
        known = [asked for asked in SPECS[signal.label].asked if asked.symbol not in unseen]
        asked = known[(number // len(offered) + order(0, "asked", signal.id)) % len(known)]
        value = text(signal.params[asked.symbol])
        answer = f"{value} {asked.unit}" if asked.unit else value
        question = question.format(name=asked.name)
        thinking, solution = PLACES[asked.symbol], f"I read {answer}."
    else:
        told = wordings["class" if signal.source == SIMULATED else "recorded"]
        sentences = [
            sentence.format(**params[label]) for label in signal.labels for sentence in told[label]["explanation"]
        ]
        thinking, solution, answer = noted, f"The type is {signal.label}.", " ".join(sentences)
    return Item(
        signal=signal,
        family=family,
        shown=shown,
        question=question,
        thinking=thinking,
        solution=solution,
        answer=answer,
        options=options,
        wording=wording,
        split=split,
        asked=asked,
    )


def _source_of(item: Item, signal: Signal | None) -> dict[str, Any]:
    """node_id, fact_id, family and lineage of a row; `signal` is what is shown, or None."""
    lineage = {
        "class": item.signal.label,
        "params": item.signal.params,
        "snr_db": item.signal.snr_db,
        "source": item.signal.source,
        "targets": item.targets,
        "wording": f"{item.split} {item.wording}",
    }
    if signal is not None:
        lineage |= {"signal": signal.id, "fs": signal.fs, "unit": signal.unit}
    fact = item.asked.symbol if item.asked else item.family
    node = item.signal.id if item.signal.source == SIMULATED else item.signal.source
    return {
        "node_id": node,
        "fact_id": f"{item.signal.label}: {fact}",
        "family": item.signal.label,
        "lineage": lineage,
    }


def exchange_of(item: Item) -> Exchange:
    """The question below what is shown of its signal, and the reply."""
    return Exchange(
        question=item.question,
        context=item.shown,
        context_first=True,
        options=item.options if item.family == "type" else None,
        options_as="names",
        asks_for=ASKS_FOR[item.family],
        thinking=item.thinking,
        solution=item.solution,
        answer=item.answer,
    )


def sft_row(item: Item, kind: str) -> SftRow:
    """A supervised row."""
    exchange = exchange_of(item)
    own = stable_id("sft", item.signal.id, *render_messages(exchange))
    return SftRow(id=own, kind=kind, **asdict(exchange), **_source_of(item, item.signal))


def graded_row(item: Item, kind: str, grader: str, signal: Signal | None) -> GradedRow:
    """A row for reinforcement or test; `signal` is the one that is shown, None where none is."""
    exchange = exchange_of(item)
    prompt, _ = render_messages(exchange)
    return GradedRow(
        id=stable_id(kind, item.signal.id, prompt, item.answer),
        kind=kind,
        grader=grader,
        unit=item.asked.unit if item.asked else None,
        tolerance=item.asked.tolerance if item.asked else None,
        difficulty=len(item.signal.labels),
        **asdict(exchange),
        **_source_of(item, signal),
    )
