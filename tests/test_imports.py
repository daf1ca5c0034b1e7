"""Import rules: checked by import-linter, and by looking at what a quick command really loads."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from recipes.base.places import ROOT

SLOW = {"torch", "transformers", "trl", "peft", "lm_eval", "datasets", "accelerate", "scipy", "numpy"}
SLOW |= {"openai", "asyncio", "jinja2", "sqlite3", "multiprocessing"}  # from 20 to 70 ms each, of a command's 200
PACKAGES = ("recipes", "data_builders", "eval")
SKELETON = ROOT / "recipes" / "commands" / "skeleton"


def loaded_by(code):
    """Names of the slow modules that running `code` loads into a fresh interpreter."""
    told = "print('loaded', *sys.modules.keys() - before, file=sys.stderr)"
    text = f"import sys\nbefore = set(sys.modules)\ntry:\n    {code}\nexcept SystemExit:\n    pass\n{told}"
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True)
    assert "loaded" in done.stderr, done.stderr
    return SLOW & set(done.stderr.split("loaded")[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["show", "analogseeker"],
        ["show", "analogseeker", "--profile", "paper"],
        ["--help"],
        ["run", "--help"],
        ["check", "--help"],
        ["chat", "--help"],
        ["export", "--help"],
        ["embedded", "--help"],
        ["embedded", "build", "--help"],
        ["embedded", "score", "--help"],
        ["chat", "analogseeker", "--runs", "/no/such/folder", "--once", "?"],
        ["export", "analogseeker", "--runs", "/no/such/folder", "--to", "/no/such/folder/out"],
    ],
    ids=" ".join,
)
def test_quick_commands_load_nothing_heavy(words):
    assert loaded_by(f"from recipes.cli import main; main({words!r})") == set()


def test_doctor_loads_nothing_heavy_but_what_looks_into_the_cache_of_the_hub():
    assert loaded_by("from recipes.cli import main; main(['doctor'])") <= {"asyncio"}


def test_check_of_the_configuration_loads_nothing_heavy():
    assert loaded_by("from recipes.config.load import load; load('recipes.toml', 'analogseeker', here=False)") == set()


def test_the_pipeline_and_the_stages_load_nothing_heavy_before_a_stage_runs():
    names = [f"recipes.stages.{file.stem}" for file in sorted((ROOT / "recipes" / "stages").glob("[a-z]*.py"))]
    assert {"recipes.stages.data", "recipes.stages.sft", "recipes.stages.rl", "recipes.stages.evaluate"} <= set(names)
    modules = ["recipes.pipeline", "recipes.artifacts.forecasts", *names]
    assert (
        loaded_by("; ".join(f"import {name}" for name in modules)) & {"torch", "transformers", "trl", "peft", "lm_eval"}
        == set()
    )


@cache
def top_level(file):
    """Names that a module defines or imports at its top level, if and try looked into."""
    found, waiting = set(), list(ast.parse(file.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        else:
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


@pytest.mark.slow
def test_every_name_that_is_imported_from_this_checkout_is_there():
    """Benchmarks too, which no other test runs."""
    own = (*PACKAGES, "benchmarks", "tests")
    missing = []
    for file in [path for name in own for path in sorted((ROOT / name).rglob("*.py"))]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module or node.module.split(".")[0] not in own:
                continue
            place = ROOT.joinpath(*node.module.split("."))
            module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            known = top_level(module) if module.is_file() else set()
            for alias in node.names:
                inside = (place / f"{alias.name}.py").is_file() or (place / alias.name).is_dir()
                if alias.name not in known and not inside:
                    missing.append(f"{file.relative_to(ROOT)}: {node.module}.{alias.name}")
    assert missing == []


def test_import_rules_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def sources():
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def test_nobody_shadows_the_builtin_eval():
    assert len(sources()) > 20
    found = [
        str(file)
        for file in sources()
        if re.search(r"^\s*import eval\b(?!\.)|^\s*import eval\.\w+(?!.* as )", file.read_text(), re.M)
    ]
    assert found == []


def test_every_folder_with_code_is_a_package_and_every_kind_of_data_file_is_shipped():
    missing = {str(file.parent.relative_to(ROOT)) for file in sources() if not (file.parent / "__init__.py").exists()}
    assert missing == set()
    shipped = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"])
    kinds = {
        f"*{file.suffix}"
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert kinds - {"*.py"} <= shipped


def test_constraints_pin_everything_exactly_and_name_no_place():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "torch==2.13.0"
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), [
        line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)
    ]
    pinned = {line.split("==")[0].lower().replace("-", "_") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    assert {re.match(r"[\w-]+", requirement)[0].lower().replace("-", "_") for requirement in wanted} <= pinned
