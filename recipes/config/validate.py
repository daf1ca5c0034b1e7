"""Configuration checks that look at more than one key, or at files: cheap, and all reported together."""

import difflib
import re
from functools import cache
from pathlib import Path

from data_builders.core.benchmarks import files_of
from data_builders.core.table import general_rows
from recipes.base.errors import RecipeError
from recipes.base.hashing import files_under
from recipes.base.places import GENERAL_TRAIN, ROOT
from recipes.config.combinations import TEXT_STAGES, check_combinations, check_unread
from recipes.config.schema import model_folder

TASKS = ROOT / "eval" / "tasks"


def nearest(word, words):
    """`did you mean 'x'?` for the closest of `words`, or None."""
    close = difflib.get_close_matches(str(word), [str(w) for w in words], n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else None


@cache
def known_tasks(folder=TASKS):
    """{task or group name: YAML file} of every task under `folder`, by a text scan."""
    names = {}
    for file in sorted(folder.rglob("*.yaml")):
        for name in re.findall(
            r"^(?:task|group): *['\"]?([\w.-]+)['\"]? *(?:#.*)?$", file.read_text(encoding="utf-8"), re.M
        ):
            names[name] = file
    return names


def cross_checks(tables, problem, here):
    """Report through `problem(dotted, what, got, allowed, fix, involves=other keys that the check reads)`.

    `tables` maps "data" and the names of `config.TABLES` to a typed table or None; `here` checks folders of this
    machine.
    """
    for check, name in ((check_eval, "eval"), (check_rl, "rl"), (check_model, "model")):
        if tables[name] is not None:
            check(tables[name], problem)
    for name in TEXT_STAGES:
        if tables[name] is not None:
            check_training(name, tables[name], problem)
    check_combinations(tables, problem)
    reranked = [name for name in (tables["eval"].tasks if tables["eval"] else ()) if name.endswith("_rerank")]
    if reranked and tables["rerank"] is None:
        problem(
            "eval.tasks",
            f"task {reranked[0]!r} needs a reranker",
            f'"{reranked[0]}"',
            "a recipe with the table [rerank]",
            "add --set rerank.prompts=256, or leave the task out",
        )
    if tables["model"] is not None:
        check_general(tables, problem, here)
    if here and tables["model"] is not None:
        check_model_folder(tables["model"], problem)
    for name in ("data", "mix", "cpt"):
        if here and getattr(tables[name], "general", None) is not None and not general_rows(tables[name]).is_file():
            problem(
                f"{name}.general",
                "no such file",
                f'"{tables[name].general}"',
                "a JSONL file of rows with prompt and completion" + (", or with text" if name == "cpt" else ""),
                f"correct the path; it starts from {Path.cwd()}",
            )
    for name in ("data", "cpt"):
        if here and tables[name] is not None:
            check_corpus(name, tables[name], problem)
    for name in getattr(tables["data"], "benchmarks", ()) if here else ():
        try:
            files_of(name)
        except RecipeError as error:
            problem("data.benchmarks", "no such test set", f'"{error.got}"', error.allowed, error.fix)


def check_training(name, table, problem):
    """What holds for every stage that learns from given text."""
    if table.batch_tokens < table.max_length:
        problem(
            f"{name}.batch_tokens",
            f"a step must hold at least one row of {name}.max_length",
            str(table.batch_tokens),
            f"a whole number >= {table.max_length}",
            involves=(f"{name}.max_length",),
        )
    if "all-linear" in table.target and len(table.target) > 1:
        problem(
            f"{name}.target",
            '"all-linear" stands alone',
            str(list(table.target)),
            '["all-linear"] or endings of module names',
        )
    for key in ("general", "top_k") if hasattr(table, "experts") else ():
        if getattr(table.experts, key) > table.experts.count:
            problem(
                f"{name}.experts.{key}",
                "more than there are experts",
                str(getattr(table.experts, key)),
                f"at most {name}.experts.count = {table.experts.count}",
                involves=(f"{name}.experts",),
            )


def check_eval(spec, problem):
    for key in ("tasks", "general"):
        names = getattr(spec, key)
        for number, name in enumerate(names):
            if name not in known_tasks():
                problem(
                    f"eval.{key}",
                    f"no task {name!r} under eval/tasks",
                    f'"{name}"',
                    ", ".join(sorted(known_tasks())),
                    nearest(name, known_tasks()),
                )
            if name in names[:number]:
                problem(f"eval.{key}", f"task {name!r} is listed twice", f'"{name}"', "each task once")
    for name in dict.fromkeys(spec.general):
        if name in spec.tasks:
            problem(
                "eval.general",
                f"task {name!r} is in eval.tasks too",
                f'"{name}"',
                "a task measures the recipe's field or retention, not both",
                involves=("eval.tasks",),
            )


def check_model(model, problem):
    if model_folder(model.name) is not None and model.revision != "main":
        problem(
            "model.revision",
            "only a hub id has a revision",
            f'"{model.revision}"',
            "leave it out for a folder",
            involves=("model.name",),
        )


def check_rl(rl, problem):
    steps = {"rl.warmup_steps": "the rate would never reach its peak"}
    if rl.algorithm == "ppo":
        steps["rl.ppo.value_warmup_steps"] = "the policy would never learn"
    for key, what in steps.items():
        value = rl.ppo.value_warmup_steps if "ppo" in key else rl.warmup_steps
        if value >= rl.steps:
            problem(key, what, str(value), f"fewer than rl.steps = {rl.steps}", involves=("rl.steps", "rl.algorithm"))
    check_unread(rl, problem)


def check_general(tables, problem, here):
    """The embedded general text is of the embedded base's own world: another base would forget the real one for it.

    A folder is the embedded base where `embedded build` wrote it, with its rows beside the weights.
    """
    folder = model_folder(tables["model"].name)
    if folder is not None and (not here or (folder / GENERAL_TRAIN.name).is_file()):
        return
    for name, size in (("mix", "share"), ("cpt", "general_share"), ("data", "general_rows")):
        if getattr(tables[name], "general", None) == "embedded" and getattr(tables[name], size) > 0:
            problem(
                f"{name}.general",
                "is text of the embedded base's invented world, and this is another base",
                f'"embedded" with model.name = "{tables["model"].name}"',
                "a JSONL file of rows with prompt and completion" + (", or with text" if name == "cpt" else ""),
                f"set {name}.general = './general.jsonl', or {name}.{size} = 0"
                if name != "mix"
                else "set mix.general = './general.jsonl', or leave out [mix]",
                involves=("model.name", f"{name}.{size}"),
            )


def check_model_folder(model, problem):
    folder = model_folder(model.name)
    if folder is None:
        if Path(model.name).is_dir():
            problem(
                "model.name",
                "is a hub id, and a folder here has the same name",
                f'"{model.name}"',
                None,
                f"write ./{model.name} for the folder, or start from another directory",
            )
        return
    whole = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    if not whole:
        problem(
            "model.name",
            "not a model folder" if folder.is_dir() else "no such model folder",
            str(folder),
            "a folder with config.json and *.safetensors",
            "python -m recipes embedded build"
            if model.name == "embedded"
            else f"correct the path; it starts from {Path.cwd()}",
        )


def check_corpus(name, table, problem):
    """A corpus other than the table's own default is a folder or file, and holds something."""
    field = type(table).model_fields.get("corpus")
    if field is None or table.corpus == field.default:
        return
    folder = Path(table.corpus).expanduser()
    if not folder.exists():
        problem(
            f"{name}.corpus",
            "no such corpus",
            f'"{table.corpus}"',
            "a folder or file that exists",
            f"correct the path; it starts from {Path.cwd()}",
        )
    elif folder.is_dir() and not files_under(folder):
        problem(f"{name}.corpus", "the corpus folder is empty", f'"{table.corpus}"', "a folder with source files")
