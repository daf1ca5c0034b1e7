"""Methods as a stranger writes them: one file each in a folder outside the repository, and one line in a table each."""

import json
import sys
import textwrap

import pytest

from recipes import cli, pipeline
from recipes.artifacts import store
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.config import slots
from recipes.config.conflicts import list_outside
from recipes.config.load import load
from recipes.models.adapter_methods import find_method, register_adapter
from recipes.pipeline import Job

FILES = {
    "recipes.toml": """
        [mine]
        summary = "a stranger's recipe"
        builder = "analogseeker"
        data = { sft_rows = 40, rl_rows = 4, tests = { knowledge = 6, calculation = 0, transfer = 1 } }
        rows.select.longest.keep = 0.5
        sft = { epochs = 1, batch_tokens = 512, log_steps = 1, adapter = { use = "ia3" }, losses = { confident = {} } }
        mine.steps = 3
        edit.method = { use = "halve" }
        eval = { tasks = ["analogseeker_knowledge"], max_new_tokens = 8 }
    """,
    "methods/select/longest.py": '''
        """Longest rows: those with the longest replies are kept."""

        from pydantic import Field

        from recipes.config.slots import Method


        class Config(Method):
            keep: float = Field(0.5, gt=0, le=1, description="share that is kept")


        def count_rows(own, rows):
            return round(rows * own.keep)


        def select(rows, own, context):
            order = sorted(rows, key=lambda row: -len(row["completion"][0]["content"]))
            kept = order[: count_rows(own, len(rows))]
            return kept, [(row, "short") for row in order[len(kept) :]]
    ''',
    "methods/losses/confident.py": '''
        """Confidence: the entropy of the next token is held down."""

        from contextlib import contextmanager

        from pydantic import Field

        from recipes.config.slots import Method

        LOGS = {"confidence": ("Entropy of the next token", "nats")}
        HISTORY = {"confident/entropy": "confidence"}


        class Config(Method):
            weight: float = Field(0.1, gt=0, description="beside the cross-entropy")


        class Confident:
            name = "confident"

            def __init__(self, weight):
                self.weight = weight

            @contextmanager
            def capture(self, model):
                kept = []
                head = model.get_output_embeddings()
                hook = head.register_forward_hook(lambda module, args, output: kept.append(output))
                self.kept = kept
                yield
                hook.remove()

            def loss(self, model, inputs, per_batch, per_token):
                logits = self.kept[0] if self.kept else model(input_ids=inputs["input_ids"]).logits
                logs = logits.float().log_softmax(-1)
                entropy = -(logs.exp() * logs).sum(-1).mean()
                return self.weight * per_batch * entropy, {"entropy": entropy.item()}

            def on_step_end(self):
                pass

            def state_dict(self):
                return {}

            def load_state_dict(self, kept):
                pass


        def make_loss(own, context):
            return Confident(own.weight)
    ''',
    "methods/adapters/ia3.py": '''
        """IA3: a learnt factor for keys, values and the feed-forward block (arXiv 2205.05638)."""

        from recipes.config.slots import Method


        class Config(Method):
            """No settings."""


        def make_config(own, targets):
            from peft import IA3Config

            targets = ["k_proj", "v_proj", "down_proj"]
            return IA3Config(target_modules=targets, feedforward_modules=["down_proj"], task_type="CAUSAL_LM")
    ''',
    "stages/mine.py": '''
        """My stage: the supervised model learns that the first half of a reply is likelier than the second."""

        import json

        from pydantic import Field

        from recipes.artifacts.forecasts import Work
        from recipes.artifacts.lineage import MODEL_FILES, start
        from recipes.base.table import Table

        VERSION, PLACE, LEAVES, TITLE = 1, 55, "model", "My own training"
        LOGS = {"gap": ("My gap", "nats")}


        class Config(Table):
            steps: int = Field(5, ge=1, description="optimizer steps")


        def list_reads(spec):
            return {"rows": ["sft.jsonl"], "models": MODEL_FILES}


        def forecast(spec, counts, runs):
            return Work(rows=2, steps=spec.mine.steps, tokens=100)


        def run(spec, inputs, out, runtime):
            import torch

            from recipes.models import loader, training

            rows = training.read_rows(inputs["data"] / "sft.jsonl")[:2]
            model = loader.load_reached(*start(spec.model, inputs), trainable=True)
            tokenizer = loader.load_tokenizer(spec.model)
            optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
            lines = []
            for step in range(1, spec.mine.steps + 1):
                sides = [tokenizer(text, return_tensors="pt") for text in ("it is so", "so is it not")]
                losses = [model(**side, labels=side["input_ids"]).loss for side in sides]
                gap = losses[1] - losses[0]
                torch.nn.functional.softplus(-gap).backward()
                optimizer.step()
                optimizer.zero_grad()
                lines.append(json.dumps({"step": step, "gap": gap.item()}))
            (out / "training.jsonl").write_text("\\n".join(lines) + "\\n")
            training.save_result(model, out / "adapter")
            return {"tokens": 100, "rows": len(rows), "steps": spec.mine.steps}
    ''',
    "methods/edit/halve.py": '''
        """Halving: what an adapter adds to the weights, divided by two, as a whole model."""

        from recipes.config.slots import Method


        class Config(Method):
            """No settings."""


        def edit(own, context):
            from recipes.models import loader

            ((whole, adapter),) = context.models.values()
            base = loader.load_base(whole).state_dict()
            model = loader.load_reached(whole, adapter).merge_and_unload()
            state = model.state_dict()
            model.load_state_dict({name: (state[name] + base[name]) / 2 for name in base})
            model.save_pretrained(context.out / "model")
            loader.load_tokenizer(context.model).save_pretrained(str(context.out / "model"))
            return {"halved": len(base)}
    ''',
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stranger")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made(place):
    """(the job, {step: its folder}) of the stranger's recipe, run to its report."""
    job = Job(load(place / "recipes.toml", "mine"), place / "runs")
    return job, pipeline.run(job)


def test_all_of_them_run_in_one_recipe_in_their_places(made):
    job, done = made
    assert [step.name for step in job.recipe.steps] == ["data", "rows", "sft", "mine", "edit", "evaluate"]
    rows = (done["rows"] / "sft.jsonl").read_text().splitlines()
    assert len(rows) == round(0.5 * len((done["data"] / "sft.jsonl").read_text().splitlines()))
    card = json.loads((done["rows"] / "card.json").read_text())
    assert card["ledger"]["longest"]["reasons"] == {"short": len(rows)}
    assert json.loads((done["sft"] / "adapter" / "adapter_config.json").read_text())["peft_type"] == "IA3"
    assert json.loads((done["mine"] / "adapter" / "adapter_config.json").read_text())["peft_type"] == "IA3"
    assert (done["edit"] / "model" / "model.safetensors").is_file()


def test_they_are_seen_in_the_report(made):
    job, done = made
    scores = store.read_manifest(done["evaluate"])["metrics"]["scores"]
    assert {"base", "sft", "mine", "edit"} <= scores.keys()
    page = (job.home / "report" / "index.html").read_text(encoding="utf-8")
    assert all(text in page for text in ("My own training", "My gap", "Entropy of the next token", "longest"))


def test_a_changed_file_of_a_method_makes_its_step_again(made, place):
    file = place / "methods" / "edit" / "halve.py"
    text = file.read_text()
    try:
        file.write_text(text + "# another\n")
        again = Job(load(place / "recipes.toml", "mine"), place / "runs")
        states = {line.stage: line.state for line in pipeline.survey(again)}
    finally:
        file.write_text(text)
    assert states["mine"].startswith("cached") and not states["edit"].startswith("cached")


def test_run_and_check_name_what_is_loaded_from_outside_before_anything_starts(place, capsys):
    recipe = load(place / "recipes.toml", "mine")
    outside = list_outside(recipe.steps)
    assert [text.partition(" (")[0] for text in outside] == [
        "select/longest", "adapters/ia3", "losses/confident", "stages/mine", "edit/halve",
    ]  # fmt: skip
    assert f"(file {place / 'stages' / 'mine.py'})" in outside[3]
    assert cli.main(["check", "mine", "--file", str(place / "recipes.toml"), "--runs", str(place / "none")]) == 0
    assert "methods from outside: select/longest (file" in capsys.readouterr().out
    pipeline.run(Job(recipe, place / "runs"), until="data")
    assert capsys.readouterr().out.startswith("methods from outside: select/longest (file")
    assert cli.main(["methods", "edit", "--file", str(place / "recipes.toml")]) == 0
    assert "halve" in capsys.readouterr().out


def test_a_faulty_file_is_named_with_its_error(place):
    file = place / "methods" / "select" / "broken.py"
    file.write_text("import no_such_module\n")
    try:
        with pytest.raises(ConfigErrors, match="no_such_module"):
            load(place / "recipes.toml", "mine", sets=["rows.select.broken.keep=0.5"])
    finally:
        file.unlink()


# An installed package


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution on the path whose entry points give a selection and an adapter."""
    (tmp_path / "their_methods.py").write_text(
        textwrap.dedent('''
            """First row: nothing else is kept."""
            from recipes.config.slots import Method

            PEFT_TYPE = "THEIRS"
            registered = []


            class Config(Method):
                """No settings."""


            def select(rows, own, context):
                return rows[:1], [(row, "not the first") for row in rows[1:]]


            def make_config(own, targets):
                return None


            def register():
                registered.append(PEFT_TYPE)
        ''')
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = "[recipes.select]\nfirst = their_methods\n\n[recipes.adapters]\ntheirs = their_methods\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("their_methods", None)


def test_an_entry_point_adds_a_method(installed, place):
    recipe = load(place / "recipes.toml", "mine", sets=["rows.select.first.use=first"])
    assert "select/first (package theirs)" in list_outside(recipe.steps)
    assert slots.find("select")["first"].origin == "package theirs"
    table = recipe.settings("rows").select["first"]
    kept, dropped = slots.module_of(table).select([{"id": 1}, {"id": 2}], table, None)
    assert kept == [{"id": 1}] and dropped == [({"id": 2}, "not the first")]


def test_an_entry_point_is_named_before_its_code_runs_once_and_one_that_no_recipe_names_never_runs(
    installed, place, capsys
):
    own = load(place / "recipes.toml", "mine")
    assert "their_methods" not in sys.modules and own.steps and capsys.readouterr().err == ""
    code = installed / "their_methods.py"
    code.write_text("raise SystemExit('hostile')\n" + code.read_text())
    with pytest.raises(SystemExit, match="hostile"):
        load(place / "recipes.toml", "mine", sets=["rows.select.first.use=first"])
    assert capsys.readouterr().err == "loading select/first of package theirs: their_methods\n"


def test_peft_is_told_of_a_method_from_outside_by_its_type(installed, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"peft_type": "THEIRS"}')
    register_adapter(tmp_path / "adapter")
    assert find_method("THEIRS").registered == ["THEIRS"]
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"peft_type": "NOBODYS"}')
    with pytest.raises(RecipeError, match="nothing here knows the method"):
        register_adapter(tmp_path / "adapter")
    with pytest.raises(RecipeError, match="holds no adapter"):
        register_adapter(tmp_path)
