"""A verdict on models that were trained and evaluated elsewhere: the same tests, sentence and pages as of our own runs.

    from recipes.report.outside import give_verdict
    outcome = give_verdict("evals/base", "evals/tuned", general=["mmlu*"], out="verdict")
    outcome.code            0 better or no worse, 1 worse, 2 cannot tell

What may be given as a model: `[NAME=]PATH[::MODEL][,PATH …]`: a name for the page, the evaluation, which model of a
table is meant, and more evaluations of it, one for each training seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from recipes.base.errors import RecipeError
from recipes.report import stats
from recipes.report.answers import Answers, Model, together
from recipes.report.build import write_pages
from recipes.report.formats import percent, points, signed, signed_span
from recipes.report.items import sort_items
from recipes.report.load import Evaluation, Manifest, Task
from recipes.report.pairing import pair_models, pool_runs
from recipes.report.readers import Choice, read_evaluation
from recipes.report.verdict import ALPHA, BETTER, MARGIN, OPEN, SAME, WORSE, Verdict, judge

GROUPS = {"field": "What the tuning was for", "general": "General ability, retained within {}?"}
SHOWN_ITEMS = 30  # of one task and one kind of change on the page; report.json names all


@dataclass(frozen=True)
class Noise:
    """Two evaluations of the same model on one task: what batches, kernels and sampling change by themselves."""

    n: int
    changed: float  # share of items with another score
    difference: float
    low: float
    high: float
    floor: float  # half the width of the 95 % interval


@dataclass(frozen=True)
class Outcome:
    """A verdict, what it was made from, and the exit code: 0 better or no worse, 1 worse, 2 cannot tell."""

    verdict: Verdict
    evaluation: Evaluation
    noise: dict[str, Noise]
    notes: list[str]
    code: int


@dataclass(frozen=True)
class Given:
    """One model as it was asked for: its name, and (path, model of a table) of each run."""

    name: str
    runs: tuple[tuple[Path, str], ...]


def give_verdict(
    base: str,
    tuned: str,
    more: Sequence[str] = (),
    *,
    field: Sequence[str] = (),
    general: Sequence[str] = (),
    tasks: Sequence[str] = (),
    pool: Mapping[str, str] | None = None,
    cluster: str = "",
    metric: str = "",
    noise: str = "",
    alpha: float = ALPHA,
    margin: float = MARGIN,
    out: Path | str | None = None,
    command: str = "",
) -> Outcome:
    """Compare tuned models with their base, item by item, and write `index.html`, `report.md`, `report.json` to `out`.

    Args:
        base, tuned, more: evaluations; see the module's text. The verdict is about `tuned`, each of `more` is compared
            with the base too.
        field, general: names or globs of the tasks that the tuning was for, and of those that it must not harm. With
            one of the two the rest is the other; with both the rest is left out; with none all are field tasks.
        tasks: names or globs of the tasks that are read at all.
        pool: {name: glob}: tasks that are tested as one, such as the subjects of a benchmark.
        cluster: field of an item that names its source, such as a passage that several questions are about.
        metric: that scores an item; each form's first where it is empty.
        noise: a second evaluation of the base.
        alpha, margin: error level after Holm; loss on a general task that counts as none, a share of 1.

    Raises RecipeError for evaluations that cannot be read or paired.
    """
    named = [_parse(text, name) for text, name in zip((base, tuned, *more), ("base", "tuned"), strict=False)]
    named += [_parse(text, f"tuned-{number}") for number, text in enumerate(more, 2)]
    if len({given.name for given in named}) < len(named):
        raise RecipeError("Two models have one name", got=", ".join(given.name for given in named))
    choice = Choice(tuple(tasks), metric, cluster)
    models = [Model(given.name, given.name, 0, given.runs[0][0], parent=named[0].name) for given in named]
    models[0] = replace(models[0], parent="")
    paired = _read_all(named, models, choice)
    paired = _pool_tasks(paired, pool or {})
    if cluster and not any(item.source for answers in paired.values() for item in answers[named[0].name].items):
        raise RecipeError("No item has the field that names its source", where="--cluster", got=cluster)
    kinds = {task: _kind(task, field, general) for task in paired}
    notes = [f"Left out, neither a field nor a general task: {task}" for task, kind in kinds.items() if not kind]
    notes += _notes_on_runs(named, paired)
    # The verdict is about the last model of a chain: `tuned` goes there.
    order = [models[0], *models[2:], models[1]]
    found = tuple(
        Task(task, kind, {m.name: paired[task][m.name] for m in order}) for task, kind in kinds.items() if kind
    )
    manifest = Manifest(Path(), "", "", "evaluate", "", {"model": {"name": named[0].name}}, {}, None, None, {}, {})
    evaluation = Evaluation(manifest, tuple(order), found, "", "", {}, {}, None)
    verdict = judge(evaluation, alpha, margin, {m.name: "tuning" if m is models[1] else m.name for m in models})
    measured = _measure_noise(noise, named[0], models[0], evaluation, choice, pool or {}) if noise else {}
    notes += [_noise_note(evaluation.label(task), seen) for task, seen in measured.items()]
    outcome = Outcome(verdict, evaluation, measured, notes, exit_code(verdict, named[0].name))
    if out is not None:
        _write(outcome, named, Path(out), command)
    return outcome


def exit_code(verdict: Verdict, base: str) -> int:
    """0 better or no worse, 1 worse on any task, 2 cannot tell.

    0 asks that every general task is kept, and that the field tasks are better, or all of them no worse. Each of these
    "no worse" is tested at the full level: all of them must hold (an intersection-union test, Berger 1982).
    """
    field, general = ([c.judgement for c in verdict.of(verdict.final, base, kind)] for kind in ("field", "general"))
    if WORSE in field or WORSE in general:
        return 1
    kept = all(judgement in (BETTER, SAME) for judgement in general)
    won = BETTER in field or all(judgement == SAME for judgement in field)
    return 0 if kept and won and field + general else 2


def _parse(text: str, default: str) -> Given:
    """`[NAME=]PATH[::MODEL][,PATH …]`; a path that exists as it stands is taken whole."""
    name, rest = default, text
    if not Path(text).exists() and "=" in text:
        name, rest = text.split("=", 1)
    parts = [rest] if Path(rest).exists() else rest.split(",")
    runs = [(part.rpartition("::")[::2] if "::" in part else (part, "")) for part in parts]
    return Given(name, tuple((Path(path), model) for path, model in runs))


def _read_all(named: list[Given], models: list[Model], choice: Choice) -> dict[str, dict[str, Answers]]:
    """{task: {model: answers}} over all runs; a model with one run stands beside each run of the others."""
    count = max(len(given.runs) for given in named)
    if wrong := [given for given in named if len(given.runs) not in (1, count)]:
        raise RecipeError(
            "The models have different numbers of runs",
            got=", ".join(f"{given.name} {len(given.runs)}" for given in named),
            allowed=f"1 or {count} runs a model",
            fix=f"give {wrong[0].name} {count} runs, or one",
        )
    read = {
        given.name: [read_evaluation(path, model, replace(choice, model=of)) for path, of in given.runs]
        for given, model in zip(named, models, strict=True)
    }
    runs = [pair_models({name: found[run % len(found)] for name, found in read.items()}) for run in range(count)]
    if missing := {task for run in runs for task in run if any(task not in other for other in runs)}:
        raise RecipeError("Not every run has the same tasks", got=", ".join(sorted(missing)))
    return {task: {m.name: pool_runs([run[task][m.name] for run in runs]) for m in models} for task in runs[0]}


def _pool_tasks(paired: dict[str, dict[str, Answers]], pool: Mapping[str, str]) -> dict[str, dict[str, Answers]]:
    """Tasks that a glob of `pool` catches become one under its name, in the place of the first."""
    found: dict[str, list[dict[str, Answers]]] = {}
    for task, answers in paired.items():
        name = next((name for name, pattern in pool.items() if fnmatchcase(task, pattern)), task)
        found.setdefault(name, []).append(answers)
    if unused := [f"{name}={pattern}" for name, pattern in pool.items() if name not in found]:
        raise RecipeError("No task fits", where="--pool", got=", ".join(unused), allowed=", ".join(paired))
    return {name: {m: together([part[m] for part in parts]) for m in parts[0]} for name, parts in found.items()}


def _kind(task: str, field: Sequence[str], general: Sequence[str]) -> str:
    """ "field", "general", or "" for a task that is left out."""
    for kind, patterns in (("field", field), ("general", general)):
        if any(fnmatchcase(task, pattern) for pattern in patterns):
            return kind
    if field and general:
        return ""
    return "general" if field else "field"


def _notes_on_runs(named: list[Given], paired: dict[str, dict[str, Answers]]) -> list[str]:
    """The differences run by run, which stand beside pooled figures: a few runs cannot tell how runs vary."""
    count = max(len(given.runs) for given in named)
    if count == 1:
        return []
    base, notes = (
        named[0].name,
        [f"{count} runs are pooled over their items; an item counts once however many answer it."],
    )
    for task, answers in paired.items():
        size = len(answers[base].items) // count
        for given in named[1:]:
            gains = [
                sum(answers[given.name].scores[at : at + size]) / size
                - sum(answers[base].scores[at : at + size]) / size
                for at in range(0, size * count, size)
            ]
            notes.append(f"{task}, {given.name} − {base}, run by run: {', '.join(signed(gain) for gain in gains)}")
    return notes


def _measure_noise(
    text: str, given: Given, base: Model, evaluation: Evaluation, choice: Choice, pool: Mapping[str, str]
) -> dict[str, Noise]:
    """Of the tasks of the verdict, from the first run of the base and `text`, another evaluation of it."""
    again = replace(base, name=f"{base.name} again")
    first, second = (
        read_evaluation(path, model, replace(choice, model=of))
        for model, (path, of) in ((base, given.runs[0]), (again, _parse(text, "again").runs[0]))
    )
    pairs = _pool_tasks(pair_models({base.name: first, again.name: second}), pool)
    found = {}
    for task in (task.name for task in evaluation.tasks):
        before, after = pairs[task][base.name], pairs[task][again.name]
        test = stats.paired(after.scores, before.scores, after.clusters)
        changed = sum(a != b for a, b in zip(after.scores, before.scores, strict=True)) / test.n
        low, high = test.interval.low, test.interval.high
        found[task] = Noise(test.n, changed, test.difference, low, high, (high - low) / 2)
    return found


def _noise_note(label: str, seen: Noise) -> str:
    warning = "" if seen.low <= 0 <= seen.high else " The two differ by more than chance: something else changed."
    return (
        f"Two evaluations of the base on {label}: {percent(seen.changed)} % of {seen.n:,} items changed, difference "
        f"{signed(seen.difference)} points ({signed_span(seen)}).{warning}"
    )


def _write(outcome: Outcome, named: list[Given], out: Path, command: str) -> None:
    evaluation, verdict = outcome.evaluation, outcome.verdict
    lines = {f"Model {given.name}": ", ".join(str(path) for path, _ in given.runs) for given in named}
    versions = {t.name: str(t.first.version) for t in evaluation.tasks if t.first and t.first.version not in (None, "")}
    lines["Task versions"] = ", ".join(f"{task} {version}" for task, version in versions.items())
    lines["Error level and margin"] = f"{verdict.alpha}, {points(verdict.margin)}"
    lines["Exit code"] = f"{outcome.code}: {('better or no worse', 'worse', 'cannot tell')[outcome.code]}"
    about = {
        "title": f"{named[1].name} against {named[0].name}",
        "head": f"{named[1].name} against {named[0].name}",
        "question": "Did the tuning help?",
        "groups": GROUPS,
        "origin": "This page is made from the files of the evaluations alone.",
        "notes": outcome.notes,
        "noise": outcome.noise,
        "laboratory": False,
        "summary": "",
        "nodes": {},
        "curves": {},
        "remarks": {},
        "data": None,
        "review": None,
        "costs": [],
        "provenance": {label: text for label, text in lines.items() if text},
        "command": command or "recipes verdict " + " ".join(str(path) for given in named for path, _ in given.runs),
        "toml": "",
    }
    write_pages(evaluation, verdict, sort_items(evaluation), about, out, SHOWN_ITEMS)


def as_text(outcome: Outcome) -> str:
    """The verdict for the terminal: the sentence, then a line for each task."""
    lines = [outcome.verdict.sentence, ""]
    base = outcome.evaluation.models[0].name
    for row in outcome.verdict.comparisons:
        if row.against != base:
            continue
        open_items = f", add about {row.add_items:,} items" if row.judgement == OPEN and row.add_items else ""
        noise = f", noise ±{percent(outcome.noise[row.task].floor)}" if row.task in outcome.noise else ""
        lines.append(
            f"{row.task} ({row.kind}), {row.model}: {row.judgement}; {signed(row.test.difference)} points "
            f"({signed_span(row.test.interval)}), p = {row.p_holm:.2g}, {row.test.n:,} items in {row.test.clusters:,} "
            f"sources, could show {percent(row.detectable)}{noise}{open_items}"
        )
    return "\n".join([*lines, *outcome.notes])
