"""Let lm-eval ask one model its tasks, with the kept replies first, and write its native files."""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.config.request_counts import is_published, tasks_of
from recipes.models.costs import FILE, measure_costs
from recipes.models.variants import Variant


def available(manager: Any, names: Iterable[str], runtime: Any) -> dict[str, list[str]]:
    """{task as the report shows it: lm-eval's tasks that make it}, for those that have rows.

    A group of ours is shown as its tasks, one of lm-eval's own (mmlu, with 57 subjects) as one. A task without rows (a
    corpus without formulas has no calculations) is named and left out.
    """
    from eval.hooks import NoTestRows

    found = {}
    for name in tasks_of(names):
        try:
            found[name] = list(manager.load([name])["tasks"])
        except NoTestRows as error:
            runtime.say(f"evaluate: {name} left out, {str(error).splitlines()[0]}")
    return found


def make_lm(spec: Any, variant: Variant, models: Any, store: Any, reader: Any, data: Path) -> Any:
    """lm-eval's model that answers as a variant does."""
    from eval.versions import find_versions
    from recipes.models.lm_eval_model import make_given, make_scorer, make_stored

    if variant.replies is not None:
        return make_given(reader, variant.replies)

    @contextmanager
    def open_scorer() -> Iterator[Any]:
        around = variant.answering.around
        with models.active(variant.model) as (model, _), around(model) if around else nullcontext():
            yield make_scorer(model, reader, spec.eval.batch_size, data)

    grades = {name: find_versions(table) for name, table in tasks_of(variant.tasks).items()}
    return make_stored(
        reader, store, open_scorer, variant.answering, variant.method, spec.seed, spec.eval.batch_size, grades
    )


def evaluate_variant(spec: Any, variant: Variant, lm: Any, manager: Any, out: Path, runtime: Any) -> None:
    """Run lm-eval for one model and store its native files."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    folder = out / "lm_eval" / variant.folder
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    tracker = EvaluationTracker(output_path=str(unfinished))
    tasks = manager.load(list(variant.tasks))["tasks"]
    if variant.answering.rewrite is not None:
        for task in tasks.values():
            rewrite_prompts(task, variant.answering.rewrite)
    for name, task in tasks.items():
        limit_reply(task, spec.eval.max_new_tokens, is_published(tasks_of([name])[name]))
    # lm-eval's own tasks show the examples of their protocol where a method asks for none: MMLU-Pro and GSM8K five.
    shots = variant.answering.shots or (0 if all(tasks_of(variant.tasks).values()) else None)
    chosen = choose_items({name: len(task.eval_docs) for name, task in tasks.items()}, variant.items)
    with runtime.bar(f"evaluate {variant.name}", 0, "replies") as bar:
        lm.bar = bar
        results = simple_evaluate(
            model=lm,
            model_args={"pretrained": f"{spec.model.name.strip('./~')}-{variant.folder}"},
            tasks=list(tasks.values()),
            num_fewshot=shots,
            batch_size=spec.eval.batch_size,
            gen_kwargs=dict(variant.answering.generation) or None,
            samples=chosen,
            apply_chat_template=True,
            fewshot_as_multiturn=True,
            task_manager=manager,
            log_samples=True,
            evaluation_tracker=tracker,
            bootstrap_iters=0,
            random_seed=spec.seed,
            numpy_random_seed=spec.seed,
            torch_random_seed=spec.seed,
            fewshot_random_seed=spec.seed,
        )
    samples = results.pop("samples")
    timed = getattr(lm, "timed", None)  # replies by rule take nothing
    # Before they are saved, which changes their form.
    costs = {} if timed is None else measure_costs(samples, lm.tokenizer, variant.answering.samples, timed)
    tracker.save_results_aggregated(results=results, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    # lm-eval turns a failed write into a warning; a finished model has all its files.
    if len(list(unfinished.glob("*/results_*.json"))) != 1 or len(list(unfinished.glob("*/samples_*.jsonl"))) != len(
        samples
    ):
        raise RecipeError(
            "lm-eval could not write its results",
            where=str(unfinished),
            got=f"{len(list(unfinished.glob('*/*')))} files for {len(samples)} tasks",
            allowed="one results file and one samples file a task",
            fix="free some disk space and run the same command; finished models are kept",
        )
    (unfinished / FILE).write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")
    unfinished.rename(folder)


def limit_reply(task: Any, most: int, published: bool) -> None:
    """Let a task's replies have so many tokens; a public task that asks for more itself (IFEval 1,280) is not cut."""
    own = dict(task.get_config("generation_kwargs") or {})
    most = max(most, own.get("max_gen_toks", 0)) if published else most
    if task.OUTPUT_TYPE == "generate_until":
        task.set_config(key="generation_kwargs", value=own | {"max_gen_toks": most})


def rewrite_prompts(task: Any, rewrite: Any) -> None:
    """Let a task ask what `rewrite` makes of its prompts."""
    original = task.doc_to_text
    task.doc_to_text = lambda doc, *args: rewrite(doc, original(doc, *args))


def choose_items(sizes: dict[str, int], items: int) -> dict[str, list[int]] | None:
    """{task: places of an even choice of at most so many items}; None for all."""
    if not items:
        return None
    return {name: [n * size // min(size, items) for n in range(min(size, items))] for name, size in sizes.items()}
