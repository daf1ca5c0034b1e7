"""Screens and locales that know no UTF-8, and files with a byte order mark or CR LF line ends."""

import json
import os
import subprocess
import sys

import pytest

from recipes.base.jsonl import read_jsonl, write_json, write_jsonl
from recipes.base.places import ROOT
from recipes.base.runtime import Runtime
from recipes.config.load import as_toml, load, read_file

pytestmark = pytest.mark.slow

SIGNS = "10 kΩ … 漢 →"
PLAIN_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
SCREENS = [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, PLAIN_LOCALE]
SMALL = ["data.sft_rows=40", "data.rl_rows=4", "data.tests.knowledge=4", "data.tests.calculation=4"]


def command(environment, *words, given=""):
    """One `python -m recipes …` as a process of its own; its output is bytes."""
    own = {key: value for key, value in os.environ.items() if key not in ("PYTHONUTF8", "PYTHONIOENCODING")}
    line = [sys.executable, "-m", "recipes", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, env=own | environment, input=given.encode(), capture_output=True)


def recipe_file(folder, encode=str.encode):
    """The file of one recipe whose summary no small alphabet can write."""
    text = as_toml(load(ROOT / "recipes.toml", "analogseeker", here=False))
    lines = [f'summary = "{SIGNS}"' if line.startswith("summary") else line for line in text.split("\n")]
    file = folder / "recipes.toml"
    file.write_bytes(encode("\n".join(lines)))
    return file


@pytest.mark.parametrize("environment", SCREENS, ids=["ascii", "latin-1", "locale C"])
def test_what_a_screen_cannot_show_is_replaced_and_ends_no_command(environment, tmp_path):
    file = recipe_file(tmp_path)
    listed = command(environment, "list", "--file", file)
    assert listed.returncode == 0 and b"10 k? ? ? ?" in listed.stdout, listed.stderr
    refused = command(environment, "show", SIGNS, "--file", file)
    assert refused.returncode == 1 and b"no recipe" in refused.stderr and b"Traceback" not in refused.stderr


def test_check_of_all_recipes_ends_well_on_a_screen_that_knows_ascii_alone():
    done = command({"PYTHONIOENCODING": "ascii"}, "check")
    assert done.returncode == 0 and b"UnicodeEncodeError" not in done.stderr, done.stderr


def test_progress_on_a_screen_that_knows_ascii_alone_goes_on(tmp_path):
    lines = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from recipes.base.runtime import Runtime; from recipes.cli import replace_unknown_signs\n"
        "replace_unknown_signs(); place = Runtime()\n"
        f"with place.bar({SIGNS!r}, 2, 'rows') as bar: bar.advance(2, {SIGNS!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", lines], env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert done.returncode == 0 and b"2/2 rows" in done.stdout, done.stderr


def test_files_are_utf_8_whatever_the_locale(tmp_path):
    sets = [word for text in [*SMALL, "data.tests.transfer=2"] for word in ("--set", text)]
    done = command(PLAIN_LOCALE, "run", "analogseeker", "--until", "data", "--runs", tmp_path, *sets)
    assert done.returncode == 0, done.stderr
    (data,) = (tmp_path / "analogseeker" / "embedded").glob("data-*")
    texts = [path.read_bytes().decode("utf-8") for path in data.rglob("*") if path.suffix in (".json", ".jsonl")]
    assert len(texts) > 5 and any(not text.isascii() for text in texts)


def test_a_byte_order_mark_or_other_line_ends_change_nothing_of_a_recipe_file(tmp_path):
    plain = read_file(recipe_file(tmp_path))
    for encode in (
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    ):
        file = recipe_file(tmp_path, encode)
        assert read_file(file) == plain and load(file, "analogseeker", here=False).summary == SIGNS


def test_rows_with_a_byte_order_mark_and_other_line_ends_are_read(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes('{"a": "Ω"}\r\n\r\n{"a": "…"}\r\n'.encode("utf-8-sig"))
    assert read_jsonl(file) == [{"a": "Ω"}, {"a": "…"}]


def test_half_a_surrogate_pair_comes_back_as_it_was(tmp_path):
    rows = [{"text": "cut \ud83d here", "Ω": 1}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_json(tmp_path / "one.json", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows
    assert json.loads((tmp_path / "one.json").read_bytes().decode("utf-8")) == rows


def test_a_corpus_row_with_half_a_surrogate_pair_is_read(tmp_path):
    from data_builders.core.ledger import Ledger
    from data_builders.sources.reader import read_corpus

    line = '{"text": "The pump \\ud83d delivers oil to the gear box at all times."}\r\n'
    (tmp_path / "rows.jsonl").write_bytes(("\ufeff" + line).encode("utf-8"))
    (node,) = read_corpus(tmp_path, 1, 100, Ledger(), workers=1).nodes
    assert "\ufffd" in node.text and node.text.encode("utf-8")


def test_what_a_run_says_has_no_secret_and_any_sign(capsys):
    Runtime().say(SIGNS)
    assert SIGNS in capsys.readouterr().out
