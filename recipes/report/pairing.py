"""Pair the answers of models that were evaluated apart: by the content of the items, or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from recipes.base.errors import RecipeError
from recipes.report.answers import Answers, Item

Key = tuple[str, str, int]


def pair_models(read: dict[str, dict[str, Answers]]) -> dict[str, dict[str, Answers]]:
    """{task: {model: answers}} with the same items in the same order, from {model: {task: answers}}, base first.

    An item that a test set holds twice is paired copy by copy, and its copies are one source. Raises one RecipeError
    with a sentence for every task of every model that cannot be paired with the base.
    """
    base_name, base = next(iter(read.items()))
    faults = []
    for name, tasks in read.items():
        faults += [f"{name} was not asked {task}, which {base_name} was" for task in base if task not in tasks]
        faults += [f"{base_name} was not asked {task}, which {name} was" for task in tasks if task not in base]
        for task in base:
            if task in tasks and (fault := find_fault(base[task], tasks[task], base_name, name)):
                faults.append(f"{task}: {fault}")
    if faults:
        raise RecipeError(
            "These evaluations cannot be paired",
            got="\n          ".join(faults),
            allowed="the same tasks, versions, items, prompts and ways to answer for every model",
            fix="evaluate the models again alike, or leave tasks out with --tasks",
        )
    paired: dict[str, dict[str, Answers]] = {task: {} for task in base}
    for name, tasks in read.items():
        for task, reference in base.items():
            items = _by_key(tasks[task])
            ordered = (items[key] for key in _by_key(reference))
            paired[task][name] = replace(tasks[task], items=tuple(_join_copies(ordered)))
    return paired


def find_fault(base: Answers, other: Answers, base_name: str, name: str) -> str:
    """Why two models' answers to one task cannot be paired, as a sentence; "" where they can."""
    for what, mine, theirs in (
        ("scored by", base.metric, other.metric),
        ("version", base.version, other.version),
        ("answered with", base.decoding, other.decoding),
    ):
        if str(mine) != str(theirs):
            return f"{what} {mine} for {base_name}, {theirs} for {name}"
    mine, theirs = _by_key(base), _by_key(other)
    if missing := [key for key in mine if key not in theirs]:
        if len(missing) == len(mine):
            return f"{name} answered other items than {base_name}"
        first = mine[missing[0]].doc_id
        return f"{name} lacks {len(missing):,} of the {len(mine):,} items of {base_name} (first: item {first})"
    if len(theirs) > len(mine):
        return f"{name} answered {len(theirs) - len(mine):,} items that {base_name} did not"
    others = [key for key in mine if mine[key].prompt_hash != theirs[key].prompt_hash]
    if others:
        first = mine[others[0]].doc_id
        return (
            f"{name} was prompted in other words, examples or chat template than {base_name} on {len(others):,} of "
            f"{len(mine):,} items (first: item {first})"
        )
    return ""


def _by_key(answers: Answers) -> dict[Key, Item]:
    """Items by document, right answer and number of the copy, in the order of the file."""
    copies: dict[tuple[str, str], int] = defaultdict(int)
    found = {}
    for item in answers.items:
        content = (item.doc_hash, item.target_hash)
        found[*content, copies[content]] = item
        copies[content] += 1
    return found


def _join_copies(items: Iterable[Item]) -> Iterable[Item]:
    """The items numbered anew; those that stand more than once and have no source become one source."""
    items = list(items)
    times: dict[str, int] = defaultdict(int)
    for item in items:
        times[item.doc_hash] += 1
    for number, item in enumerate(items):
        alone = times[item.doc_hash] == 1 or item.source or item.doc.get("node_id")
        yield replace(item, doc_id=number, source=item.source if alone else item.doc_hash)


def pool_runs(runs: list[Answers]) -> Answers:
    """Several runs of one model as one: an item that all of them answered is one source, so it counts once.

    Runs on the same items and runs on items of their own may be given alike.
    """
    if len(runs) == 1:
        return runs[0]
    items = (
        replace(item, source=item.source or str(item.doc.get("node_id") or item.doc_hash))
        for run in runs
        for item in run.items
    )
    return replace(runs[0], items=tuple(replace(item, doc_id=number) for number, item in enumerate(items)))
