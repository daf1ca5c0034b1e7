"""Ask the base and what each step made of it the same items, plainly and in other ways; score the replies with lm-eval.

generate   tasks × models × ways to answer ──► replies, kept for all runs; a model is loaded when one is missing
score      kept replies ──► lm_eval/<model>/results_*.json samples_*.jsonl ──► models.json
compare    is the report's: statistics need no model

What stands is not asked again, whatever else changes; see `recipes.models.replies`.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny

from recipes.artifacts.forecasts import Work
from recipes.artifacts.lineage import MODEL_FILES
from recipes.artifacts.memory import Need
from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests, fingerprint
from recipes.base.places import GENERAL_TEST, ROOT
from recipes.base.table import Table, runtime_field
from recipes.config import validate
from recipes.config.conflicts import Conflict, Scope
from recipes.config.request_counts import (
    ROLES,
    files_of_sets,
    files_of_tasks,
    find_published,
    given_of,
    replies_to,
    role_of,
    tasks_of,
)
from recipes.config.schema import Names
from recipes.config.slots import Method, many_of, module_of, name_of
from recipes.config.validate import nearest
from recipes.models.answering import AnsweringContext
from recipes.models.costs import read_cost
from recipes.models.probes import list_probes
from recipes.models.variants import (
    Variant,
    answer_roughly,
    chosen_tasks,
    find_parent,
    find_results,
    list_tuned,
    plan_variants,
)

VERSION = 7
PLACE = 90
TABLE = "eval"  # of the recipe
LEAVES = "scores"
CHATS = True  # its base is asked in chat turns
ALWAYS = True  # part of every recipe
TASKS = ROOT / "eval" / "tasks"
REQUEST_TOKENS, SHOT_TOKENS = 200, 150  # prompt and reply, and an example, with padding: guesses until a run is known


class Config(Table):
    """What is measured, and the statistics of the verdict."""

    tasks: Names = Field(min_length=1, description="lm-eval tasks of the recipe's own field")
    general: Names = Field(default=(), description="lm-eval tasks of general ability, for retention")
    batch_size: int = runtime_field(64, "prompts per generation call", ge=1)
    max_new_tokens: int = Field(
        default=160, ge=1, description="tokens; a public task whose own limit is larger keeps it"
    )
    published: dict[Literal["amsbench", "benchmarks", "sciriff"], str] = runtime_field(
        {}, "files or folders of public benchmarks by metadata key (eval/hooks.py); others are fetched from the hub"
    )
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
    rows = ["test.jsonl", "sft.jsonl", "rules.jsonl"]
    for own in spec.eval.infer.values():
        rows += [name for name in getattr(module_of(own), "READS", ()) if name not in rows]
    return {"rows": rows, "models": MODEL_FILES, "reranker": ["reranker/*"]}


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
    found |= {f"published {key}": files_of(Path(path)) for key, path in find_published(spec.eval).items()}
    if sets := files_of_sets(tables.values(), find_published(spec.eval).get("benchmarks", "")):
        found["sets"] = sets
    if any(given_of(table)["source"] == "general" for table in tables.values()):
        found["general test"] = {GENERAL_TEST.name: GENERAL_TEST}
    return found


def files_of(path: Path) -> dict[str, Path]:
    """{name: file} of a file, or of the JSON files of a folder."""
    return {path.name: path} if path.is_file() else {file.name: file for file in sorted(path.glob("*.json*"))}


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


def describe_need(own: Config, adapter: Method) -> Need:
    """A batch of prompts that is answered; nothing learns."""
    each = REQUEST_TOKENS + own.max_new_tokens
    return Need(
        cached=own.batch_size * each,
        read=own.batch_size * REQUEST_TOKENS,
        smaller="batch_size=1",
        least=each,
    )


def run(spec: Any, inputs: Mapping[str, Path], out: Path, runtime: Any) -> dict[str, Any]:
    """Evaluate every model there is.

    Raises:
        RecipeError: lm-eval could not write its files, or no task has rows.
    """
    from lm_eval.tasks import TaskManager

    from recipes.models import vision
    from recipes.models.lm_eval_run import available, evaluate_variant, make_lm
    from recipes.models.model_set import BASE, ModelSet
    from recipes.models.probes import find_probe_texts, measure_model
    from recipes.models.replies import ReplyStore
    from recipes.models.training import read_rows

    data = inputs["data"]
    rows = read_rows(data / "test.jsonl")
    own = all(tasks_of((*spec.eval.tasks, *spec.eval.general)).values())
    metadata = {"data": str(data.resolve())} | find_published(spec.eval)
    # lm-eval's own tasks take ten seconds to index; they are looked at only where one is named.
    manager = TaskManager(include_path=str(TASKS), include_defaults=not own, metadata=metadata)
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
                "cost": read_cost(out, v),
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
