"""The one wire from a recipe to its report, and what keeps its results: nothing is made twice, nothing made is lost.

data ─► cpt ─► sft_general ─► sft ─► rl, rerank ─► evaluate ─► report

A recipe has data, sft, evaluate and report, and the others where it has their tables.
"""

import importlib
import json
import math
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from recipes.artifacts import forecasts, provenance, store
from recipes.artifacts.lineage import TRAINED
from recipes.artifacts.stage_specs import DataStage, spec_of
from recipes.artifacts.steps import Step, base_model, cpt_general, general, key_of, source, tasks, tests_outside
from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests, fingerprint
from recipes.base.memory import PeakMemory
from recipes.base.places import ROOT
from recipes.base.runtime import Runtime, duration
from recipes.config.load import as_toml
from recipes.config.schema import Recipe
from recipes.config.stage_list import STAGES


def wire(recipe):
    """The steps of a recipe, in the order in which they run."""
    base, (corpus, builder) = base_model(recipe.model), source(recipe)
    texts = recipe.cpt.corpus if recipe.cpt else ""
    given = corpus | ({"texts": Path(texts).expanduser()} if texts else {}) | cpt_general(recipe.cpt)
    asked = DataStage(builder=recipe.builder, data=recipe.data, mix=recipe.mix, texts=texts, seed=recipe.seed)
    drawn = general("data", recipe.data) | general("mix", recipe.mix) | tests_outside(recipe.data)
    steps = [Step("data", asked, (), given, builder | drawn)]
    for stage in STAGES[1:]:
        if (table := getattr(recipe, stage.table)) is None:
            continue
        watched = base | (tasks(table) if stage.name == "evaluate" else {})
        reads = tuple(step.name for step in steps if step.name not in stage.unread)
        steps.append(Step(stage.name, spec_of(stage, recipe), reads, watched=watched, module=stage.module))
    return steps


@dataclass(frozen=True)
class Job:
    """A recipe to be run, and where. `stages` finds a stage's module by name.

    `argv` is the command line as typed, `command` the one that gives the report again; both without secrets.
    """

    recipe: Recipe
    runs: Path
    runtime: Runtime = field(default_factory=Runtime)
    argv: tuple[str, ...] = ()
    command: str = ""
    stages: Callable = lambda name: importlib.import_module(f"recipes.stages.{name}")

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


def run(job, until="report", fresh=False):
    """Run the wire as far as the stage `until`; {stage: artefact folder}.

    Stages whose artefact stands are not run again, unless `fresh`. Raises `RecipeError` for what a person can mend.
    """
    done, steps = {}, wire(job.recipe)
    names = [*(step.name for step in steps), "report"]
    if until not in names:
        raise RecipeError(f"this recipe has no stage {until!r}", where="--until", allowed=", ".join(names))
    with store.lock(job.home):
        wanted = steps[: names.index(until) + 1]
        for step in wanted:
            done[step.name] = make(job, step, done, fresh, wanted)
            if step.name == "data":
                check_rows(job.recipe, wanted, counted(done["data"]))
        store.write_json(job.home / store.LATEST, {stage: folder.name for stage, folder in done.items()})
        if until == "report":
            report(job, done)
    return done


def make(job, step, done, fresh, steps):
    """The artefact folder of one step: the one that stands, else made now.

    Before the data are made, `steps` are foreseen: what one of them cannot use is refused while nothing is spent.
    """
    module = job.stages(step.module or step.name)
    key = key_of(step, module, done, job.digests)
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
        inputs = step.given | {name: done[name] for name in step.reads}
        counts = (counted(done["data"]) if done else {}) | {"reads": step.reads}
        expected = forecasts.forecast(
            module, step.name, step.spec, counts, inputs, reason, job.runs, job.runtime
        ).predicted
        if step.name == "data":
            foresee(job, steps, counts)
        job.runtime.predicted, job.runtime.runs = expected, job.runs
        started, clock, cpu = store.now(), time.monotonic(), time.process_time()
        with PeakMemory() as memory:
            metrics = module.run(step.spec, inputs, out, job.runtime)
        seconds, cpu_seconds = time.monotonic() - clock, time.process_time() - cpu
        manifest = key.described() | {
            "recipe": job.recipe.name,
            "profile": job.recipe.profile,
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
    job.say(step.name, f"done in {duration(seconds)} {key.fingerprint[:8]}")
    return final


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


def foresee(job, steps, counts):
    """Refuses what a stage that learns could not use, by the rows that the builder foresees."""
    check_rows(job.recipe, steps, counts)
    for step in [step for step in steps if step.name in TRAINED]:
        job.stages(step.module or step.name).forecast(step.spec, counts, job.runs)


def check_rows(recipe, steps, counts):
    """Refuses a stage to come for which the builder makes no rows: it would fail after the stages before it have run.

    A stage that learns reads the file of its own name; `counts` has its rows, as built or as foreseen.
    """
    without = [step.name for step in steps if step.name in TRAINED and not counts.get(step.name)]
    if without:
        makes = ", ".join(f"{name} {counts[name]}" for name in TRAINED if counts.get(name))
        raise RecipeError(
            f"the builder makes no rows for {' and '.join(without)}",
            where=f"[{recipe.name}.{without[0]}] in {recipe.file}",
            got=f"0 rows of {without[0]} from the builder {recipe.builder}; it makes {makes or 'none to learn'}",
            allowed="a table of this kind where the builder writes rows for it",
            fix=f"leave out [{recipe.name}.{without[0]}], or have [{recipe.name}.data] make rows for it"
            + ("; or name a folder of documents in cpt.corpus" if without[0] == "cpt" else ""),
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


def survey(job):
    """A `Forecast` for every step: what stands, what has to be made, why, and what it will cost. Makes nothing."""
    done, counts, lines, steps = {}, {}, [], wire(job.recipe)
    for step in steps:
        module, waits = job.stages(step.module or step.name), [name for name in step.reads if name not in done]
        state = f"after {', '.join(waits)}"
        if not waits:
            key = key_of(step, module, done, job.digests)
            if folder := store.find(job.home, key, job.digests):
                done[step.name] = folder
                if step.name == "data":
                    counts = counted(folder)
                    check_rows(job.recipe, steps, counts)
                lines.append(forecasts.Forecast(step.name, f"cached {key.fingerprint[:8]}"))
                continue
            begun = ", begun" if (job.home / f"{key.folder}.partial").exists() else ""
            state = store.why(job.home, key) + begun
        inputs = step.given | {name: done[name] for name in step.reads if name in done}
        counts["reads"] = step.reads
        lines.append(forecasts.forecast(module, step.name, step.spec, counts, inputs, state, job.runs, job.runtime))
        if step.name == "data":
            check_rows(job.recipe, steps, counts)
    return lines


def counted(data):
    """What a data artefact tells later stages: its metrics, and the rows of every JSONL file under the file's stem."""
    counts = dict(store.read_manifest(data)["metrics"])
    for file in sorted(data.glob("*.jsonl")):
        with open(file, "rb") as lines:
            counts[file.stem] = sum(1 for _ in lines)
    return counts


def report(job, done, always=False):
    """Write `report/` from the artefacts, where what it is made of has changed or `always`; its folder."""
    out = job.home / "report"
    context = {"summary": job.recipe.summary, "command": job.command}
    manifests = {stage: (folder / store.MANIFEST).read_text(encoding="utf-8") for stage, folder in done.items()}
    code = job.digests.tree(ROOT / "recipes" / "report")
    reviewed = {path.parent.name: job.digests.of(path) for path in job.home.glob("review-*/answers.json")}
    made_of = fingerprint([context, as_toml(job.recipe), manifests, code, reviewed])
    mark = out / ".made_of"
    if not always and mark.is_file() and mark.read_text() == made_of:
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
        (fresh / mark.name).write_text(made_of)
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
    job.say("report", f"{out / 'index.html'}\n\n{sentence}")
    return out
