"""What an evaluation asks, from the files of its tasks and the counts of rows: nothing is fetched for it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from recipes.base.jsonl import iterate_jsonl
from recipes.base.places import GENERAL_TEST, ROOT
from recipes.config import validate
from recipes.config.schema import Recipe

ROLES = ("field", "control", "format")  # that a task may declare; general ones are those of `eval.general`

# Items of tasks whose rows lie outside, in the split that is asked, by the data set's card on the hub. A question with
# options counts once, though lm-eval scores every option of its own tasks.
SIZES = {
    "mmlu": 14_042,  # cais/mmlu, test
    "mmlu_stem": 3_153,  # one of its four groups
    "gsm8k": 1_319,  # openai/gsm8k, test
    "hellaswag": 10_042,  # Rowan/hellaswag, validation: the test has no answers
    "sciq": 1_000,  # allenai/sciq, test
    "arc_challenge": 1_172,  # allenai/ai2_arc, test
    "ifeval": 541,  # google/IFEval, train, its only split
    "glan_gsm8k": 1_319,
    "glan_bbh": 6_511,  # lukaemon/bbh, test
    "glan_humaneval": 164,  # openai/openai_humaneval, test
    "glan_mbpp": 500,  # google-research-datasets/mbpp, test
    "glan_arc_easy": 2_376,
    "glan_arc_challenge": 1_172,
    "glan_mmlu_stem": 3_153,
    "glan_mmlu_humanities": 4_705,
    "glan_mmlu_social_sciences": 3_077,
    "glan_mmlu_other": 3_107,
    "glan_math": 5_000,  # EleutherAI/hendrycks_math, test
    **dict.fromkeys(("amsbench_tqa", "amsbench_tqa_official"), 1_257),  # eval.benchmarks.amsbench.SIZES
    **{"amsbench_ldo": 50, "amsbench_comparator": 25, "amsbench_bandgap": 50, "amsbench_opamp": 12},
    "amsbench_caption": 83,
}


def replies_to(names: Iterable[str], counts: dict[str, Any]) -> tuple[dict[str, int], list[str]]:
    """({task: replies}, names of tasks whose size is not known) of tasks and groups.

    `counts` are those of the data: test_KIND for every kind of test row once they are built; before that `test` alone,
    of which each kind that the tasks ask for is taken to be an equal part.
    """
    tables = tasks_of(names)
    own = [given for given in map(given_of, tables.values()) if given["source"] == "recipe"]
    kinds = {given["kind"] for given in own if given.get("kind")}
    sizes = {task: size(task, table, counts, len(kinds)) for task, table in tables.items()}
    return {task: known or 0 for task, known in sizes.items()}, [task for task, known in sizes.items() if known is None]


def role_of(table: dict[str, Any]) -> str:
    """The role of a task of the recipe's own, as its YAML declares it: `metadata: {role: control}`.

    field    what the recipe teaches; without a declaration
    control  what is there to be read is taken away: beside the verdict
    format   the form of the reply: beside the verdict
    """
    return (table.get("metadata") or {}).get("role", ROLES[0])


def files_of_tasks(names: Iterable[str]) -> dict[str, Path]:
    """{path below eval/: file} of the YAML of tasks and groups, with what they include; of lm-eval's own none."""
    found: dict[str, Path] = {}
    for name in names:
        file = validate.known_tasks().get(name)
        if file is None:
            continue
        found |= files_of_tasks(tasks_of([name]).keys() - {name})
        while file is not None:
            file = file.resolve()
            found[file.relative_to(ROOT / "eval").as_posix()] = file
            included = read_yaml(file).get("include")
            file = file.parent / included if included else None
    return dict(sorted(found.items()))


def files_of_sets(tables: Iterable[dict[str, Any]], folder: str) -> dict[str, Path]:
    """{path below the folder: file} of the public sets that tasks read there; those that are missing are left out."""
    if not folder:
        return {}
    from eval.benchmarks.local_sets import FILES

    kinds = {given_of(table).get("kind") for table in tables if given_of(table)["source"] == "sets"}
    names = [name for kind in sorted(kinds & FILES.keys()) for name in FILES[kind]]
    return {name: path for name in names if (path := Path(folder).expanduser() / name).is_file()}


def tasks_of(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{task: its table} of tasks and of groups of ours, which are taken apart; {} is the table of lm-eval's own."""
    found = {}
    for name in names:
        table = read(validate.known_tasks()[name]) if name in validate.known_tasks() else {}
        found |= tasks_of(table["task"]) if "group" in table else {name: table}
    return found


def warnings(recipe: Recipe) -> Iterator[str]:
    """What may stand, but ought to be known before a run: published items that no row has been compared with."""
    found = tasks_of((*recipe.settings("evaluate").tasks, *recipe.settings("evaluate").general))
    public = [task for task, table in found.items() if is_published(table)]
    if public and getattr(recipe.settings("data"), "benchmarks", None) == ():
        yield (
            f"{', '.join(public[:3])}{' …' if len(public) > 3 else ''} are evaluated and data.benchmarks is empty: "
            "no row is compared with their items, so a score may be remembered"
        )


def is_published(table: dict[str, Any]) -> bool:
    """Whether a task's items lie outside: a public benchmark. lm-eval's own tasks, whose table is {}, are too."""
    return given_of(table)["source"] not in ("recipe", "general", "common")


def find_published(spec: Any) -> dict[str, str]:
    """{metadata key: path} of the files of public benchmarks that an `[eval]` table names."""
    return {key: str(Path(path).expanduser().resolve()) for key, path in spec.published.items()}


def given_of(table: dict[str, Any]) -> dict[str, Any]:
    """What a task of this repository says about its rows."""
    return {"source": None} | table.get("dataset_kwargs", {})


def size(name: str, table: dict[str, Any], counts: dict[str, Any], kinds: int) -> int | None:
    """Replies that one model gives to a task; None where that is not known."""
    given = given_of(table)
    kind, items = given.get("kind"), SIZES.get(name, given.get("sample"))
    if given["source"] == "recipe":
        built = any(key.startswith("test_") for key in counts)
        items = counts["test"] if kind is None else counts.get(f"test_{kind}", 0) if built else counts["test"] // kinds
    elif given["source"] == "general":
        items = sum(count for of, count in general_kinds().items() if kind in (None, of))
    if items is None:
        return None
    return min(items, given.get("sample") or items)


def general_kinds() -> Counter[str]:
    """Items of each kind in the general test."""
    return Counter(row["kind"] for row in iterate_jsonl(GENERAL_TEST))


@cache
def read(file: Path) -> dict[str, Any]:
    """The table of a task file, laid over those of the files that it includes; functions are their names."""
    table = read_yaml(file)
    below = file.parent / table["include"] if "include" in table else None
    return (read(below.resolve()) if below else {}) | table


def read_yaml(file: Path) -> dict[str, Any]:
    """The table of one task file."""
    import yaml

    class Reader(yaml.SafeLoader):
        """Plain YAML."""

    Reader.add_multi_constructor("!", lambda loader, suffix, node: loader.construct_scalar(node))
    return yaml.load(file.read_text(encoding="utf-8"), Reader)
