"""The contract of every file of every slot and of every stage: found by the folder listing, none by name."""

import inspect
import json
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from recipes.base.places import ROOT
from recipes.base.toml import toml_table
from recipes.commands import methods
from recipes.config.slots import SLOTS, list_own, load_source

FUNCTIONS = {  # slot -> its function, and how many arguments it takes
    "select": ("select", 3),
    "augment": ("augment", 3),
    "mix": ("mix", 3),
    "adapters": ("make_config", 2),
    "losses": ("make_loss", 2),
    "rl": ("make_trainer", 2),
    "edit": ("edit", 2),
    "infer": ("answer", 2),
    "probe": ("measure", 2),
    "env": ("make_environment", 2),
}
STAGE_FUNCTIONS = {"list_reads": 1, "forecast": 3, "run": 4}
SOURCES = [source for slot in methods.KINDS for source in list_own(slot).values()]
REQUIRED = {"mix/replay": {"share": 0.2}, "stages/evaluate": {"tasks": ["analogseeker_knowledge"]}}  # keys to be given
NAMES = [f"{source.slot}/{source.name}" for source in SOURCES]


def files(slots=tuple(methods.KINDS)):
    chosen = [source for source in SOURCES if source.slot in slots]
    return pytest.mark.parametrize("source", chosen, ids=[f"{one.slot}/{one.name}" for one in chosen])


def examples():
    found = [(source, *example) for source in SOURCES for example in getattr(load_source(source), "CONFLICTS", ())]
    ids = [f"{source.slot}/{source.name}: {settings}" for source, settings, _ in found]
    return pytest.mark.parametrize(("source", "settings", "key"), found, ids=ids)


@pytest.mark.parametrize("slot", methods.KINDS)
def test_every_slot_has_a_file(slot):
    assert len(list_own(slot)) >= 1
    assert set(FUNCTIONS) == set(SLOTS) and set(methods.PLACES) == set(methods.KINDS)


@files()
def test_a_file_says_what_it_is_and_which_version(source):
    module = load_source(source)
    line = methods.first_line(module)
    assert 20 < len(line) <= 120 and line.endswith((".", ":", ")")), line
    assert isinstance(module.VERSION, int) and module.VERSION >= 1
    paper = getattr(module, "PAPER", "")
    assert re.fullmatch(r"(arXiv \d{4}\.\d{4,5})?", paper)
    assert paper in module.__doc__
    assert all(len(about) == 2 and all(about) for about in getattr(module, "LOGS", {}).values())


@files(tuple(FUNCTIONS))
def test_a_method_has_the_function_of_its_slot(source):
    name, count = FUNCTIONS[source.slot]
    assert len(inspect.signature(getattr(load_source(source), name)).parameters) == count


@files((methods.STAGES,))
def test_a_stage_has_what_the_engine_calls(source):
    module = load_source(source)
    assert {name: len(inspect.signature(getattr(module, name)).parameters) for name in STAGE_FUNCTIONS} == (
        STAGE_FUNCTIONS
    )
    assert isinstance(module.PLACE, int) and module.LEAVES in ("rows", "model", "reranker", "scores")


def table_of(source) -> tuple[Any, dict[str, Any]]:
    """(class of a file's table, the keys that have to be given)"""
    return load_source(source).Config, REQUIRED.get(f"{source.slot}/{source.name}", {})


@files(tuple(kind for kind in methods.KINDS))
def test_a_table_has_defaults_and_meanings_and_goes_to_toml_and_back(source):
    if f"{source.slot}/{source.name}" == "stages/data":
        pytest.skip("its table is the builder's own")
    config, given = table_of(source)
    assert config.__doc__ and {key for key, about in config.model_fields.items() if about.is_required()} == given.keys()
    assert all(about.description for about in config.model_fields.values())
    table = config(**given)
    text = toml_table("t", json.loads(table.model_dump_json(exclude_none=True)))
    again = tomllib.loads(text)["t"]
    assert config.model_validate_json(json.dumps(given | strip_methods(again, config))) == table
    with pytest.raises(ValidationError):
        config(**given, no_such_key=1)


def strip_methods(table, config):
    """A table without its fields of methods, which the loader types by their files."""
    slots = {key for key, about in config.model_fields.items() if "slot" in (about.json_schema_extra or {})}
    return {key: value for key, value in table.items() if key not in slots}


@examples()
def test_an_example_is_refused_with_all_that_a_reader_needs(source, settings, key):
    problem = methods.find_problem(settings.split(), key)
    assert key in str(problem.where) and problem.allowed
    reason = str(problem.what)
    assert len(reason) > len(key) + 10
    without = [str(other.what) for other in methods.list_problems(settings.split()[:-1])]
    assert reason not in without


def test_the_example_recipe_is_sound_without_settings():
    assert methods.list_problems([]) == []


def test_importing_them_all_loads_no_torch():
    """The files are imported where a recipe is read, by commands that have to be quick."""
    code = (
        "import sys; from recipes.commands import methods; from recipes.config.slots import list_own, load_source\n"
        "found = [load_source(one) for kind in methods.KINDS for one in list_own(kind).values()]\n"
        "print(len(found), *sorted({'torch', 'transformers', 'trl', 'peft', 'lm_eval', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [str(len(SOURCES))], done.stdout + done.stderr


# The pages


@pytest.mark.parametrize("page", ["methods.md", "refusals.md"])
def test_the_page_is_what_the_command_writes(page, tmp_path):
    """`python -m recipes methods --write docs` where this fails."""
    methods.write_pages(tmp_path)
    written = (tmp_path / page).read_text(encoding="utf-8")
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == written
    rows = [line for line in written.splitlines() if line.startswith("|")]
    assert rows and all(line.endswith("|") for line in rows)


def test_the_command_lists_every_file_and_refuses_a_slot_that_is_none(capsys):
    from recipes import cli

    assert cli.main(["methods"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {source.name} " in listed for source in SOURCES)
    assert cli.main(["methods", "losses"]) == 0
    some = capsys.readouterr().out
    assert "kl_to_reference" in some and "facility_location" not in some
    assert cli.main(["methods", "loses"]) == 1
    assert "losses" in capsys.readouterr().err
