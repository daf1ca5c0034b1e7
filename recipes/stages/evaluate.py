"""Ask the base and what each step made of it the same items, plainly and in other ways; score the replies with lm-eval.

generate   tasks × models × ways to answer ──► replies, kept for all runs; a model is loaded when one is missing
score      kept replies ──► lm_eval/<model>/results_*.json samples_*.jsonl ──► models.json
compare    is the report's: statistics need no model

What stands is not asked again, whatever else changes; see `recipes.models.replies`.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES, list_models
from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests, fingerprint
from recipes.base.jsonl import read_jsonl
from recipes.base.places import GENERAL_TEST, GENERAL_TRAIN, ROOT
from recipes.base.table import Table, runtime_field
from recipes.config import validate
from recipes.config.conflicts import Conflict, Scope
from recipes.config.request_counts import ROLES, files_of_tasks, given_of, replies_to, role_of, tasks_of
from recipes.config.schema import Model, Names, model_folder
from recipes.config.slots import Method, load, many_of, module_of, name_of, outside
from recipes.config.validate import nearest
from recipes.models.answering import Answering, AnsweringContext

VERSION = 6
PLACE = 90
TABLE = "eval"  # of the recipe
LEAVES = "scores"
ALWAYS = True  # part of every recipe
TASKS = ROOT / "eval" / "tasks"
PROBES = ("drift", "routing")  # of a recipe that names none
REQUEST_TOKENS, SHOT_TOKENS = 200, 150  # prompt and reply, and an example, with padding: guesses until a run is known


class Config(Table):
    """What is measured, and the statistics of the verdict."""

    tasks: Names = Field(min_length=1, description="lm-eval tasks of the recipe's own field")
    general: Names = Field((), description="lm-eval tasks of general ability, for retention")
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
    """Tasks that there are, each once, of a known role; ways to answer for models and tasks that there are."""
    for key in ("tasks", "general"):
        names = getattr(own, key)
        for number, name in enumerate(names):
            if name not in validate.known_tasks():
                allowed = ", ".join(sorted(validate.known_tasks()))
                fix = nearest(name, validate.known_tasks())
                yield scope.conflict(key, f"no task {name!r} under eval/tasks", allowed, name, fix)
            if name in names[:number]:
                yield scope.conflict(key, f"task {name!r} is listed twice", "each task once", name)
    for name in dict.fromkeys(own.general):
        if name in own.tasks:
            instead = "a task measures the recipe's field or retention, not both"
            yield scope.conflict("general", f"task {name!r} is in tasks too", instead, name)
    for name, table in tasks_of(own.tasks).items():
        if role_of(table) not in ROLES:
            instead = ", ".join(ROLES)
            yield scope.conflict("tasks", f"task {name!r} declares an unknown role", instead, role_of(table))
    models = ["base", *(step.name for step in scope.before if getattr(step.module, "LEAVES", "") == "model")]
    for label, method in own.infer.items():
        for key, known in (("models", models), ("tasks", list(tasks_of(own.tasks)))):
            for name in getattr(method, key):
                if name not in known:
                    reason = f"no {key.removesuffix('s')} {name!r} is evaluated"
                    yield scope.conflict(f"infer.{label}.{key}", reason, ", ".join(known), name, nearest(name, known))


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"rows": ["test.jsonl", "sft.jsonl", "rules.jsonl"], "models": MODEL_FILES, "reranker": ["reranker/*"]}


def find_inputs(spec: Any) -> dict[str, dict[str, Path] | str]:
    """What else decides the scores: the YAML files of the tasks that are asked, and the declared versions of the
    graders and benchmarks that they use; not the bytes of any code."""
    from eval.versions import find_versions

    names = (*spec.eval.tasks, *spec.eval.general)
    tables = tasks_of(names)
    versions = {name: number for table in tables.values() for name, number in find_versions(table).items()}
    versions |= {f"probe {name_of(probe)}": module_of(probe).VERSION for probe in list_probes(spec.eval).values()}
    found: dict[str, dict[str, Path] | str] = {
        "tasks": files_of_tasks(names),
        "graders": ", ".join(f"{name} {number}" for name, number in sorted(versions.items())),
        "lm-eval": version("lm_eval"),
    }
    if any(given_of(table)["source"] == "general" for table in tables.values()):
        found["general test"] = {GENERAL_TEST.name: GENERAL_TEST}
    return found


def list_probes(own: Config) -> dict[str, Method]:
    """{label: table} of the probes of a recipe."""
    return own.probe or {name: load("probe", name).Config(use=name) for name in PROBES}


def forecast(spec: Any, counts: dict[str, Any], runs: Path) -> Work:
    """`counts["models"]` names the models that are asked. Replies by rule are no work, and not counted; replies that
    are kept from an earlier evaluation are."""
    asked, unknown = replies_to((*spec.eval.tasks, *spec.eval.general), counts)
    roles = {task: role_of(table) for task, table in tasks_of(spec.eval.tasks).items()}
    general = tasks_of(spec.eval.general)
    requests = sum(asked[task] for task in (*roles, *general)) * (1 + len(counts["models"]))
    shots = 0
    for own in spec.eval.infer.values():
        answering = answer_roughly(own)
        sizes = [asked[task] for task in chosen_tasks(own, roles)]
        items = sum(min(size, own.items or size) for size in sizes) * len(own.models or counts["models"])
        requests += items * answering.samples
        shots += items * answering.shots
    return Work(
        rows=requests,
        steps=-(-requests // spec.eval.batch_size),
        tokens=requests * REQUEST_TOKENS + shots * SHOT_TOKENS,
        notes=f"{requests} replies" + (f", without those to {len(unknown)} tasks of unknown size" if unknown else ""),
    )


def answer_roughly(own: Method) -> Answering:
    """Samples and examples of a way to answer, by the keys of its table, before there is anything to answer with."""
    return Answering(shots=getattr(own, "shots", 0), samples=getattr(own, "samples", 1))


def chosen_tasks(own: Any, roles: dict[str, str]) -> list[str]:
    """The tasks that are answered in a way: those that its table names, else those of the roles that it is for."""
    wanted = getattr(module_of(own), "ROLES", ("field",))
    return list(own.tasks) or [task for task, role in roles.items() if role in wanted]


@dataclass(frozen=True)
class Variant:
    """A model answering in one way.

    Attributes:
        name: "base", a step, or "MODEL · LABEL" with the label of a way to answer.
        model: "base", "rules" or the step that left the model.
        tasks: lm-eval's names.
        label, own: of the way to answer; "" and None for plain answers.
        items: of a task, evenly chosen, at most; 0: all.
        replies: by rule, for the model "rules".
    """

    name: str
    model: str
    tasks: tuple[str, ...]
    label: str = ""
    own: Any = None
    answering: Answering = field(default_factory=Answering)
    items: int = 0
    replies: dict[str, str] | None = None

    @property
    def folder(self) -> str:
        """Of its results, below lm_eval/."""
        return f"{self.model}.{self.label}" if self.label else self.model

    @property
    def method(self) -> Any:
        """What the way to answer is, but for whom and what it is asked; None for plain answers."""
        if self.own is None:
            return None
        settings = self.own.model_dump(mode="json", exclude={"models", "tasks", "items", "use"})
        file = outside(self.own)
        code = fingerprint(file.read_text(encoding="utf-8")) if file else ""
        return [name_of(self.own), module_of(self.own).VERSION, settings, code]


def run(spec: Any, inputs: Mapping[str, Path], out: Path, runtime: Any) -> dict[str, Any]:
    """Evaluate every model there is.

    Raises:
        RecipeError: lm-eval could not write its files, or no task has rows.
    """
    from lm_eval.tasks import TaskManager

    from recipes.models import vision
    from recipes.models.model_set import BASE, ModelSet
    from recipes.models.replies import ReplyStore
    from recipes.models.training import read_rows

    data = inputs["data"]
    rows = read_rows(data / "test.jsonl")
    own = all(tasks_of((*spec.eval.tasks, *spec.eval.general)).values())
    # lm-eval's own tasks take ten seconds to index; they are looked at only where one is named.
    manager = TaskManager(include_path=str(TASKS), include_defaults=not own, metadata={"data": str(data.resolve())})
    own_tasks = available(manager, spec.eval.tasks, runtime)
    general = available(manager, spec.eval.general, runtime)
    roles = {name: role_of(table) for name, table in tasks_of(spec.eval.tasks).items() if name in own_tasks}
    if "field" not in roles.values():
        raise RecipeError(
            "there is nothing to evaluate",
            where="eval.tasks",
            got=f"no row in {data / 'test.jsonl'} for {', '.join(spec.eval.tasks)}",
            allowed="at least one task that has rows",
            fix="name a task of the kinds that the builder makes, or ask the builder for more test items",
        )
    learnt = read_rows(data / "sft.jsonl") if list_tuned(inputs) and (data / "sft.jsonl").is_file() else []
    if warning := too_short(spec, learnt):
        runtime.say(f"evaluate: {warning}")
    home = runtime.runs or out
    digests = Digests(home / ".digests.json")
    models = ModelSet(spec.model, inputs, list_tuned(inputs), digests)
    reader = vision.load_reader(spec.model, rows)
    context = AnsweringContext(spec.model, inputs, spec.seed, lambda folder: fingerprint(digests.tree(folder)))
    variants = plan_variants(spec, inputs, manager, own_tasks, general, context)
    if vision.shown(rows) and any(variant.answering.shots for variant in variants):
        runtime.say("evaluate: few-shot left out, its examples would have no images")
        variants = [variant for variant in variants if not variant.answering.shots]
    counts = {"tokens": 0, "asked": 0, "kept": 0}
    for variant in variants:
        if find_results(out, variant) is None:
            store = None if variant.model == "rules" else ReplyStore(home, models.describe(variant.model))
            lm = make_lm(spec, variant, models, store, reader, data)
            evaluate_variant(spec, variant, lm, manager, out, runtime)
            counts = {key: count + getattr(lm, key) for key, count in counts.items()}
    texts = find_probe_texts(spec, data, rows, runtime)
    measured = {name: measure_model(spec, name, models, home, reader, texts, runtime) for name in list_tuned(inputs)}
    lines = getattr(inputs, "lines", {})
    asked = [BASE, *list_tuned(inputs)]
    index = {
        "models": [
            {
                "name": v.name,
                "model": v.model,
                "method": v.label,
                "num_fewshot": v.answering.shots,
                "described": v.answering.described,
                "from": find_parent(v.model, asked, lines),
                "dir": find_results(out, v).parent.relative_to(out).as_posix(),
            }
            for v in variants
        ],
        "prompt": reader.chat_template,  # so that the report shows how they were asked
        "decoding": describe_decoding(spec, variants),
        "tasks": {name: {"kind": roles[name], "of": parts} for name, parts in own_tasks.items()}
        | {name: {"kind": "general", "of": parts} for name, parts in general.items()},
        "probes": {
            label: {
                "logs": {key: list(about) for key, about in module_of(probe).LOGS.items()},
                "values": {name: found[label] for name, found in measured.items() if found.get(label)},
            }
            for label, probe in list_probes(spec.eval).items()
        },
    }
    (out / "models.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    scores = {
        v.name: {
            task: round(result["acc,none"], 4)
            for task, result in json.loads(find_results(out, v).read_text(encoding="utf-8"))["results"].items()
            if "acc,none" in result
        }
        for v in variants
    }
    return {"tokens": counts["tokens"], "asked": counts["asked"], "kept": counts["kept"]} | {
        "models": len(variants),
        "scores": scores,
    }


def describe_decoding(spec: Any, variants: list[Variant]) -> str:
    """How replies were made, in words."""
    plain = f"greedy, at most {spec.eval.max_new_tokens} new tokens"
    return "; ".join(dict.fromkeys([plain, *(f"{v.label}: {v.answering.described}" for v in variants if v.label)]))


def too_short(spec: Any, learnt: list[dict[str, Any]]) -> str | None:
    """A warning where more than one in twenty of the replies that were learnt are longer than a reply may be: a model
    that learnt them is cut off before its answer."""
    from recipes.models import loader

    tokenizer, most = loader.load_tokenizer(spec.model), spec.eval.max_new_tokens
    replies = [row["completion"][-1]["content"] for row in learnt]
    if not replies:
        return None
    lengths = sorted(len(ids) for ids in tokenizer(replies, add_special_tokens=False)["input_ids"])
    longer = sum(length > most for length in lengths)
    if longer <= len(lengths) / 20:
        return None
    return (
        f"{longer} of {len(lengths)} replies that were trained on are longer than eval.max_new_tokens = {most}, so the "
        f"tuned model is cut off before its answer; --set eval.max_new_tokens={lengths[19 * len(lengths) // 20] + 1} "
        "lets 19 of 20 of them end"
    )


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


def list_tuned(inputs: Mapping[str, Path]) -> list[str]:
    """Names of the inputs that hold a model to be asked, in their order."""
    models = list_models(inputs)
    asked = getattr(inputs, "asked", ())
    return [name for name in models if not asked or name in asked]


def find_parent(name: str, asked: list[str], lines: Mapping[str, tuple[str, ...]]) -> str:
    """The model that one was made from, among those that are asked; "" for the base and for rules."""
    if name not in asked[1:]:
        return ""
    before = lines[name][:-1] if name in lines else tuple(asked[1 : asked.index(name)])
    return next((one for one in reversed(before) if one in asked), asked[0])


def plan_variants(
    spec: Any,
    inputs: Mapping[str, Path],
    manager: Any,
    own_tasks: dict[str, list[str]],
    general: dict[str, list[str]],
    context: AnsweringContext,
) -> list[Variant]:
    """Which models are asked what: all of them plainly, each in the ways that are meant for it; then rules.

    Where the builder left replies by rule, these are scored as one more model on the tasks that they answer whole.

    Args:
        own_tasks, general: task as the report shows it -> lm-eval's tasks that make it.
    """
    roles = {name: role_of(table) for name, table in tasks_of(spec.eval.tasks).items() if name in own_tasks}
    own, others = ([task for parts in shown.values() for task in parts] for shown in (own_tasks, general))
    tuned = list_tuned(inputs)
    ways = {label: module_of(way).answer(way, context) for label, way in spec.eval.infer.items()}
    variants = []
    for model in ("base", *tuned):
        variants.append(Variant(model, model, (*own, *others)))
        for label, way in spec.eval.infer.items():
            shown = [name for name in chosen_tasks(way, roles) if name in own_tasks]
            if model in (way.models or tuned) and shown:
                parts = tuple(part for name in shown for part in own_tasks[name])
                variants.append(Variant(f"{model} · {label}", model, parts, label, way, ways[label], way.items))
    replies = read_rules(inputs["data"])
    if ruled := find_ruled_tasks(manager, own, replies):
        variants.append(Variant("rules", "rules", tuple(ruled), replies=replies))
    return variants


def read_rules(data: Path) -> dict[str, str]:
    """{id of a test row: reply} that the builder's rules gave without a language model; empty where it has none."""
    file = data / "rules.jsonl"
    return {row["id"]: row["reply"] for row in read_jsonl(file)} if file.is_file() else {}


def find_ruled_tasks(manager: Any, names: list[str], replies: dict[str, str]) -> list[str]:
    """The tasks of whose documents every one has a reply."""
    if not replies:
        return []
    tasks = {name: manager.load([name])["tasks"][name] for name in names}
    return [name for name, task in tasks.items() if all(doc.get("id") in replies for doc in task.test_docs())]


def find_results(out: Path, variant: Variant) -> Path | None:
    """The results that lm-eval wrote for a variant."""
    found = sorted((out / "lm_eval" / variant.folder).glob("*/results_*.json"))
    return found[-1] if found else None


def make_lm(spec: Any, variant: Variant, models: Any, store: Any, reader: Any, data: Path) -> Any:
    """lm-eval's model that answers as a variant does."""
    from contextlib import nullcontext

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
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    folder = out / "lm_eval" / variant.folder
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    tracker = EvaluationTracker(output_path=str(unfinished))
    tasks = manager.load(list(variant.tasks))["tasks"]
    if variant.answering.rewrite is not None:
        for task in tasks.values():
            rewrite_prompts(task, variant.answering.rewrite)
    chosen = choose_items({name: len(task.eval_docs) for name, task in tasks.items()}, variant.items)
    with runtime.bar(f"evaluate {variant.name}", 0, "replies") as bar:
        lm.bar = bar
        results = simple_evaluate(
            model=lm,
            model_args={"pretrained": f"{spec.model.name.strip('./~')}-{variant.folder}"},
            tasks=list(tasks.values()),
            num_fewshot=variant.answering.shots,
            batch_size=spec.eval.batch_size,
            gen_kwargs={"max_gen_toks": spec.eval.max_new_tokens} | variant.answering.generation,
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


def rewrite_prompts(task: Any, rewrite: Any) -> None:
    """Let a task ask what `rewrite` makes of its prompts."""
    original = task.doc_to_text
    task.doc_to_text = lambda doc, *args: rewrite(doc, original(doc, *args))


def choose_items(sizes: dict[str, int], items: int) -> dict[str, list[int]] | None:
    """{task: places of an even choice of at most so many items}; None for all."""
    if not items:
        return None
    return {name: [n * size // min(size, items) for n in range(min(size, items))] for name, size in sizes.items()}


def find_probe_texts(
    spec: Any, data: Path, rows: list[dict[str, Any]], runtime: Any
) -> dict[str, list[dict[str, Any]]]:
    """{kind of text: rows with prompt and gold reply} on which models are measured.

    "general" are rows that the base may be expected to know: of the embedded base this repository's general test, of
    another the recipe's own general tasks where they are rows of its test. It is left out where neither is there.
    """
    kinds = {given_of(table).get("kind") for table in tasks_of(spec.eval.general).values() if is_own(table)}
    if is_embedded(spec.model):
        general = read_jsonl(GENERAL_TEST)
    else:
        general = [row for row in rows if row["kind"] in kinds]
    if not general:
        runtime.say("evaluate: drift on general text left out, no general task has its rows in this repository")
    own = [row for row in rows if row["kind"] not in kinds]
    return {"field": own, "general": general} if general else {"field": own}


def is_own(table: dict[str, Any]) -> bool:
    """Whether a task asks rows of the recipe's own test."""
    return given_of(table)["source"] == "recipe"


def is_embedded(model: Model) -> bool:
    """Whether a base is the embedded one, or a folder that was built as it was: its general rows lie beside it."""
    folder = model_folder(model.name)
    return folder is not None and (folder / GENERAL_TRAIN.name).is_file()


def measure_model(
    spec: Any,
    name: str,
    models: Any,
    home: Path,
    reader: Any,
    texts: dict[str, list[dict[str, Any]]],
    runtime: Any,
) -> dict[str, dict[str, Any]]:
    """{label of a probe: what it measured} of one model; what was measured before is not measured again."""
    from recipes.models.probe_context import ProbeContext
    from recipes.models.replies import ReplyStore

    store = ReplyStore(home, models.describe(name))
    base = models.describe("base")
    asked = fingerprint({kind: [[row["prompt"], row["reply"]] for row in rows] for kind, rows in texts.items()})
    found = {}
    for label, probe in list_probes(spec.eval).items():
        file = outside(probe)
        code = fingerprint(file.read_text(encoding="utf-8")) if file else ""
        about = [module_of(probe).VERSION, probe.model_dump(mode="json", exclude={"use"}), code, base, asked]
        _, values = store.find_measures(name_of(probe), about)
        if values is None:
            with models.active(name) as (model, frozen):
                values = module_of(probe).measure(probe, ProbeContext(model, frozen, reader, texts, name))
            store.keep_measures(name_of(probe), about, values)
        found[label] = values
    return found


def pilot(spec: Any, inputs: Mapping[str, Path], runtime: Any) -> float:
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
