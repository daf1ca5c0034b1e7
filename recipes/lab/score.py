"""`python -m recipes embedded score`: ask the base model the general test through lm-eval, and write its model card."""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import jinja2

from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.runtime import Runtime
from recipes.config.schema import Model
from recipes.lab import build
from recipes.lab.options import LENGTH, ROWS, SEED
from recipes.lab.tokenizer import SAMPLE
from recipes.lab.world import PHASES
from recipes.report.stats import wilson
from recipes.stages import evaluate

TASKS = ("general_arithmetic", "general_facts", "general_instructions")
CURVE_POINTS = 11  # lines of the loss table


def measure(folder: Path, runtime: Runtime) -> list[dict]:
    """Greedy accuracy of the model in `folder` on its general test, by task: {name, n, accuracy, low, high}."""
    from lm_eval.tasks import TaskManager

    from recipes.models import lm_eval_run, loader, variants
    from recipes.models.lm_eval_model import make_scorer

    spec = spec_of("evaluate", model=Model(name=str(folder.resolve())), eval=evaluate.Config(tasks=TASKS), seed=SEED)
    manager = TaskManager(
        include_path=str(evaluate.TASKS),
        include_defaults=False,
        metadata={"general": str(folder / "general_test.jsonl")},
    )
    scorer = make_scorer(loader.load_base(spec.model).eval(), loader.load_tokenizer(spec.model), spec.eval.batch_size)
    variant = variants.Variant("base", "base", TASKS)
    with tempfile.TemporaryDirectory() as out:
        lm_eval_run.evaluate_variant(spec, variant, scorer, manager, Path(out), runtime)
        found = variants.find_results(Path(out), variant)
        assert found is not None, "evaluate_variant has written them"
        results = json.loads(found.read_text(encoding="utf-8"))
    return [
        interval(task, results["results"][task]["acc,none"], results["n-samples"][task]["effective"]) for task in TASKS
    ]


def interval(task: str, accuracy: float, n: int) -> dict:
    """The score with its 95 % Wilson interval."""
    around = wilson(accuracy * n, n)
    return {"name": task, "n": n, "accuracy": accuracy, "low": around.low, "high": around.high}


def card(training: dict, config: dict, scores: list[dict]) -> str:
    """The model card as Markdown; `training` is training.json and `config` config.json of the model folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    tokens = ROWS * LENGTH
    starts = [*build.phase_starts(training["steps"]), training["steps"]]
    return environment.get_template("card.md.jinja").render(
        training=training,
        config=config,
        scores=scores,
        rows=ROWS,
        length=LENGTH,
        phases=[
            {"start": start, "steps": end - start, "tokens": (end - start) * tokens}
            for start, end in itertools.pairwise(starts)
        ],
        makers=shares(),
        sample=SAMPLE,
        curve=curve(training["history"]),
    )


def shares() -> list[dict]:
    """Every maker of documents with its share in each phase, as text."""
    phases = [{maker: share for share, maker in mixture} for _, mixture in PHASES]
    return [
        {
            "name": maker.__name__,
            "about": " ".join((maker.__doc__ or "").split()),
            "shares": [f"{phase[maker]:.0%}" if maker in phase else "–" for phase in phases],
        }
        for maker in {maker: None for phase in phases for maker in phase}
    ]


def curve(history: list[dict]) -> list[dict]:
    """Evenly spaced lines of the loss history; the last one is among them."""
    every = -(-len(history) // CURVE_POINTS)
    return history[::-1][::every][::-1]


def main(options: argparse.Namespace) -> None:
    """Score as `recipes.lab.options.score` read it."""
    folder = options.model
    if missing := [name for name in ("training.json", "config.json") if not (folder / name).is_file()]:
        raise RecipeError(
            "this is no model folder that `embedded build` wrote",
            where="--model",
            got=f"{folder} without {' and '.join(missing)}",
            allowed="a folder with weights, tokenizer, general_test.jsonl and training.json",
            fix="build the model first:  python -m recipes embedded build",
        )
    runtime = Runtime()
    scores = measure(folder, runtime)
    training, config = (json.loads((folder / name).read_text("utf-8")) for name in ("training.json", "config.json"))
    (folder / "README.md").write_text(card(training, config, scores), encoding="utf-8")
    for score in scores:
        runtime.say(
            f"{score['name']}: {score['accuracy']:.1%} "
            f"(95 % interval {score['low']:.1%} to {score['high']:.1%}, n = {score['n']})"
        )
    runtime.say(f"written: {folder / 'README.md'}")
