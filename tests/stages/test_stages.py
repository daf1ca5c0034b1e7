"""The training and scoring stages on the embedded base: what they change and keep, how they go on after a kill."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from eval.graders import grade
from recipes import pipeline
from recipes.artifacts.steps import prepare
from recipes.base.errors import RecipeError
from recipes.config.load import load
from recipes.pipeline import Job
from recipes.stages import evaluate, sft
from tests.helpers.few_general import few_general

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "data.sft_rows=96",
    "data.rl_rows=64",
    "data.tests.knowledge=16",
    "data.tests.calculation=16",
    "data.tests.transfer=8",
    "sft.epochs=1",
    "sft.batch_tokens=2048",
    "sft.save_steps=2",
    "sft.log_steps=1",
    "rl.steps=3",
    "rl.prompts_per_step=4",
    "rl.group_size=4",
    "rl.micro_batch=8",
    "rl.save_steps=1",
    "rl.max_completion_length=48",
    "eval.infer.few_shot.shots=2",
    "eval.max_new_tokens=64",
    'eval.general=["general_facts"]',
]
QUICKLY_ASKED = [  # for runs in processes of their own, whose evaluation is else nearly all of their time
    'eval.tasks=["analogseeker_calculation"]',
    "eval.general=[]",
    "eval.infer={}",
    "eval.max_new_tokens=32",
]


def job(runs: Path, *more: str) -> Job:
    return Job(load(ROOT / "recipes.toml", "analogseeker", "embedded", [*SMALL, *more], True), runs)


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


def logged(folder: Path, key: str) -> list[float]:
    return [json.loads(line)[key] for line in (folder / "training.jsonl").read_text().splitlines()]


def artefacts(home: Path) -> dict[str, Path]:
    return {f.name.rpartition("-")[0]: f for f in home.glob("*-????????") if (f / "manifest.json").is_file()}


@pytest.fixture(scope="module", autouse=True)
def short_general_test(tmp_path_factory):
    with few_general(tmp_path_factory.mktemp("general")):
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One small run from data to report: (job, {stage: folder})."""
    whole = job(tmp_path_factory.mktemp("runs"))
    pipeline.run(whole)
    return whole, artefacts(whole.home)


def test_a_run_leaves_every_artefact_and_a_report(finished):
    whole, stages = finished
    assert set(stages) == {"data", "sft", "rl", "evaluate"}
    assert (whole.home / "report" / "index.html").stat().st_size > 10_000
    for stage, folder in stages.items():
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["metrics"]["tokens"] > 0, stage
        # a run trains no pilot, and a first one has no earlier run to predict its seconds from: the tokens are a guess
        predicted = manifest["predicted"] or {}
        assert stage == "data" or (predicted["seconds"] is None and predicted["guessed_tokens"] > 0), stage
        assert (
            not list(folder.rglob("*.bin")) and not list(folder.rglob("*.pt")) and not (folder / "checkpoints").exists()
        )


def test_both_adapters_moved_and_the_second_starts_from_the_first(finished):
    from safetensors.torch import load_file

    _, stages = finished
    sft, rl = (load_file(stages[s] / "adapter" / "adapter_model.safetensors") for s in ("sft", "rl"))
    assert sft.keys() == rl.keys() and all("lora_" in key for key in sft)
    assert all(tensor.abs().max() > 0 for key, tensor in sft.items() if "lora_B" in key)  # B starts at zero
    moved = [float((sft[k] - rl[k]).abs().max()) for k in sft]
    assert 0 < max(moved) < 0.1 * max(float(t.abs().max()) for t in sft.values())


def test_a_second_run_trains_nothing(finished):
    whole, stages = finished
    before = {f: f.stat().st_mtime_ns for folder in stages.values() for f in folder.rglob("*")}
    pipeline.run(Job(whole.recipe, whole.runs))
    assert {f: f.stat().st_mtime_ns for folder in stages.values() for f in folder.rglob("*")} == before


@pytest.mark.parametrize("place", ["on_step_begin", "on_train_end"])
@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_training_goes_on_after_an_interruption_and_ends_with_the_same_weights(
    finished, stage, place, tmp_path, monkeypatch
):
    """Stopped in the middle, and after the last step before anything is written."""
    from recipes.models import training

    whole, stages = finished
    step = next(s for s in prepare(whole.recipe) if s.name == stage)
    module, inputs = step.step.module, step.inputs(stages)

    class Stopped(Exception):
        pass

    def stop(self, args, state, control, **kwargs):
        if state.global_step in (2, state.max_steps):
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(training.Watch, place, stop, raising=False)
        with pytest.raises(Stopped):
            module.run(step.spec, inputs, tmp_path, whole.runtime)
    assert list(tmp_path.glob("checkpoints/checkpoint-*"))
    module.run(step.spec, inputs, tmp_path, whole.runtime)
    assert weights(tmp_path) == weights(stages[stage])
    if stage == "sft":
        assert logged(tmp_path, "tokens") == logged(stages[stage], "tokens")


def test_a_run_that_is_killed_in_every_stage_ends_as_one_left_alone(tmp_path):
    """`kill -9` once in training, once in reinforcement and once in evaluation, each time in mid-work.

    The run left alone is a process of its own too: weights are equal to the bit between processes of one kind.
    """
    settings = [part for setting in SMALL + QUICKLY_ASKED for part in ("--set", setting)]

    def command(place, *program):
        words = ["run", "analogseeker", "--runs", str(tmp_path / place), *settings]
        return [sys.executable, "-m", *(program or ["recipes"]), *words]

    subprocess.run(command("alone"), cwd=ROOT, env=offline(), check=True, capture_output=True)
    # with the rates of an earlier run there need be no pilots, which each of the runs would begin with
    shutil.copytree(tmp_path / "alone" / "analogseeker", tmp_path / "killed" / "earlier")
    home = tmp_path / "killed" / "analogseeker" / "embedded"
    for stage, bar, done, begun in (
        ("sft", "sft", "3", "checkpoints/checkpoint-2/trainer_state.json"),
        ("rl", "rl", "2", "checkpoints/checkpoint-1/trainer_state.json"),
        ("evaluate", "evaluate sft", "1", "lm_eval/base/*/results_*.json"),
    ):
        program = command("killed", "tests.helpers.killed_run", bar, done)
        killed = subprocess.run(program, cwd=ROOT, env=offline(), capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert list(home.glob(f"{stage}-*.partial/{begun}")) and not list(home.glob(f"{stage}-????????"))
    last = subprocess.run(command("killed"), cwd=ROOT, env=offline(), check=True, capture_output=True, text=True).stdout
    assert last.count("cached") == 3 and "going on from where it stopped" in last
    alone, again = artefacts(tmp_path / "alone" / "analogseeker" / "embedded"), artefacts(home)
    assert {s: f.name for s, f in again.items()} == {s: f.name for s, f in alone.items()}
    for file in ("sft.jsonl", "rl.jsonl", "test.jsonl"):
        assert (again["data"] / file).read_bytes() == (alone["data"] / file).read_bytes()
    assert all(weights(again[stage]) == weights(alone[stage]) for stage in ("sft", "rl"))
    assert scores(again["evaluate"]) == scores(alone["evaluate"])


def scores(evaluation: Path) -> dict:
    return json.loads((evaluation / "manifest.json").read_text())["metrics"]["scores"]


def test_loss_falls_on_assistant_tokens_only(finished, tmp_path):
    from datasets import Dataset

    from recipes.models import loader
    from recipes.models.learnt_rows import make_examples
    from recipes.stages import sft

    whole, stages = finished
    spec = next(s for s in prepare(whole.recipe) if s.name == "sft").spec
    tokenizer = loader.load_tokenizer(spec.model)
    row = json.loads((stages["data"] / "sft.jsonl").read_text().splitlines()[0])
    rows = Dataset.from_list(make_examples(tokenizer, [row] * 2)[0])
    trainer = sft.make_trainer(spec, loader.load_base(spec.model), tokenizer, rows, 80, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    learnt = tokenizer.decode([t for t in batch["labels"][0].tolist() if t != -100])
    assert learnt == row["completion"][0]["content"] + "<|im_end|>"


def test_the_base_under_a_switched_off_adapter_is_the_base(finished):
    import torch

    from recipes.models import loader

    whole, stages = finished
    tokenizer = loader.load_tokenizer(whole.recipe.model)
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    base = loader.load_base(whole.recipe.model).eval()
    with torch.no_grad():
        plain = base(ids).logits
        adapted = loader.load_adapters(base, {"sft": stages["sft"] / "adapter", "rl": stages["rl"] / "adapter"}).eval()
        with adapted.disable_adapter():
            off = adapted(ids).logits
        on = {}
        for name in ("sft", "rl"):
            adapted.set_adapter(name)
            on[name] = adapted(ids).logits
    assert torch.equal(plain, off)
    assert not torch.equal(on["sft"], plain) and not torch.equal(on["sft"], on["rl"])


def test_every_model_answered_the_same_items(finished):
    _, stages = finished
    index = json.loads((stages["evaluate"] / "models.json").read_text())
    plain = [m["name"] for m in index["models"] if not m["method"]]
    assert plain == ["base", "sft", "rl"]
    assert [m["from"] for m in index["models"] if not m["method"]] == ["", "base", "sft"]
    asked = {}
    for model in [m for m in index["models"] if m["method"] != "sampled"]:
        for file in (stages["evaluate"] / model["dir"]).glob("samples_analogseeker_*.jsonl"):
            task = re.match(r"samples_(.+?)_\d{4}-", file.name)[1]
            docs = [json.loads(line)["doc"]["id"] for line in file.read_text().splitlines()]
            asked.setdefault(task, []).append(docs)
    assert {"analogseeker_knowledge", "analogseeker_calculation", "analogseeker_transfer"} <= set(asked)
    for task, per_model in asked.items():
        assert all(docs == per_model[0] for docs in per_model), task


def test_evaluation_warns_where_the_model_learnt_longer_replies_than_it_may_give(finished):
    whole, _ = finished
    spec = next(s for s in prepare(whole.recipe) if s.name == "evaluate").spec

    def learnt(count, words):
        return [{"completion": [{"role": "assistant", "content": "word " * words}]}] * count

    too_short = evaluate.too_short
    assert too_short(spec, learnt(99, 4) + learnt(1, 400)) is None
    warning, most = too_short(spec, learnt(90, 4) + learnt(10, 400)), spec.eval.max_new_tokens
    assert warning.startswith("10 of 100 replies that were trained on are longer than eval.max_new_tokens = ")
    assert int(re.search(r"--set eval.max_new_tokens=(\d+)", warning)[1]) > max(most, 400)


def test_evaluation_goes_on_with_the_models_that_are_left(finished, tmp_path):
    whole, stages = finished
    step = prepare(whole.recipe)[-1]
    folder = tmp_path / "lm_eval"
    folder.mkdir()
    for name in ("base", "base.few_shot", "sft"):
        (folder / name).symlink_to(stages["evaluate"] / "lm_eval" / name)
    (folder / "rl.partial").mkdir()
    (folder / "rl.partial" / "half written").write_text("{")
    step.step.module.run(step.spec, step.inputs(stages), tmp_path, whole.runtime)
    manifest = json.loads((stages["evaluate"] / "manifest.json").read_text())
    again = json.loads((tmp_path / "models.json").read_text())
    names = [m["name"] for m in again["models"]]
    assert names == ["base", "base · few_shot", "sft", "sft · sampled", "rl", "rl · sampled"]
    redone = next((tmp_path / "lm_eval" / "rl").glob("*/results_*.json"))
    accuracy = json.loads(redone.read_text())["results"]["analogseeker_calculation"]["acc,none"]
    assert accuracy == pytest.approx(manifest["metrics"]["scores"]["rl"]["analogseeker_calculation"], abs=1e-4)


def test_the_replies_of_the_evaluation_were_foreseen(finished):
    whole, stages = finished
    step = next(s for s in prepare(whole.recipe) if s.name == "evaluate")
    counts = pipeline.count_inputs(step, stages)
    files = stages["evaluate"].glob("lm_eval/*/*/samples_*.jsonl")
    given = [len(json.loads(line)["resps"][0]) for file in files for line in file.read_text().splitlines()]
    assert evaluate.forecast(step.spec, counts, whole.runs).rows == sum(given) > 300


def test_export_answers_alike_and_the_stock_command_scores_it_alike(finished, tmp_path, capsys):
    from recipes.commands import export

    whole, stages = finished
    export.run(whole, model="sft", to=tmp_path / "out")
    printed = capsys.readouterr().out
    assert re.search(r"to (\d+) of \1 test prompts", printed)
    files = {f.name for f in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "generation_config.json", "README.md"} <= files
    assert "chat_template" in (tmp_path / "out" / "tokenizer_config.json").read_text() or "chat_template.jinja" in files
    command = [sys.executable, "-c", WITHOUT_STOCK_TASKS, "--include_path", "eval/tasks"]
    command += ["--model", "hf", "--device", "cpu"]
    command += ["--model_args", f"pretrained={tmp_path / 'out'},dtype=float32"]
    command += ["--tasks", "analogseeker_calculation", "--metadata", json.dumps({"data": str(stages["data"])})]
    command += ["--apply_chat_template", "--gen_kwargs", "max_gen_toks=64", "--batch_size", "64", "--log_samples"]
    command += ["--output_path", str(tmp_path / "scores")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=offline())

    def replies(folder):
        (file,) = folder.rglob("samples_analogseeker_calculation_2*.jsonl")
        return {s["doc"]["id"]: s["resps"] for s in map(json.loads, file.read_text().splitlines())}

    assert replies(tmp_path / "scores") == replies(stages["evaluate"] / "lm_eval" / "sft")


# lm-eval's own command, which else reads its own 14,000 task files first; tests/eval/test_tasks.py runs it as it is
WITHOUT_STOCK_TASKS = """
from functools import partialmethod
from lm_eval.__main__ import cli_evaluate
from lm_eval.tasks import TaskManager
TaskManager.__init__ = partialmethod(TaskManager.__init__, include_defaults=False)
cli_evaluate()
"""


def offline():
    import os

    return {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def test_chat_answers_once_with_the_chosen_model(finished, capsys):
    from recipes.commands import chat

    whole, _ = finished
    chat.run(
        whole,
        model="base",
        question="What is the capital of France?\nGive the final answer in <answer> tags.",
    )
    assert "<answer>Paris</answer>" in capsys.readouterr().out


def test_chat_names_the_command_where_there_is_nothing_yet(tmp_path):
    from recipes.commands import chat

    with pytest.raises(RecipeError, match="python -m recipes run analogseeker"):
        chat.run(replace(job(tmp_path), command="python -m recipes run analogseeker"), model="rl", question="?")


def test_a_gold_reply_that_the_grader_refuses_stops_before_training(finished, tmp_path):
    from recipes.stages.data import prove_gold

    _, stages = finished
    row = json.loads((stages["data"] / "test.jsonl").read_text().splitlines()[0])
    assert grade(row, row["reply"]) == 1.0
    (tmp_path / "rl.jsonl").write_text("")
    (tmp_path / "test.jsonl").write_text(json.dumps(row | {"reply": "I do not know"}) + "\n")
    with pytest.raises(RecipeError, match=row["id"]):
        prove_gold(tmp_path)


@pytest.mark.parametrize(
    "wrong, message", [("./no/such/folder", "the base model is not there"), ("./empty", "the base model is not there")]
)
def test_a_wrong_model_name_says_what_is_allowed(wrong, message, tmp_path, monkeypatch):
    from recipes.config.schema import Model
    from recipes.models import loader

    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=message):
        loader.load_base(Model(name=wrong))


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    from recipes.base.places import LAB_MODEL
    from recipes.config.schema import Model
    from recipes.models import loader

    folder = tmp_path / "bare"
    shutil.copytree(LAB_MODEL, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(RecipeError, match="no chat template"):
        loader.load_tokenizer(Model(name=str(folder)))


def test_pickled_weights_are_refused(tmp_path):
    import torch
    from safetensors.torch import load_file

    from recipes.base.places import LAB_MODEL
    from recipes.config.schema import Model
    from recipes.models import loader

    folder = tmp_path / "pickled"
    shutil.copytree(LAB_MODEL, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match="safetensors"):
        loader.load_base(Model(name=str(folder)))


def test_a_loss_that_is_not_a_number_stops_with_the_step(finished, tmp_path):
    whole, stages = finished
    step = next(s for s in prepare(whole.recipe) if s.name == "sft")
    spec = step.spec.model_copy(
        update={
            "sft": step.spec.sft.model_copy(
                update={"adapter": step.spec.sft.adapter.model_copy(update={"alpha": 1e38}), "learning_rate": 1.0}
            )
        }
    )
    with pytest.raises(RecipeError, match=r"diverged.*\n.*sft, step"):
        sft.run(spec, {"data": stages["data"]}, tmp_path, whole.runtime)


def test_a_row_longer_than_the_limit_stops_before_training(finished, tmp_path):
    whole, stages = finished
    step = next(s for s in prepare(whole.recipe) if s.name == "sft")
    spec = step.spec.model_copy(update={"sft": step.spec.sft.model_copy(update={"max_length": 40})})
    with pytest.raises(RecipeError, match=r"sft.max_length"):
        sft.run(spec, {"data": stages["data"]}, tmp_path, whole.runtime)


def test_another_architecture_runs_by_configuration_alone(tmp_path):
    """A random Llama in a folder, with the embedded tokenizer, runs from data to report."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from recipes.config.schema import Model
    from recipes.models import loader

    tokenizer = loader.load_tokenizer(Model())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    llama = job(
        tmp_path / "runs",
        f"model.name={tmp_path / 'llama'}",
        "eval.infer={}",
        "eval.max_new_tokens=16",
        "rl.max_completion_length=16",
        "rl.steps=1",
    )
    pipeline.run(llama)
    assert set(artefacts(llama.home)) == {"data", "sft", "rl", "evaluate"}
    assert (llama.home / "report" / "index.html").is_file()
