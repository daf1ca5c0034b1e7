"""A whole pipeline whose stages only write small files: for tests, and as a program that a test can kill.

python -m tests.helpers.fake_pipeline FOLDER STAGE WORDS_OF_THE_COMMAND_LINE...

The program says HALFWAY in the middle of the stage and waits there until a signal ends it.
"""

import hashlib
import io
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from recipes import cli, pipeline
from recipes.artifacts.forecasts import Work
from recipes.base.runtime import Runtime
from recipes.config.load import load
from recipes.pipeline import Job

HALFWAY = "in the middle of a stage"
TABLE = """
[demo]
summary = "a demonstration"
builder = "analogseeker"
data.corpus = "{folder}/corpus"
model.name = "{folder}/model"
sft.learning_rate = 1e-4
rl.steps = 5
rl.micro_batch = 16
eval.tasks = ["analogseeker_knowledge"]
"""


def set_up(folder):
    """The recipe file, corpus and model folder that the fake stages read."""
    (folder / "corpus").mkdir(parents=True)
    (folder / "corpus" / "one.md").write_text("first\nsecond\n")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    (folder / "recipes.toml").write_text(TABLE.format(folder=folder))
    return folder


class Stages:
    """Finds the fake stage modules; `calls` and `pilots` list what ran. Training takes `steps` steps."""

    def __init__(self, steps=6):
        self.steps, self.calls, self.pilots = steps, [], []
        self.versions = dict.fromkeys(("data", "sft", "rl", "evaluate"), 1)
        self.stems = ("sft", "rl", "test")  # files of rows that data makes
        self.trouble = {}  # stage -> what to call at half of its steps
        self.metrics = {}
        self.foreseen = 2000  # tokens

    def __call__(self, name, step=None):
        """The module of the stage `name`; `step` is what its step is called, if otherwise."""
        file = {"data": "*", "rows": "*", "evaluate": "test.jsonl"}.get(name, f"{name}.jsonl")
        reads = {"corpus": ["*"]} if name == "data" else {"rows": [file], "models": ["adapter/*"]}
        leaves = {"data": "rows", "rows": "rows", "evaluate": "scores", "rerank": "reranker"}.get(name, "model")

        def run(spec, inputs, out, runtime):
            self.calls.append(step or name)
            work = {"data": self.write_data, "rows": self.join_rows}.get(name, self.train)
            work(name, spec, inputs, out, runtime)
            return {"tokens": 1000, **self.metrics}

        def forecast(spec, counts, runs):
            if name == "data":
                counts |= dict.fromkeys(self.stems, 2)
            return Work(rows=counts.get("sft", 0), steps=self.steps, tokens=self.foreseen, memory_bytes=10**9)

        def pilot(spec, inputs, runtime):
            self.pilots.append(name)
            return 100.0

        module = SimpleNamespace(
            VERSION=self.versions.get(name, 1),
            LEAVES=leaves,
            TABLE="eval" if name == "evaluate" else name,
            list_reads=lambda spec: reads,
            run=run,
            forecast=forecast,
            pilot=pilot,
        )
        if leaves in ("model", "reranker"):
            module.name_rows = lambda spec: getattr(getattr(spec, name), "rows", "rl" if name == "rerank" else name)
        return module

    def take_over(self, recipe):
        """The recipe with these stages in place of the real ones."""
        steps = tuple(replace(step, module=self(step.kind, step.name)) for step in recipe.steps)
        return replace(recipe, steps=steps)

    def write_data(self, name, spec, inputs, out, runtime):
        text = "".join(file.read_text() for file in sorted(inputs["corpus"].glob("*.md")))
        rows = [json.dumps({"text": line, "draws": spec.data.draws}) for line in text.split()]
        self.meet_trouble(name)
        for file in self.stems:
            (out / f"{file}.jsonl").write_text("\n".join(rows) + "\n")
        (out / "card.json").write_text(json.dumps({"source": text}))

    def join_rows(self, name, spec, inputs, out, runtime):
        for file in {path.name for folder in inputs.values() for path in folder.glob("*.jsonl")}:
            (out / file).write_text("".join((folder / file).read_text() for folder in inputs.values()))

    def train(self, name, spec, inputs, out, runtime):
        """Count steps in a checkpoint file, so that an interrupted run goes on; spec and inputs make the result."""
        checkpoint = out / "checkpoints" / "steps.txt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        done = len(checkpoint.read_text()) if checkpoint.exists() else 0
        with runtime.bar(name, self.steps, "steps") as bar, open(checkpoint, "a", encoding="utf-8") as stream:
            for step in range(done, self.steps):
                stream.write("x")
                stream.flush()
                bar.advance()
                if step == self.steps // 2:
                    self.meet_trouble(name)
        files = [
            f
            for _, path in sorted(inputs.items())
            for f in sorted(path.rglob("*"))
            if f.suffix in (".jsonl", ".bin") and f.name != "training.jsonl"
        ]
        content = b"".join(file.read_bytes() for file in files) + spec.model_dump_json(exclude={"model"}).encode()
        (out / "adapter").mkdir(exist_ok=True)
        (out / "adapter" / "weights.bin").write_bytes(hashlib.sha256(content).digest())
        (out / "training.jsonl").write_text(
            json.dumps({"seconds": time.monotonic()}) + "\n"
        )  # another one each time; not read
        checkpoint.unlink()
        checkpoint.parent.rmdir()

    def meet_trouble(self, name):
        if name in self.trouble:
            self.trouble.pop(name)()


class Place:
    """A folder with everything; `run()` runs the pipeline in it and keeps what it said in `said`."""

    def __init__(self, folder, stages=None):
        self.folder, self.stages, self.said = set_up(folder), stages or Stages(), ""
        self.home = folder / "runs" / "demo" / "embedded"

    def job(self, *sets, argv=()):
        self.stream = io.StringIO()
        recipe = load(self.folder / "recipes.toml", "demo", None, sets)
        recipe = self.stages.take_over(recipe)
        return Job(recipe, self.folder / "runs", Runtime(self.stream), argv, "python -m recipes run demo")

    def run(self, *sets, until="evaluate", fresh=False, argv=()):
        job = self.job(*sets, argv=argv)
        self.stages.calls.clear()
        try:
            return pipeline.run(job, until, fresh)
        finally:
            self.said = self.stream.getvalue()

    def manifest(self, stage):
        (file,) = self.home.glob(f"{stage}-????????/manifest.json")
        return json.loads(file.read_text())


def wait_for_a_signal():
    print(HALFWAY, flush=True)
    while True:
        time.sleep(0.05)  # short ones, for a signal just before a long one would be served after it


def main(folder, stage, *words):
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a suite run in the background hands on that it is ignored
    stages = Stages()
    stages.trouble[stage] = wait_for_a_signal
    if not Path(folder).exists():
        set_up(Path(folder))
    cli.job_of = lambda options: Job(stages.take_over(cli.recipe_of(options)), options.runs, argv=tuple(options.argv))
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
