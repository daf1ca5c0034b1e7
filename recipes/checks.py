"""Configuration checks that look at more than one key, or at files: cheap, and all reported together."""

import difflib
import re
from functools import cache
from pathlib import Path

from data_builders.quality.benchmarks import files_of
from data_builders.schema import DataError
from data_builders.table import general_rows
from recipes.checks_training import check_quantization, check_sft, check_training, check_two_steps
from recipes.config import ROOT, model_folder
from recipes.digest import files_under

TASKS = ROOT / "eval" / "tasks"
# Settings of [rl] that an algorithm does not look at; they may not be set, so that none seems to count. The table
# [rl.ppo] may stay: its name says whom it is for, and a recipe of PPO's is switched to another algorithm by its name.
UNREAD = {
    "grpo": (),
    "rloo": ("loss_type", "scale_rewards"),
    "ppo": ("loss_type", "scale_rewards"),
    "online_self_training": ("loss_type", "scale_rewards", "beta"),
    "offline_self_training": ("loss_type", "scale_rewards", "beta", "partial", "format_weight", "use_vllm"),
}


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

    `tables` maps "data", "mix", "model", "cpt", "sft_general", "sft", "rl", "eval" to a typed table or None; `here`
    checks folders of this machine.
    """
    if tables["rl"] is not None and getattr(tables["data"], "view", None) == "none":
        problem(
            "data.view",
            "reinforcement would reward guesses: no prompt shows its signal",
            '"none"',
            "a view that shows it",
            "choose another view, or set rl = false",
            involves=("rl",),
        )
    for check, name in ((check_eval, "eval"), (check_rl, "rl"), (check_model, "model")):
        if tables[name] is not None:
            check(tables[name], problem)
    for name in ("cpt", "sft_general", "sft"):
        if tables[name] is not None:
            check_training(name, tables[name], problem)
            if tables["model"] is not None:
                check_quantization(name, tables["model"], tables[name], problem)
    for name in ("sft_general", "sft"):
        if tables[name] is not None:
            check_sft(name, tables[name], problem)
    if tables["sft_general"] is not None and tables["sft"] is not None:
        check_two_steps(tables["sft_general"], tables["sft"], problem)
    reranked = [name for name in (tables["eval"].tasks if tables["eval"] else ()) if name.endswith("_rerank")]
    if reranked and tables["rerank"] is None:
        problem(
            "eval.tasks",
            f"task {reranked[0]!r} needs a reranker",
            f'"{reranked[0]}"',
            "a recipe with the table [rerank]",
            "add --set rerank.prompts=256, or leave the task out",
        )
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
    if here and tables["data"] is not None:
        check_corpus(tables["data"], problem)
        for name in getattr(tables["data"], "benchmarks", ()):
            try:
                files_of(name)
            except DataError as error:
                problem("data.benchmarks", "no such test set", f'"{error.got}"', error.allowed, error.fix)


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
    if rl.warmup_steps >= rl.steps:
        problem(
            "rl.warmup_steps",
            "the rate would never reach its peak",
            str(rl.warmup_steps),
            f"fewer than rl.steps = {rl.steps}",
            involves=("rl.steps",),
        )
    if rl.algorithm == "ppo":
        check_ppo(rl, problem)
    elif rl.group_size < 2:
        problem(
            "rl.group_size",
            f"{rl.algorithm} needs several replies for a prompt",
            str(rl.group_size),
            "a whole number >= 2",
            'or rl.algorithm = "ppo", which needs no group',
            involves=("rl.algorithm",),
        )
    for key in UNREAD[rl.algorithm]:
        default = type(rl).model_fields[key].default
        if getattr(rl, key) != default:
            problem(
                f"rl.{key}",
                f"{rl.algorithm} does not read it",
                str(getattr(rl, key)),
                "its default",
                f"leave out rl.{key}, or choose another rl.algorithm",
                involves=("rl.algorithm",),
            )


def check_ppo(rl, problem):
    if rl.group_size == 1 and rl.prompts_per_step % 2:
        problem(
            "rl.prompts_per_step",
            "a rollout of ppo with one reply for a prompt must be even (TRL counts in groups of two)",
            str(rl.prompts_per_step),
            "an even number, or rl.group_size >= 2",
            involves=("rl.group_size", "rl.algorithm"),
        )
    if rl.beta == 0 and not rl.ppo.allow_no_kl:
        problem(
            "rl.beta",
            "ppo without a KL penalty collapses (ReFT, arXiv 2401.08967)",
            str(rl.beta),
            "a number > 0; ReFT: 0.01 for programs, 0.05 for text",
            "set rl.beta = 0.05, or rl.ppo.allow_no_kl = true to try it",
            involves=("rl.ppo", "rl.ppo.allow_no_kl", "rl.algorithm"),
        )
    if rl.use_vllm:
        problem(
            "rl.use_vllm",
            "ppo cannot sample with vLLM: TRL would send it the value head, which it does not know",
            "true",
            "false",
            involves=("rl.algorithm",),
        )
    if rl.ppo.value_warmup_steps >= rl.steps:
        problem(
            "rl.ppo.value_warmup_steps",
            "the policy would never learn",
            str(rl.ppo.value_warmup_steps),
            f"fewer than rl.steps = {rl.steps}",
            involves=("rl.steps", "rl.algorithm"),
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


def check_corpus(data, problem):
    """A corpus other than the builder's own default is a folder or file, and holds something."""
    field = type(data).model_fields.get("corpus")
    if field is None or data.corpus == field.default:
        return
    folder = Path(data.corpus).expanduser()
    if not folder.exists():
        problem(
            "data.corpus",
            "no such corpus",
            f'"{data.corpus}"',
            "a folder or file that exists",
            f"correct the path; it starts from {Path.cwd()}",
        )
    elif folder.is_dir() and not files_under(folder):
        problem("data.corpus", "the corpus folder is empty", f'"{data.corpus}"', "a folder with source files")
