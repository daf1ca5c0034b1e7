"""The one wire from a recipe to its report, and what keeps its results: nothing is made twice, nothing made is lost.

data ─► rows ─► cpt ─► sft ─► rl, rerank ─► evaluate ─► report

A recipe has data, evaluate and report, and the others where it has their tables; or `[NAME.steps]` lists them, and what
each of them starts from.
"""

import json
import math
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.artifacts import forecasts, provenance, store
from recipes.artifacts.architecture import read_architecture
from recipes.artifacts.machine import Machine, find_machine
from recipes.artifacts.memory import estimate_recipe
from recipes.artifacts.speed import Pace, read_speed
from recipes.artifacts.steps import Prepared, key_of, leaves, prepare
from recipes.base import cpu
from recipes.base.durations import format_duration
from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests, fingerprint
from recipes.base.imports import find_code
from recipes.base.memory import PeakMemory
from recipes.base.places import ROOT
from recipes.base.runtime import Runtime
from recipes.config.conflicts import list_logs, list_outside
from recipes.config.load import as_toml
from recipes.config.schema import Recipe
from recipes.models.base_check import look_at_base


@dataclass(frozen=True)
class Job:
    """A recipe to be run, and where.

    `argv` is the command line as typed, `command` the one that gives the report again; both without secrets.
    """

    recipe: Recipe
    runs: Path
    runtime: Runtime = field(default_factory=Runtime)
    argv: tuple[str, ...] = ()
    command: str = ""

    @property
    def home(self):
        """The folder of this recipe under this profile."""
        return self.runs / self.recipe.name / self.recipe.profile

    @property
    def digests(self):
        """Digests of files, with the memory that all runs under `runs` share."""
        return Digests(self.runs / ".digests.json")

    def say(self, stage, text):
        """One line about a stage."""
        self.runtime.say(f"{stage:<9} {text}")


def run(job: Job, until: str = "report", fresh: bool = False) -> dict[str, Path]:
    """Run the steps as far as `until`; {step: artefact folder}.

    Steps whose artefact stands are not run again, unless `fresh`. Raises `RecipeError` for what a person can mend.
    """
    steps = prepare(job.recipe)
    names = [*(step.name for step in steps), "report"]
    if until not in names:
        raise RecipeError(f"this recipe has no step {until!r}", where="--until", allowed=", ".join(names))
    done: dict[str, Path] = {}
    wanted = steps[: names.index(until) + 1]
    if outside := list_outside(job.recipe.steps):
        job.runtime.say(f"methods from outside: {', '.join(outside)}")
    with store.lock(job.home):
        for step in wanted:
            done[step.name] = make(job, step, done, fresh, wanted)
            if leaves(step.step) == "rows":
                check_rows(job.recipe, wanted, step.name, count_rows(done[step.name]))
        store.write_latest(job.home, done | find_standing(job, steps, done))
        if until == "report":
            report(job, done)
    return done


def find_standing(job: Job, steps: list[Prepared], done: dict[str, Path]) -> dict[str, Path]:
    """Results of later steps that still stand, because nothing that they are made from changed."""
    found = dict(done)
    for step in steps:
        if step.name not in found and all(name in found for name in step.needs):
            with suppress(RecipeError):  # a damaged one is met when its turn comes
                folder = store.find(job.home, key_of(step, found, job.digests), job.digests)
                found |= {step.name: folder} if folder else {}
    return {name: folder for name, folder in found.items() if name not in done}


def make(job: Job, step: Prepared, done: dict[str, Path], fresh: bool, steps: list[Prepared]) -> Path:
    """The artefact folder of one step: the one that stands, else made now.

    Before the data are made, `steps` are foreseen: what one of them cannot use is refused while nothing is spent.
    """
    module = step.step.module
    key = key_of(step, done, job.digests)
    final, out = job.home / key.folder, job.home / f"{key.folder}.partial"
    if not fresh and store.find(job.home, key, job.digests):
        job.say(step.name, f"cached {key.fingerprint[:8]}")
        return final
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
    elif adopt(out, final, key, job.digests):
        job.say(step.name, f"finished earlier {key.fingerprint[:8]}")
        return final
    resumed = out.exists()
    reason = "rebuild: --fresh" if fresh else store.why(job.home, key)
    job.say(step.name, reason + (", going on from where it stopped" if resumed else ""))
    with kept(job, step.name, out):
        out.mkdir(parents=True, exist_ok=True)
        inputs, counts = step.inputs(done), count_inputs(step, done)
        expected = forecasts.forecast(module, step, counts, reason, job.runs).predicted
        if step.step.kind == "data":
            foresee(job, steps, step.name, counts)
            chats = [one for one in job.recipe.steps if getattr(one.module, "CHATS", False)]
            needed = any(one.step in chats for one in steps)
            if chats:
                look_at_base(job.recipe.model, needed, lambda text: job.say("base", text))
        job.runtime.predicted, job.runtime.runs = expected, job.runs
        if step.step.kind != "data":
            share_cores(job, step.name)
        started, clock, spent = store.now(), time.monotonic(), time.process_time()
        with PeakMemory() as memory:
            metrics = module.run(step.spec, inputs, out, job.runtime)
        seconds, cpu_seconds = time.monotonic() - clock, time.process_time() - spent
        manifest = key.described() | {
            "recipe": job.recipe.name,
            "profile": job.recipe.profile,
            "title": getattr(module, "TITLE", ""),
            "logs": list_logs(step.step),
            "measured": step.step.measured,
            "outputs": store.outputs(out, job.digests),
            "metrics": finite(metrics),
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "resumed": resumed,
            "peak_memory_bytes": memory.bytes,
            **({"peak_gpu_bytes": memory.gpu_bytes} if memory.gpu_bytes else {}),
            "predicted": expected,
            "provenance": provenance.record(job.argv, started, store.now()),
        }
        store.write_json(out / store.MANIFEST, manifest)
        store.publish(out, final)
    job.say(step.name, f"done in {format_duration(seconds)} {key.fingerprint[:8]}")
    return final


def share_cores(job: Job, name: str) -> None:
    """Let torch use the cores that are free now, and say so where these are not all."""
    threads = cpu.choose_threads()
    if threads and threads < cpu.count_cores():
        job.say(name, f"{threads} of {cpu.count_cores()} cores: others use the rest; OMP_NUM_THREADS fixes the number")


def adopt(out, final, key, digests):
    """Finish an artefact whose writer was killed between its manifest and the rename; whether it could."""
    if not (out / store.MANIFEST).exists():
        return False
    try:
        manifest = store.read_manifest(out)
        store.verify(out, manifest, digests)
    except RecipeError:
        manifest = {"fingerprint": None}
    if manifest["fingerprint"] != key.fingerprint:
        (out / store.MANIFEST).unlink()  # the stage goes on in the folder and writes another
        return False
    store.publish(out, final)
    return True


def count_inputs(step: Prepared, done: dict[str, Path]) -> dict[str, Any]:
    """What a step's forecast may know: counts of its rows, and under `models` the models that it gets."""
    return add_counts(step, {name: count_rows(done[name]) for name in step.rows if name in done})


def add_counts(step: Prepared, counts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The counts of a step's rows, added up over the steps that they come from, and the models that it gets; of an
    evaluation those that it asks."""
    models = step.asked if leaves(step.step) == "scores" else step.models
    found: dict[str, Any] = {}
    for name in step.rows:
        for key, value in counts.get(name, {}).items():
            numbers = isinstance(value, (int, float)) and isinstance(found.get(key, 0), (int, float))
            found[key] = found.get(key, 0) + value if numbers else value
    return found | {"models": models}


def foresee(job: Job, steps: list[Prepared], data: str, counts: dict[str, Any]) -> None:
    """Refuses what a step that learns from these rows could not use, by the rows that the builder foresees."""
    counts = dict(counts)
    for step in steps:
        if step.step.kind == "rows" and step.rows == (data,):
            step.step.module.forecast(step.spec, counts, job.runs)
            data = step.name
    check_rows(job.recipe, steps, data, counts)
    for step in steps:
        if data in step.rows and leaves(step.step) == "model" and hasattr(step.step.module, "name_rows"):
            step.step.module.forecast(step.spec, counts | {"models": step.models}, job.runs)


def check_rows(recipe: Recipe, steps: list[Prepared], rows: str, counts: dict[str, Any]) -> None:
    """Refuses a step to come for which there are no rows: it would fail after the steps before it have run.

    `counts` has the rows of the step `rows`, as built or as foreseen, under the stem of each file.
    """
    learning = {
        step.name: (step, step.step.module.name_rows(step.spec))
        for step in steps
        if rows in step.rows and hasattr(step.step.module, "name_rows")
    }
    without = [name for name, (_, stem) in learning.items() if not counts.get(stem)]
    if without:
        step, stem = learning[without[0]]
        stems = dict.fromkeys(stem for _, stem in learning.values())
        makes = ", ".join(f"{name} {counts[name]}" for name in stems if counts.get(name))
        raise RecipeError(
            f"the builder makes no rows for {' and '.join(without)}",
            where=f"[{recipe.name}.{step.step.place}] in {recipe.file}",
            got=f"0 rows of {stem} from the step {rows}; it makes {makes or 'none to learn'}",
            allowed="a table of this kind where the builder writes rows for it",
            fix=f"leave out [{recipe.name}.{step.step.place}], or have [{recipe.name}.data] make rows for it"
            + ("; or name a folder of documents in rows.corpus" if stem == "cpt" else ""),
        )


@contextmanager
def kept(job, stage, out):
    """Says in words what stops a stage; whatever it is, the work done so far stays in `out`."""
    try:
        yield
    except KeyboardInterrupt:
        job.say(stage, f"stopped; what is done is kept in {out}")
        raise
    except Exception as error:
        if store.disk_full(error):
            raise RecipeError(
                "the disk is full; what was written so far is kept",
                where=out,
                got=f"{shutil.disk_usage(job.runs).free / 1e6:.0f} MB free",
                fix="make room, then give the same command again: it goes on",
            ) from error
        job.say(stage, f"failed; what is done is kept in {out}")
        raise


def finite(metrics):
    """Metrics as plain JSON: numbers of other libraries converted, NaN and infinities as null."""

    def clean(value):
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return clean(json.loads(json.dumps(metrics, default=float)))


def survey(job: Job, pilot: bool = False) -> list[forecasts.Forecast]:
    """A `Forecast` for every step: what stands, what has to be made, why, and what it will cost. Makes nothing.

    With `pilot` the pace of a step without an earlier run is measured, which loads the model and trains some steps.
    """
    steps, machine = prepare(job.recipe), find_machine()
    estimates = estimate_recipe(job.recipe, machine)
    pace = None if pilot else guess_pace(job, machine)
    done: dict[str, Path] = {}
    counts: dict[str, dict[str, Any]] = {}  # of each step that leaves rows, as built or as foreseen
    lines = []
    for step in steps:
        waits = [name for name in step.needs if name not in done]
        state = f"after {', '.join(waits)}"
        if not waits:
            key = key_of(step, done, job.digests)
            if folder := store.find(job.home, key, job.digests):
                done[step.name] = folder
                if leaves(step.step) == "rows":
                    counts[step.name] = count_rows(folder)
                    check_rows(job.recipe, steps, step.name, counts[step.name])
                lines.append(forecasts.Forecast(step.name, f"cached {key.fingerprint[:8]}"))
                continue
            begun = ", begun" if (job.home / f"{key.folder}.partial").exists() else ""
            state = store.why(job.home, key) + begun
        known = add_counts(step, counts)
        inputs = step.inputs(done)
        line = forecasts.forecast(
            step.step.module, step, known, state, job.runs, inputs=inputs, runtime=job.runtime if pilot else None
        )
        lines.append(forecasts.complete(line, estimates.get(step.name), pace, machine.on_gpu))
        if leaves(step.step) == "rows":
            counts[step.name] = known
            check_rows(job.recipe, steps, step.name, known)
    return lines


def guess_pace(job: Job, machine: Machine) -> Pace | None:
    """How fast this hardware multiplies, for steps that never ran here; None where it or the base is not known."""
    sizes = read_architecture(job.recipe.model)
    speed = read_speed(job.runs / ".speed.json") if sizes is not None and not machine.on_gpu else None
    return Pace(sizes.weights, speed) if sizes is not None and speed else None


def count_rows(folder: Path) -> dict[str, Any]:
    """What an artefact of rows tells later steps: its metrics, and the rows of every JSONL file under its stem."""
    counts = dict(store.read_manifest(folder)["metrics"])
    for file in sorted(folder.glob("*.jsonl")):
        with open(file, "rb") as lines:
            counts[file.stem] = sum(1 for _ in lines)
    return counts


def report(job, done, always=False):
    """Write `report/` from the artefacts, where what it is made of has changed or `always`; its folder."""
    out = job.home / "report"
    context = {"summary": job.recipe.summary, "command": job.command}
    if (scoring := job.recipe.settings("evaluate")) is not None:
        context |= {"alpha": scoring.alpha, "margin": scoring.margin}
    manifests = {stage: (folder / store.MANIFEST).read_text(encoding="utf-8") for stage, folder in done.items()}
    code = {name: job.digests.of(file) for name, file in find_code(ROOT / "recipes" / "report").items()}
    reviewed = {path.parent.name: job.digests.of(path) for path in job.home.glob("review-*/answers.json")}
    made_of = fingerprint([context, as_toml(job.recipe), manifests, code, reviewed])
    mark = out / ".made_of"
    if not always and mark.is_file() and mark.read_text(encoding="utf-8") == made_of:
        job.say("report", f"unchanged {out / 'index.html'}")
        return out
    from recipes.report.build import write_report

    fresh = out.with_name("report.partial")
    with kept(job, "report", job.home):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        write_report(done, fresh, context)
        written = json.loads((fresh / "report.json").read_text(encoding="utf-8"))
        sentence = written["verdict"]["sentence"]
        if written.get("review"):
            sentence += f"\n\n{written['review']['sentence']}"
        (fresh / mark.name).write_text(made_of, encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
    job.say("report", f"{out / 'index.html'}\n\n{sentence}")
    return out
