"""Score the base, the few-shot base and what each training stage left on identical prompts, with lm-eval as a library.

test.jsonl ──► lm-eval tasks ──► one loaded model, adapters switched
           ──► lm_eval/<model>/results_*.json samples_*.jsonl ──► models.json
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, list_models, start
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.base.table import Table, runtime_field
from recipes.config.conflicts import Conflict, Scope
from recipes.config.request_counts import replies_to, tasks_of
from recipes.config.schema import Names
from recipes.config.slots import Method, many_of
from recipes.config.validate import known_tasks, nearest

VERSION = 5
PLACE = 90
TABLE = "eval"  # of the recipe
LEAVES = "scores"
ALWAYS = True  # part of every recipe
TASKS = ROOT / "eval" / "tasks"
REQUEST_TOKENS, SHOT_TOKENS = 200, 150  # prompt and reply, and an example, with padding: guesses until a run is known


class Config(Table):
    """What is measured, and the statistics of the verdict."""

    tasks: Names = Field(min_length=1, description="lm-eval tasks of the recipe's own field")
    general: Names = Field((), description="lm-eval tasks of general ability, for retention")
    fewshot: int = Field(4, ge=0, description="examples for the few-shot base; 0 leaves that model out")
    batch_size: int = runtime_field(64, "prompts per generation call", ge=1)
    max_new_tokens: int = Field(160, ge=1, description="tokens")
    alpha: float = runtime_field(0.05, "error level of the tests, after Holm", gt=0, lt=1)
    margin: float = runtime_field(0.05, "non-inferiority margin of retention, a share of 1", gt=0, lt=1)
    infer: dict[str, SerializeAsAny[Method]] = many_of("infer")
    probe: dict[str, SerializeAsAny[Method]] = many_of("probe")


CONFLICTS = [
    ('eval.tasks=["no_such_task"]', "eval.tasks"),
    ('eval.tasks=["analogseeker_knowledge","analogseeker_knowledge"]', "eval.tasks"),
    ('eval.general=["analogseeker_knowledge"]', "eval.general"),
]


def find_conflicts(own: Config, scope: Scope) -> Iterator[Conflict]:
    """Tasks that there are, each once."""
    for key in ("tasks", "general"):
        names = getattr(own, key)
        for number, name in enumerate(names):
            if name not in known_tasks():
                allowed = ", ".join(sorted(known_tasks()))
                fix = nearest(name, known_tasks())
                yield scope.conflict(key, f"no task {name!r} under eval/tasks", allowed, name, fix)
            if name in names[:number]:
                yield scope.conflict(key, f"task {name!r} is listed twice", "each task once", name)
    for name in dict.fromkeys(own.general):
        if name in own.tasks:
            instead = "a task measures the recipe's field or retention, not both"
            yield scope.conflict("general", f"task {name!r} is in tasks too", instead, name)


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"rows": ["test.jsonl", "sft.jsonl", "rules.jsonl"], "models": MODEL_FILES, "reranker": ["reranker/*"]}


def forecast(spec, counts: dict, runs: Path) -> Work:
    """`counts["models"]` names the models that are asked. Replies by rule are no work, and not counted."""
    asked, unknown = replies_to((*spec.eval.tasks, *spec.eval.general), counts)
    own, models, shots = tasks_of(spec.eval.tasks), counts["models"], spec.eval.fewshot
    sampled = sum(asked[task] for task in own if kind_of(task) == "sampled")
    greedy = sum(asked[task] for task in own) - sampled
    general = sum(asked[task] for task in tasks_of(spec.eval.general))
    requests = (greedy + general) * (1 + len(models)) + sampled * len(models) + greedy * (shots > 0)
    return Work(
        rows=requests,
        steps=-(-requests // spec.eval.batch_size),
        tokens=requests * REQUEST_TOKENS + greedy * shots * SHOT_TOKENS,
        notes=f"{requests} replies" + (f", without those to {len(unknown)} tasks of unknown size" if unknown else ""),
    )


def run(spec, inputs: dict[str, Path], out: Path, runtime) -> dict:
    """Evaluate every model there is; a model whose results are already in `out` is not asked again.

    Raises:
        RecipeError: lm-eval could not write its files, or no task has rows.
    """
    from lm_eval.tasks import TaskManager

    from recipes.models import vision
    from recipes.models.training import read_rows

    rows = read_rows(inputs["data"] / "test.jsonl")
    if spec.eval.fewshot and vision.shown(rows):
        runtime.say("evaluate: few-shot left out, its examples would have no images")
        spec = spec.model_copy(update={"eval": spec.eval.model_copy(update={"fewshot": 0})})
    own = all(tasks_of((*spec.eval.tasks, *spec.eval.general)).values())
    # lm-eval's own tasks take ten seconds to index; they are looked at only where one is named.
    manager = TaskManager(
        include_path=str(TASKS), include_defaults=not own, metadata={"data": str(inputs["data"].resolve())}
    )
    domain = available(manager, spec.eval.tasks, runtime)
    general = available(manager, spec.eval.general, runtime)
    if not any(kind_of(task) == "domain" for task in domain):
        raise RecipeError(
            "there is nothing to evaluate",
            where="eval.tasks",
            got=f"no row in {inputs['data'] / 'test.jsonl'} for {', '.join(spec.eval.tasks)}",
            allowed="at least one task that has rows",
            fix="name a task of the kinds that the builder makes, or ask the builder for more test items",
        )
    if "sft" in inputs and (warning := too_short(spec, read_rows(inputs["data"] / "sft.jsonl"))):
        runtime.say(f"evaluate: {warning}")
    judge, asked = None, tuned(inputs)
    if any(name.endswith("_rerank") for name in domain):
        from recipes.models import loader, reranker

        judge = reranker.load_reranker(spec.model, inputs)
    variants = plan_variants(spec, inputs, manager, domain, general)
    tokens = 0
    for variant, scorer, base in loaded(spec, variants, inputs, out):
        if variant["stage"] in asked:
            watch(spec, variant, scorer, base, inputs["data"], out)
        if judge is not None and "generate_until" not in vars(scorer):  # one scorer serves several variants
            reranker.picking(scorer, judge, loader.load_tokenizer(spec.model))
        tokens += evaluate_variant(spec, variant, scorer, manager, out, runtime)
    index = {
        "models": [
            {key: v[key] for key in ("name", "stage", "num_fewshot")}
            | {"dir": str(results_file(out, v).parent.relative_to(out))}
            for v in variants
        ],
        "prompt": vision.load_reader(spec.model, rows).chat_template,  # so that the report shows how they were asked
        "decoding": f"greedy, at most {spec.eval.max_new_tokens} new tokens; "
        "tasks named _sampled, _vote, _rerank: temperature 1",
        "tasks": {name: {"kind": kind_of(name), "of": parts} for name, parts in domain.items()}
        | {name: {"kind": "general", "of": parts} for name, parts in general.items()},
        "observed": {
            v["name"]: json.loads(observed_file(out, v).read_text(encoding="utf-8"))
            for v in variants
            if v["stage"] in asked
        },
    }
    (out / "models.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    scores = {
        v["name"]: {
            task: round(result["acc,none"], 4)
            for task, result in json.loads(results_file(out, v).read_text(encoding="utf-8"))["results"].items()
            if "acc,none" in result
        }
        for v in variants
    }
    return {"tokens": tokens, "models": len(variants), "scores": scores}


def too_short(spec, learnt: list[dict]) -> str | None:
    """A warning where more than one in twenty of the replies that were learnt are longer than a reply may be: a model
    that learnt them is cut off before its answer."""
    from recipes.models import loader

    tokenizer, most = loader.load_tokenizer(spec.model), spec.eval.max_new_tokens
    replies = [row["completion"][-1]["content"] for row in learnt]
    lengths = sorted(len(ids) for ids in tokenizer(replies, add_special_tokens=False)["input_ids"])
    longer = sum(length > most for length in lengths)
    if longer <= len(lengths) / 20:
        return None
    return (
        f"{longer} of {len(lengths)} replies that were trained on are longer than eval.max_new_tokens = {most}, so the "
        f"tuned model is cut off before its answer; --set eval.max_new_tokens={lengths[19 * len(lengths) // 20] + 1} "
        "lets 19 of 20 of them end"
    )


def available(manager, names, runtime) -> dict[str, list[str]]:
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


def kind_of(task: str) -> str:
    """How the report treats a task of the recipe's field.

    Sampled, format and control scores stand beside the verdict, not in it; a vote is taken over sampled replies, and a
    reranker picks from them.
    """
    if task.endswith(("_vote", "_rerank")):
        return "sampled"
    return next((kind for kind in ("sampled", "format", "control") if task.endswith(f"_{kind}")), "domain")


def plan_variants(spec, inputs: dict[str, Path], manager, domain: dict, general: dict) -> list[dict]:
    """Which models are asked what: base, few-shot base (own field only), then what each stage left (sampled too).

    Where the builder left replies by rule, these are scored as one more model on the tasks that they answer whole.
    """
    greedy = [task for name, parts in domain.items() if kind_of(name) != "sampled" for task in parts]
    own, others = ([task for parts in shown.values() for task in parts] for shown in (domain, general))
    variants = [{"name": "base", "stage": "base", "num_fewshot": 0, "tasks": greedy + others}]
    if spec.eval.fewshot:
        variants.append({"name": "few-shot", "stage": "base", "num_fewshot": spec.eval.fewshot, "tasks": greedy})
    variants += [{"name": stage, "stage": stage, "num_fewshot": 0, "tasks": own + others} for stage in tuned(inputs)]
    if ruled := ruled_tasks(manager, greedy, rules(inputs["data"])):
        variants.append({"name": "rules", "stage": "rules", "num_fewshot": 0, "tasks": ruled})
    for variant in variants:
        variant["model"] = f"{spec.model.name.strip('./~')}-{variant['name']}"
    return variants


def tuned(inputs: Mapping[str, Path]) -> list[str]:
    """Names of the inputs that hold a model to be asked, in their order."""
    models = list_models(inputs)
    asked = getattr(inputs, "asked", ())
    return [name for name in models if not asked or name in asked]


def rules(data: Path) -> dict[str, str]:
    """{id of a test row: reply} that the builder's rules gave without a language model; empty where it has none."""
    from recipes.models.training import read_rows

    file = data / "rules.jsonl"
    return {row["id"]: row["reply"] for row in read_rows(file)} if file.is_file() else {}


def ruled_tasks(manager, names: list[str], replies: dict[str, str]) -> list[str]:
    """The tasks of whose documents every one has a reply."""
    if not replies:
        return []
    tasks = {name: manager.load([name])["tasks"][name] for name in names}
    return [name for name, task in tasks.items() if all(doc.get("id") in replies for doc in task.test_docs())]


def observed_file(out: Path, variant: dict) -> Path:
    return out / f"observed_{variant['name']}.json"


def watch(spec, variant: dict, scorer, base, data: Path, out: Path) -> None:
    """Write how far the model drifted from the base on the gold replies of the test and of this repository's general
    test, and how its routers work where it has some."""
    from recipes.base.places import GENERAL_TEST
    from recipes.methods.probe.observe import observe
    from recipes.models.training import read_rows

    texts = {"domain": read_rows(data / "test.jsonl"), "general": read_rows(GENERAL_TEST)}
    found = observe(scorer.model, getattr(scorer, "processor", scorer.tokenizer), texts, base)
    observed_file(out, variant).write_text(json.dumps(found) + "\n", encoding="utf-8")


def results_file(out: Path, variant: dict) -> Path | None:
    found = sorted((out / "lm_eval" / variant["name"]).glob("*/results_*.json"))
    return found[-1] if found else None


def loaded(spec, variants: list[dict], inputs: dict[str, Path], out: Path):
    """(variant, lm-eval model ready to answer as that variant, the base beside it or None where it is the model with
    its adapter off) for each variant that is still to be asked.

    Adapters of the base sit on it and are switched; models whose every weight was trained are loaded one at a time.
    """
    from recipes.models import loader
    from recipes.models.lm_eval_model import make_scorer
    from recipes.models.training import read_rows
    from recipes.models.vision import load_reader

    todo = [v for v in variants if results_file(out, v) is None]
    if not todo:
        return
    data = inputs["data"]
    reader = load_reader(spec.model, read_rows(data / "test.jsonl"))
    reached = {name: start(spec.model, inputs, name) for name in tuned(inputs)}
    adapters = {stage: adapter for stage, (whole, adapter) in reached.items() if whole == spec.model}
    base = loader.load_base(spec.model)
    model = loader.load_adapters(base, adapters) if adapters else base
    scorer = make_scorer(model.eval(), reader, spec.eval.batch_size, data)
    for variant in todo:
        if variant["stage"] in adapters:
            model.set_adapter(variant["stage"])
            yield variant, scorer, None
        elif variant["stage"] == "rules":
            yield variant, make_scorer(base, reader, spec.eval.batch_size, replies=rules(data)), None
        elif variant["stage"] == "base":
            with model.disable_adapter() if adapters else nullcontext():
                yield variant, scorer, None
        else:
            trained = loader.load_reached(*reached[variant["stage"]])
            yield variant, make_scorer(trained.eval(), reader, spec.eval.batch_size, data), base


def evaluate_variant(spec, variant: dict, scorer, manager, out: Path, runtime) -> int:
    """Run lm-eval for one model and store its native files; tokens read and written."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    folder = out / "lm_eval" / variant["name"]
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    tracker = EvaluationTracker(output_path=str(unfinished))
    with runtime.bar(f"evaluate {variant['name']}", 0, "replies") as bar:
        scorer.bar, scorer.tokens = bar, 0
        results = simple_evaluate(
            model=scorer,
            model_args={"pretrained": variant["model"]},
            tasks=variant["tasks"],
            num_fewshot=variant["num_fewshot"],
            batch_size=spec.eval.batch_size,
            gen_kwargs={"max_gen_toks": spec.eval.max_new_tokens},
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
    unfinished.rename(folder)
    return scorer.tokens


def pilot(spec, inputs: dict[str, Path], runtime) -> float:
    """Tokens per second read and written by the base model here, over one batch of the test's prompts."""
    import time

    from recipes.models import loader, vision
    from recipes.models.training import read_rows

    rows = [{"prompt": [{"role": "user", "content": "How far is it from here to there? " * 8}]}] * spec.eval.batch_size
    if "data" in inputs:
        rows = read_rows(inputs["data"] / "test.jsonl")[: spec.eval.batch_size]
    model = loader.load_base(spec.model).eval()
    batch = vision.prompts_of(vision.load_reader(spec.model, rows), rows, model)
    model.generate(**batch, max_new_tokens=2, do_sample=False)  # the first call of a process sets up kernels
    began = time.monotonic()
    replies = model.generate(**batch, max_new_tokens=64, min_new_tokens=64, do_sample=False)
    return replies.numel() / (time.monotonic() - began)
