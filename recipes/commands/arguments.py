"""Arguments that commands share, and those of `verdict`."""

import argparse
from pathlib import Path

from recipes.base.places import ROOT

NO_VERDICT = 3  # of `verdict`, whose codes 1 and 2 say what was found


def verdict_options(command: argparse.ArgumentParser) -> None:
    """Wrong usage must not look like a verdict: argparse would end it with 2."""
    command.set_defaults(failed=NO_VERDICT)
    command.error = lambda message: command.exit(NO_VERDICT, f"{command.format_usage()}{command.prog}: {message}\n")
    command.add_argument("base", nargs="?", help="evaluation of the untuned model")
    command.add_argument("tuned", nargs="?", help="evaluation of the tuned model, which the verdict is about")
    command.add_argument("more", nargs="*", help="further tuned models, each compared with the base")
    for words, text in (
        (("--field",), "tasks that the tuning was for, names or globs (default: all that are not general)"),
        (("--general",), "tasks that it must not harm"),
        (("--tasks",), "tasks to read at all (default: all)"),
        (("--pool",), "NAME=GLOB: test the tasks that fit as one, under that name"),
    ):
        command.add_argument(*words, metavar="GLOB", action="append", default=[], help=f"{text}; may be repeated")
    command.add_argument("--cluster", metavar="FIELD", default="", help="field of an item that names its source")
    command.add_argument("--metric", default="", help="metric that scores an item (default: the task's first)")
    command.add_argument("--noise", metavar="BASE_AGAIN", default="", help="a second evaluation of the base")
    command.add_argument("--alpha", type=share, default=0.05, help="error level after Holm (default: 0.05)")
    command.add_argument("--margin", type=share, default=0.05, help="loss that counts as none (default: 0.05)")
    command.add_argument("--out", type=Path, default=Path("verdict"), metavar="DIR", help="pages (default: verdict)")
    command.add_argument(
        "--plan", action="store_true", help="how many items and seeds would show a gain; reads nothing"
    )
    planning = command.add_argument_group("with --plan, shares of 1")
    for name, default, text in (
        ("gain", 0.03, "gain to show"),
        ("correlation", 0.5, "of right and wrong between base and tuned model"),
        ("score", 0.5, "score of the base"),
        ("cluster-size", 1.0, "items that share a source"),
        ("cluster-correlation", 0.3, "of the differences of items that share one"),
        ("seed-sd", 0.0, "standard deviation of the gain between training seeds"),
        ("power", 0.8, "chance to show it"),
    ):
        planning.add_argument(f"--{name}", type=float, default=default, help=f"{text} (default: {default:g})")
    planning.add_argument("--count", type=count, default=1, metavar="TASKS", help="tasks tested together (default: 1)")


def share(text: str) -> float:
    """A number between 0 and 1, for argparse."""
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return float(text)


def count(text):
    """A whole number above 0, for argparse."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def name_argument(command):
    command.add_argument("name", help="recipe, a table of the recipe file")


def any_name(command):
    command.add_argument("name", nargs="?", help="recipe (default: all in the file)")


def file_option(command):
    text = "recipe file (default: the recipes.toml of this checkout)"
    command.add_argument("--file", type=Path, default=ROOT / "recipes.toml", help=text)


def runs_option(command):
    command.add_argument(
        "--runs", metavar="DIR", type=Path, default=Path("runs"), help="folder of results (default: runs)"
    )


def profile_option(command):
    command.add_argument("--profile", default="embedded", help="profile of the recipe (default: embedded)")


def set_option(command):
    text = "set one value last, such as sft.learning_rate=2e-4; may be repeated"
    command.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=text)


def model_option(command):
    text = "base, or the step whose model is meant (default: the last one trained)"
    command.add_argument("--model", metavar="STEP", help=text)
