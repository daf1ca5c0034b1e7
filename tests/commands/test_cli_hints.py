"""What the command line advises can be followed, and what it cannot do it says before anything is written."""

import builtins
import shlex
import subprocess
import sys

import pytest

from recipes import cli
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.commands import doctor
from recipes.commands import new as new_command
from recipes.config.load import load


def commands_in(text):
    """Every command line that a text advises, as its words after `python -m recipes`."""
    lines = [line.partition("python -m recipes ")[2] for line in text.splitlines() if "python -m recipes " in line]
    return [shlex.split(line) for line in lines]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the places that `new` writes into, in which it works."""
    tree = tmp_path / "tree"
    for folder in ("data_builders", "eval", "eval/tasks", "recipes", "tests"):
        (tree / folder).mkdir(parents=True)
    for folder in ("data_builders", "eval", "recipes"):
        for file in (ROOT / folder).rglob("*.py"):
            (tree / file.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            (tree / file.relative_to(ROOT)).write_text("")
    monkeypatch.setattr(new_command, "ROOT", tree)
    return tree


def files(tree):
    return sorted(path for path in tree.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "name", sorted({file.stem for folder in ("data_builders", "eval") for file in (ROOT / folder).glob("[a-z]*.py")})
)
def test_new_refuses_the_name_of_a_module_that_its_folder_would_hide(name, checkout):
    before = files(checkout)
    with pytest.raises(RecipeError, match="is taken"):
        new_command.new(name, checkout / "recipes.toml")
    assert files(checkout) == before


@pytest.mark.parametrize("name", ["json", "class", "signal"])
def test_new_refuses_words_and_modules_of_python(name, checkout):
    with pytest.raises(RecipeError, match="not a name for a recipe"):
        new_command.new(name, checkout / "recipes.toml")


def test_new_asks_for_the_folder_of_the_file_first(checkout):
    before = files(checkout)
    with pytest.raises(RecipeError, match="no such folder"):
        new_command.new("travel", checkout / "nowhere" / "recipes.toml")
    assert files(checkout) == before


def test_new_leaves_nothing_behind_where_it_cannot_write_the_table(checkout, monkeypatch):
    (checkout / "recipes.toml").write_text("# mine\n")
    before, real = files(checkout), new_command.write

    def write(file, text):
        if file.suffix == ".toml" and file.parent == checkout:
            raise OSError("disk full")
        real(file, text)

    monkeypatch.setattr(new_command, "write", write)
    with pytest.raises(RecipeError, match="cannot be written"):
        new_command.new("travel", checkout / "recipes.toml")
    assert files(checkout) == before and (checkout / "recipes.toml").read_text() == "# mine\n"


def test_what_new_writes_is_in_the_house_style(checkout):
    new_command.new("travel", checkout / "recipes.toml")
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", ROOT / "pyproject.toml", "--no-cache", "."],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_every_advised_command_means_the_same_file_results_and_settings(typed, place):
    sets = ("--set", "data.draws=3")
    meant = ["--file", str(place.folder / "recipes.toml"), "--runs", str(place.folder / "runs"), *sets]
    for words in (
        ("report", "demo"),
        ("review", "demo"),
        ("chat", "demo", "--once", "?"),
        ("export", "demo", "--to", place.folder / "out"),
        ("export", "demo", "--model", "base", "--to", place.folder / "out"),
    ):
        code, _, complained = typed(*words, *sets)
        assert code == 1 and "Traceback" not in complained, complained
        (advised,) = commands_in(complained)
        assert advised[:2] == ["run", "demo"] and advised[2 : 2 + len(meant)] == meant, advised
        cli.parser().parse_args(advised)
    code, _, complained = typed("report")
    assert code == 1 and commands_in(complained)[0][:2] == ["run", "NAME"] and str(place.folder / "runs") in complained
    code, said, _ = typed("check", "demo")
    assert commands_in(said) == [["doctor", "demo", "--file", str(place.folder / "recipes.toml")]]


def test_the_sheet_advises_to_hand_in_where_it_was_drawn(typed, place, monkeypatch):
    from recipes.report import review

    data = place.run(until="data")["data"]
    monkeypatch.setattr(review, "write_sheet", lambda *_: place.folder / "sheet.html")
    code, said, _ = typed("review", "demo", "--data", data)
    (advised,) = commands_in(said)
    assert code == 0 and advised[-4:] == ["--data", str(data), "--read", f"answers-{data.name[5:]}.json"]
    assert str(place.folder / "runs") in advised
    code, _, complained = typed("review", "demo", "--read", place.folder / "none.json")
    assert code == 1 and "no such file of answers" in complained and "artefact" not in complained
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["review", "demo", "--items", "-3"])


@pytest.mark.parametrize("words", [("run", "demo"), ("plan", "demo"), ("report",), ("check", "demo")], ids=" ".join)
def test_a_file_in_place_of_the_folder_of_results_is_refused(words, typed, place):
    file = place.folder / "recipes.toml"
    for runs in (file, file / "deeper"):
        code, _, complained = typed(*words, "--file", file, "--runs", runs, there=False)
        assert code == 1 and complained.startswith("the folder of results is a file"), complained
    assert place.stages.calls == [] and place.stages.pilots == []


def test_a_run_whose_output_nobody_reads_claims_no_success(typed, place, monkeypatch):
    def broken(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    place.stages.trouble["sft"] = broken
    code, _, complained = typed("run", "demo")
    assert code == 1 and "nobody reads" in complained and commands_in(complained)[0][:2] == ["run", "demo"]


def test_check_takes_profile_and_set(typed, place):
    file = place.folder / "recipes.toml"
    file.write_text(file.read_text() + "[demo.profiles.gpu.sft.adapter]\nrank = 4\n")
    code, said, _ = typed("check", "demo")
    assert code == 0 and "demo: embedded, gpu valid" in said and "not looked at" in said.splitlines()[-1]
    code, said, _ = typed("check", "demo", "--profile", "gpu")
    assert code == 0 and "demo: gpu valid" in said
    code, _, complained = typed("check", "demo", "--set", "sft.adapter.rank=0")
    assert code == 1 and complained.count("sft.adapter.rank: wrong value") == 1


def test_show_of_a_profile_runs_again_under_its_name(typed, place):
    file = place.folder / "recipes.toml"
    file.write_text(file.read_text() + "[demo.profiles.gpu.sft.adapter]\nrank = 4\n")
    _, said, _ = typed("show", "demo", "--profile", "gpu", "--file", file, there=False)
    (place.folder / "gpu.toml").write_text(said)
    again = load(place.folder / "gpu.toml", "demo", "gpu")
    assert again.profile == "gpu" and again.steps == load(file, "demo", "gpu").steps
    assert again.settings("sft").adapter.rank == 4
    assert "--profile gpu" in said.splitlines()[0]


LACKS = {  # what is set in a recipe's data: (its builder, settings, package, whether a run is stopped)
    "pictures": ("vsllava", ["data.view=image"], "torchvision", False),
    "no plots": ("vsllava", ["data.view=image"], "matplotlib", True),
    "an endpoint": (
        "analogseeker",
        ["data.judge.kind=openai", "data.judge.model=m", "data.judge.base_url=http://h/v1"],
        "openai",
        True,
    ),
    "a local model": ("analogseeker", ["data.repair.kind=transformers", "data.repair.model=m"], "llguidance", True),
    "an encoder": ("scilitllm", ["data.quality.encoder=e"], "sentence_transformers", True),
    "molecules": ("scilitllm", [], "rdkit", False),
    "instructions": ("glan", ['eval.tasks=["glan_public"]'], "langdetect", True),
}


@pytest.mark.parametrize("case", LACKS)
def test_doctor_and_the_start_of_a_run_know_what_the_data_ask_for(case, monkeypatch):
    builder, sets, package, must = LACKS[case]
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == package else builtins.object())
    recipe = load(ROOT / "recipes.toml", builder, None, sets, here=False)
    (found,) = [(blocks, sentence) for blocks, sentence in doctor.lacks(recipe) if package in sentence]
    assert found[0] is must and "pip install" in found[1]


@pytest.mark.parametrize("table", ["teacher", "judge", "repair"])
def test_doctor_misses_the_key_of_every_table_that_asks_an_endpoint(table, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    settings = {"kind": "openai", "model": "m", "base_url": "http://h/v1", "api_key_env": "SOME_KEY"}
    sets = [f"data.{table}.{key}={value}" for key, value in settings.items()]
    recipe = load(ROOT / "recipes.toml", "analogseeker", None, sets, here=False)
    assert any("SOME_KEY" in sentence and f"[data.{table}]" in sentence for _, sentence in doctor.lacks(recipe))
    monkeypatch.setenv("SOME_KEY", "x")
    assert not any("SOME_KEY" in sentence for _, sentence in doctor.lacks(recipe))
