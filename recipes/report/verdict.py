"""From answers to a verdict: scores, paired tests of every stage, retention, and one sentence in plain language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from recipes.report import power, stats
from recipes.report.answers import Answers, Model
from recipes.report.formats import plain_percent, points
from recipes.report.load import Evaluation, Task

BETTER, SAME, WORSE, OPEN = "better", "no worse", "worse", "cannot tell"
ALPHA, MARGIN = 0.05, 0.05  # of a report whose recipe is not at hand


@dataclass(frozen=True)
class Score:
    """A model's mean score on a task with its interval; all in 0..1."""

    task: str
    model: str
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """`model` against `against` on one task, with everything a reader needs to check the judgement."""

    task: str
    kind: str
    model: str
    against: str
    test: stats.Paired
    p_holm: float  # adjusted over the tasks of this pair of models
    detectable: float
    judgement: str
    add_items: int | None  # only for an open judgement; None also where no number of items would settle it


@dataclass(frozen=True)
class Verdict:
    """`word` is better, no worse, worse, cannot tell or mixed; `cost` tells whether general ability was lost."""

    word: str
    cost: bool
    sentence: str
    alpha: float
    margin: float
    final: str
    scores: tuple[Score, ...]
    comparisons: tuple[Comparison, ...]

    def of(self, model: str, against: str, kind: str) -> list[Comparison]:
        """Comparisons of one pair of models on tasks of one kind, in task order."""
        return [c for c in self.comparisons if (c.model, c.against, c.kind) == (model, against, kind)]


def judge(
    evaluation: Evaluation,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    titles: Mapping[str, str] | None = None,
    idle: Mapping[str, str] | None = None,
) -> Verdict:
    """Each model is compared with the one it was made from, with the base and with the base given examples.

    Args:
        alpha: error level of the tests, after Holm.
        margin: of retention, a share of 1.
        titles: {step: what it does, as sentences say}; of one that is not there the name.
        idle: {step: why there was nothing that it could learn}.
    """
    titles = titles or {}
    scores = tuple(
        score(task, answers) for task in evaluation.tasks for answers in task.answers.values() if answers.items
    )
    comparisons = tuple(
        comparison
        for model, against in pairs(evaluation.models)
        for comparison in compare(evaluation.tasks, model, against, alpha, margin)
    )
    chain = evaluation.chain
    verdict = Verdict(OPEN, False, "", alpha, margin, chain[-1].name if chain else "", scores, comparisons)
    word, cost, sentence = _sentence(verdict, evaluation, chain, titles, idle or {})
    return Verdict(word, cost, sentence, alpha, margin, verdict.final, scores, comparisons)


def score(task: Task, answers: Answers) -> Score:
    """Mean score with a 95 % interval; see stats.score_interval."""
    interval = stats.score_interval(answers.scores, answers.clusters)
    return Score(task.name, answers.model.name, len(answers.items), answers.mean, interval.low, interval.high)


def pairs(models: tuple[Model, ...]) -> list[tuple[str, str]]:
    """Which model is compared with which: (model, against), each pair once; the last one also with the rules.

    A model that answers in another way is compared with its own plain answers; those of the base given examples are
    what tuned models are compared with too.
    """
    plain = [m for m in models if not m.method and m.stage != "rules"]
    by_stage = {m.stage: m.name for m in plain}
    prompted = [m.name for m in models if is_prompted_base(m)]
    found = []
    for m in models:
        if m.method and m.stage in by_stage:
            found.append((m.name, by_stage[m.stage]))
        elif m in plain[1:]:
            found += [(m.name, other) for other in dict.fromkeys([m.parent or plain[0].name, plain[0].name, *prompted])]
    return found + [(m.name, other.name) for other in models if other.stage == "rules" for m in plain[-1:]]


def is_prompted_base(model: Model) -> bool:
    """Whether this is the untuned base given examples in its prompt, which cost no training."""
    return model.stage == "base" and model.num_fewshot > 0


def compare(tasks: tuple[Task, ...], model: str, against: str, alpha: float, margin: float) -> list[Comparison]:
    """Paired tests on every task that both models answered; Holm over all but controls."""
    shared = [t for t in tasks if model in t.answers and against in t.answers and t.n]
    tests = {
        t.name: stats.paired(t.answers[model].scores, t.answers[against].scores, t.answers[model].clusters)
        for t in shared
    }
    family = [t.name for t in shared if t.kind != "control"]
    adjusted = dict(zip(family, stats.holm([tests[name].p for name in family]), strict=True))
    found = []
    for task in shared:
        test = tests[task.name]
        p_holm = adjusted.get(task.name, test.p)
        judgement = judge_one(test, p_holm, task.kind, alpha, margin)
        found.append(
            Comparison(
                task=task.name,
                kind=task.kind,
                model=model,
                against=against,
                test=test,
                p_holm=p_holm,
                detectable=power.detectable(test.n, test.churn, test.design_effect, alpha),
                judgement=judgement,
                add_items=power.items_to_add(test, margin, alpha) if judgement == OPEN else None,
            )
        )
    return found


def judge_one(test: stats.Paired, p: float, kind: str, alpha: float, margin: float) -> str:
    """On general tasks a small but certain loss within the margin counts as no worse; on domain tasks as worse."""
    significant, within = p < alpha, test.lower > -margin
    if significant and test.difference > 0:
        return BETTER
    if within and (kind == "general" or not significant):
        return SAME
    return WORSE if significant else OPEN


def _sentence(
    verdict: Verdict, evaluation: Evaluation, chain: list[Model], titles: Mapping[str, str], idle: Mapping[str, str]
) -> tuple[str, bool, str]:
    if len(chain) < 2:
        return OPEN, False, "Cannot tell: only the base was evaluated, there is no tuned model to compare it with."
    base, final = chain[0], chain[-1]
    domain = verdict.of(final.name, base.name, "field")
    retention = verdict.of(final.name, base.name, "general")
    word = _overall([c.judgement for c in domain])
    cost = any(c.judgement == WORSE for c in retention)
    clauses = [_field_clause(word, cost, domain, verdict, evaluation, chain, titles)]
    for before, model in pairwise(chain[1:]):
        found = verdict.of(model.name, before.name, "field")
        clauses.append(_stage_clause(found, _title(model, titles), _title(before, titles), evaluation))
    clauses += [f"{titles.get(step, step)} could learn nothing ({why})" for step, why in idle.items()]
    for model in evaluation.models:
        if model.parent and model not in chain:  # of another branch
            found = verdict.of(model.name, base.name, "field")
            clauses.append(_stage_clause(found, _title(model, titles), "the base", evaluation))
    clauses += [_prompt_clause(verdict, m, final, evaluation) for m in evaluation.models if is_prompted_base(m)]
    clauses += [_rules_clause(verdict, m, final, evaluation) for m in evaluation.models if m.stage == "rules"]
    clauses.append(_retention_clause(retention, verdict.margin, evaluation))
    return word, cost, "; ".join(c for c in clauses if c) + "."


def _overall(judgements: list[str]) -> str:
    if BETTER in judgements and WORSE in judgements:
        return "mixed"
    for word in (BETTER, WORSE):
        if word in judgements:
            return word
    return SAME if judgements and set(judgements) == {SAME} else OPEN


def _title(model: Model, titles: Mapping[str, str]) -> str:
    return titles.get(model.stage, model.stage)


def _field_clause(
    word: str,
    cost: bool,
    domain: list[Comparison],
    verdict: Verdict,
    evaluation: Evaluation,
    chain: list[Model],
    titles: Mapping[str, str],
) -> str:
    how = _and([_title(m, titles) for m in chain[1:]])
    if not domain:
        return f"Cannot tell: no domain task has items on which the model after {how} and the base can be compared"
    values = {(s.task, s.model): s.value for s in verdict.scores}
    guessing = {task.name: task.guessing for task in evaluation.tasks}
    named = {}
    for comparison in domain:
        text = evaluation.label(comparison.task)
        if comparison.judgement in (BETTER, WORSE):
            low, high = values[comparison.task, comparison.against], values[comparison.task, comparison.model]
            chance = guessing[comparison.task]
            below = f", where guessing gives {plain_percent(chance)} %" if chance and low < chance else ""
            text += f" ({plain_percent(low)} to {plain_percent(high)} %{below})"
        elif comparison.judgement == OPEN:
            text += f" ({_items(comparison.add_items)})"
        named.setdefault(comparison.judgement, []).append(text)
    wording = {
        BETTER: "better than the base on {}",
        WORSE: "worse than the base on {}",
        SAME: f"no worse than the base, within {points(verdict.margin)}, on {{}}",
        OPEN: "not to be told from the base on {}",
    }
    parts = [wording[j].format(_and(named[j])) for j in (BETTER, WORSE, SAME, OPEN) if j in named]
    opening = "Better on some tasks, worse on others" if word == "mixed" else word.capitalize()
    opening += ", at a cost to general ability" if cost else ""
    return f"{opening}: after {how} the model is {_and(parts)}"


def _stage_clause(domain: list[Comparison], name: str, earlier: str, evaluation: Evaluation) -> str:
    """What a step added to the one before it; says so when it added nothing."""
    gains = [_change(c, evaluation) for c in domain if c.judgement == BETTER]
    losses = [_change(c, evaluation) for c in domain if c.judgement == WORSE]
    if not domain:
        return ""
    if not gains and not losses:
        return f"{name} adds nothing that these items can show to {earlier}"
    parts = [f"adds {_and(gains)}"] if gains else []
    parts += [f"costs {_and(losses)}"] if losses else []
    return f"{name} {_and(parts)} against {earlier}"


def _prompt_clause(verdict: Verdict, prompted: Model, final: Model, evaluation: Evaluation) -> str:
    """Only where tuning does not beat examples in the prompt, which cost no training."""
    rivals = [c for c in verdict.of(final.name, prompted.name, "field") if c.judgement != BETTER]
    if not rivals:
        return ""
    places = _and([evaluation.label(c.task) for c in rivals])
    shots = f"given {prompted.num_fewshot} example{'s' if prompted.num_fewshot > 1 else ''} in the prompt"
    return f"the model is not shown to beat the untuned base {shots} on {places}"


def _rules_clause(verdict: Verdict, rules: Model, final: Model, evaluation: Evaluation) -> str:
    """Only where tuning does not beat rules that need no language model at all."""
    rivals = [c for c in verdict.of(final.name, rules.name, "field") if c.judgement != BETTER]
    if not rivals:
        return ""
    ahead = [c for c in rivals if c.judgement == WORSE]
    places = _and([evaluation.label(c.task) for c in ahead or rivals])
    shown = "are better than it" if ahead else "are not shown to be beaten"
    return f"rules without a language model {shown} on {places}"


def _retention_clause(retention: list[Comparison], margin: float, evaluation: Evaluation) -> str:
    if not retention:
        return "general ability was not measured"
    names = {c.task: evaluation.label(c.task).removeprefix("general ") for c in retention}
    lost = [f"{points(-c.test.difference)} on {names[c.task]}" for c in retention if c.judgement == WORSE]
    unsure = [f"{names[c.task]} ({_items(c.add_items)})" for c in retention if c.judgement == OPEN]
    kept = [names[c.task] for c in retention if c.judgement in (BETTER, SAME)]
    parts = [f"falls by {_and(lost)}"] if lost else []
    if kept:
        places = "" if len(kept) == len(retention) else f" on {_and(kept)}"
        parts.append(f"is kept within {points(margin)}{places}")
    if unsure:
        parts.append(f"cannot be told to be kept on {_and(unsure)}")
    return f"general ability {_and(parts)}"


def _change(comparison: Comparison, evaluation: Evaluation) -> str:
    return f"{points(abs(comparison.test.difference))} on {evaluation.label(comparison.task)}"


def _items(add: int | None) -> str:
    return "no number of items would settle it" if add is None else f"add about {add:,} items"


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
