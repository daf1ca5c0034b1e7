"""The command line as a person meets it: true to its help, and clear when something is wrong."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from recipes import cli
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.commands import diff as diff_command
from recipes.commands import doctor
from recipes.report import compare, leaderboard

COMMANDS = ["list", "show", "check", "plan", "run", "report", "diff", "review", "chat", "export", "new", "doctor"]


def recipes(*words, **more):
    return subprocess.run([sys.executable, "-m", "recipes", *words], cwd=ROOT, capture_output=True, text=True, **more)


def test_help_lists_every_command_and_every_command_has_help():
    text = recipes("--help").stdout
    assert all(f"  {command} " in text for command in [*COMMANDS, "embedded"])
    for command in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            cli.parser().parse_args([command, "--help"])
        assert stop.value.code == 0


def test_list_shows_each_recipe_with_steps_and_profiles():
    lines = recipes("list").stdout.splitlines()
    assert lines[0].split() == ["recipe", "steps", "profiles", "summary"]
    assert any(
        line.startswith("analogseeker") and "data sft rl evaluate" in line and "embedded small gpu paper" in line
        for line in lines
    )


def test_wrong_usage_is_2_and_a_stated_problem_is_1():
    assert recipes("runn", "x").returncode == 2 and recipes("run").returncode == 2
    done = recipes("show", "analogseker")
    assert done.returncode == 1 and "did you mean 'analogseeker'" in done.stderr and "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m recipes show analogseeker | head -1", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "[analogseeker]\n" and done.stderr == ""


def test_show_prints_what_runs_again_with_profile_and_set_in_it(typed, place):
    file = place.folder / "recipes.toml"
    code, said, _ = typed("show", "demo", "--file", file, "--set", "sft.adapter.rank=3", there=False)
    assert (
        code == 0
        and "rank = 3\n" in said
        and "learning_rate = 1e-4\n" in said
        and f'corpus = "{place.folder}/corpus"' in said
    )


def test_check_reports_the_errors_of_every_recipe_at_once(typed, place):
    file = place.folder / "recipes.toml"
    file.write_text(
        file.read_text() + '[other]\nsummary = "x"\nbuilder = "nobody"\nsft.rank = 0\neval.tasks = ["none"]\n'
    )
    code, said, complained = typed("check")
    assert code == 1 and "demo: embedded valid" in said and "gold answers will be proven" in said
    assert (
        complained.startswith("3 configuration errors")
        and "[other] builder" in complained
        and "other.sft" in complained
    )


def test_check_grades_the_gold_answers_of_built_data(typed, place):
    row = {
        "id": "r1",
        "grader": "numeric",
        "answer": "3",
        "reply": "<answer>3</answer>",
        "options": None,
        "unit": None,
        "tolerance": 0.01,
    }

    def write(answer):
        def write_data(name, spec, inputs, out, runtime):
            for file in ("sft", "rl", "test"):
                (out / f"{file}.jsonl").write_text(json.dumps(row | {"answer": answer}) + "\n")

        place.stages.write_data = write_data

    write("3")
    place.run(until="data")
    code, said, _ = typed("check", "demo")
    assert code == 0 and "2 gold answers score 1.0, empty replies 0.0" in said
    write("4")
    place.run("data.draws=3", until="data")
    code, _, complained = typed("check", "demo")
    assert code == 1 and "r1" in complained


def test_run_plan_and_run_again(typed, place):
    code, said, _ = typed("plan", "demo")
    assert code == 0 and "after data" in said and said.splitlines()[-1].startswith("total") and not place.home.exists()
    code, said, _ = typed("run", "demo", "--until", "evaluate")
    assert code == 0 and said.count(" new\n") == 4
    code, said, _ = typed("run", "demo", "--until", "evaluate")
    assert code == 0 and said.count(" cached ") == 4
    code, said, _ = typed("plan", "demo", "--set", "rl.steps=6")
    assert "rebuild: rl.steps 5 -> 6" in said and said.count(" cached ") == 2


def test_an_unknown_step_is_refused_with_the_names_of_this_recipe(typed, place):
    code, _, complained = typed("run", "demo", "--until", "dpo")
    assert code == 1 and "no step 'dpo'" in complained and "data, sft, rl, evaluate, report" in complained
    assert place.stages.calls == [] and not place.home.exists()


def test_a_broken_configuration_stops_a_run_before_the_first_stage(typed, place):
    code, _, complained = typed("run", "demo", "--set", "sft.adapter.rank=0", "--set", "eval.tasks=['x']")
    assert (
        code == 1
        and complained.startswith("2 configuration errors")
        and place.stages.calls == []
        and not place.home.exists()
    )


def test_what_a_recipe_cannot_do_without_stops_a_run_in_one_sentence(typed, place, monkeypatch):
    real = doctor.find_spec
    monkeypatch.setattr(
        doctor,
        "find_spec",
        lambda name: None if name in ("flash_attn", "vllm", "bitsandbytes", "kernels") else real(name),
    )
    code, _, complained = typed("run", "demo", "--set", "model.attn=flash_attention_2")
    assert code == 1 and "flash-attn is not installed" in complained and place.stages.calls == []
    code, _, complained = typed("run", "demo", "--set", "model.attn=kernels-community/flash-attn2")
    assert code == 1 and "kernels is not installed" in complained and "kernels-community/flash-attn2" in complained
    code, _, complained = typed("run", "demo", "--set", "model.quantization=nf4")
    assert code == 1 and "bitsandbytes is not installed" in complained
    code, said, _ = typed("run", "demo", "--set", "rl.use_vllm=true", "--until", "data")
    assert code == 0 and "note: vLLM is not installed" in said


def test_ctrl_c_is_130_and_names_the_command_that_goes_on(typed, place):
    place.stages.trouble["sft"] = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    code, said, complained = typed("run", "demo", "--fresh", "--set", "data.draws=3")
    assert code == 130 and "sft       stopped" in said
    assert (
        complained.strip().startswith("stopped; go on with:  python -m recipes run demo --set data.draws=3")
        and "--fresh" not in complained
    )


def test_an_error_of_a_builder_reads_like_ours_and_a_bug_keeps_its_traceback(typed, place, monkeypatch):
    from recipes.base.errors import RecipeError

    def raising(error):
        def trouble():
            raise error

        return trouble

    place.stages.trouble["data"] = raising(RecipeError("the corpus is odd", where="one.md", fix="look at it"))
    code, _, complained = typed("run", "demo")
    assert code == 1 and complained.startswith("the corpus is odd\n  where   one.md") and "Traceback" not in complained
    monkeypatch.setenv("MY_API_KEY", "not-to-be-seen")
    place.stages.trouble["data"] = raising(ValueError("refused not-to-be-seen"))
    code, _, complained = typed("run", "demo")
    assert (
        code == 1 and "Traceback" in complained and "refused ***" in complained and "not-to-be-seen" not in complained
    )


def test_the_command_in_the_report_repeats_the_run():
    options = cli.parser().parse_args(
        ["report", "demo", "--file", "my recipes.toml", "--set", "a=b c", "--set", "data.api_key=x"]
    )
    assert (
        cli.repeat(options)
        == "python -m recipes run demo --file 'my recipes.toml' --set 'a=b c' --set 'data.api_key=***'"
    )
    assert (
        cli.repeat(cli.parser().parse_args(["run", "demo", "--until", "sft", "--fresh"]))
        == "python -m recipes run demo"
    )


def test_report_needs_an_evaluated_run(typed, place, monkeypatch):
    assert "no evaluated run" in typed("report", "demo")[2] and "no evaluated run" in typed("report")[2]
    place.run()
    monkeypatch.setattr(leaderboard, "write_leaderboard", lambda runs, out: (out / "index.html", []))
    assert typed("report")[1].strip() == str(place.folder / "runs" / "leaderboard" / "index.html")


def test_diff_names_changed_inputs_and_moved_scores(typed, place, monkeypatch):
    first = place.run()
    second = place.run("sft.learning_rate=2e-4")
    rows = [
        {"task": "t1", "model": "sft", "n": 300, "a": 0.25, "b": 0.5, "p": 0.001, "low": 0.2, "high": 0.3},
        {"task": "t2", "model": "sft", "n": 300, "a": 0.25, "b": 0.24, "p": 0.8, "low": -0.05, "high": 0.03},
        {
            "task": "t3",
            "model": "sft",
            "n": None,
            "a": 0.1,
            "b": 0.2,
            "p": None,
            "low": None,
            "high": None,
            "refused": "prompts differ",
        },
    ]
    monkeypatch.setattr(compare, "compare_models", lambda a, b: rows)
    text = diff_command.diff(str(first["evaluate"]), "demo", place.folder / "runs")
    assert "evaluate: " in text and "sft/adapter/weights.bin changed" in text
    assert "t1 sft: 25.0 -> 50.0 (better; 95 % +20.0 … +30.0 points, p = 0.001, n = 300)" in text
    assert "t2 sft: 25.0 -> 24.0 (not significant" in text and "t3 sft: not compared: prompts differ" in text
    code, said, _ = typed("diff", first["sft"], second["sft"], "--runs", place.folder / "runs", there=False)
    assert code == 0 and "  sft.learning_rate 1e-4 -> 2e-4\n" in said
    place.run("sft.learning_rate=2e-4", "sft.save_steps=3", "data.draws=3")
    text = diff_command.diff(str(second["sft"]), "demo", place.folder / "runs")
    assert "data/sft.jsonl changed" in text and "save_steps" not in text, "how often was saved changes nothing"
    assert diff_command.diff("demo", "demo/embedded", place.folder / "runs").count(": same") == 4
    with pytest.raises(RecipeError, match="demo/embedded"):
        diff_command.diff("demo", "dmo", place.folder / "runs")


def test_doctor_says_what_each_profile_lacks(typed, place, monkeypatch):
    file = place.folder / "recipes.toml"
    file.write_text(file.read_text() + '[demo.profiles.gpu.model]\nname = "some/model"\nquantization = "nf4"\n')
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr("recipes.artifacts.machine.gpus", lambda: [])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place.folder / "cache"))
    code, said, _ = typed("doctor", "--file", file, there=False)
    assert code == 0 and "GB memory" in said and "torch 2." in said and "missing   torch" in said
    assert "demo embedded: ready\n" in said and "demo gpu: cannot run" in said
    assert "bitsandbytes is not installed" in said and "No GPU" in said and "will be downloaded" in said


def test_a_model_is_in_the_cache_where_the_asked_revision_has_its_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert not doctor.is_cached("some/model")
    commit = "0123456789abcdef0123456789abcdef01234567"
    for name, text in (("refs/main", commit), (f"snapshots/{commit}/config.json", "{}"), ("snapshots/other/x", "")):
        file = tmp_path / "models--some--model" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    assert doctor.is_cached("some/model") and doctor.is_cached("some/model", commit)
    assert not doctor.is_cached("some/model", "other") and not doctor.is_cached("some/model", "v2")


@pytest.mark.slow
def test_new_writes_a_recipe_that_is_valid_and_whose_tests_pass(tmp_path):
    """In a copy of the checkout, as `new` writes into the one it belongs to."""
    tree = tmp_path / "tree"
    for name in ("recipes", "data_builders", "eval"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for name in ("recipes.toml", "pyproject.toml"):
        shutil.copy(ROOT / name, tree)

    def there(*words):
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tree,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(tree)},
        )

    written = there("recipes", "new", "travel")
    assert written.returncode == 0 and "python -m recipes run travel" in written.stdout
    assert (tree / "data_builders/travel/builder.py").exists() and (
        tree / "eval/tasks/travel/travel_conversion.yaml"
    ).exists()
    assert "travel" in there("recipes", "list").stdout
    tested = there("pytest", "tests/test_travel.py", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    again = there("recipes", "new", "travel")
    assert again.returncode == 1 and "is taken" in again.stderr and "data_builders/travel" in again.stderr
    assert there("recipes", "new", "No-Name").returncode == 1 and there("recipes", "new", "sources").returncode == 1
    model = tree / "recipes" / "lab" / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"x")
    done = there("recipes", "run", "travel", "--until", "data")
    assert done.returncode == 0, done.stdout + done.stderr
    assert there("recipes", "check", "travel").stdout.count("score 1.0") == 1
