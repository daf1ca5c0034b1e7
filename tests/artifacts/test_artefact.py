"""Hashes, digests, secrets, and what a difference between two results is called."""

import contextlib
import datetime
import os
from pathlib import Path

import pytest

from recipes.artifacts.provenance import device, git_state, versions
from recipes.artifacts.store import Key, flat, shown, write_json
from recipes.base import hashing
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.hashing import Digests, canonical, files_under, fingerprint
from recipes.base.runtime import Runtime


def test_the_fingerprint_depends_on_the_value_and_not_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [1.5, "x", None, True]}) == fingerprint({"b": [1.5, "x", None, True], "a": 1})
    values = [{"a": 1}, {"a": 1.0}, {"a": "1"}, {"a": True}, {"a": None}, {"a": [1]}, {}, {"a": {"b": 1}}]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"  # of {"a":1}


@pytest.mark.parametrize(
    "value, words",
    [
        ({"a": {1, 2}}, ["value.a", "set"]),
        ([Path("x")], ["value[0]", "PosixPath"]),
        ({"t": datetime.date(2020, 1, 1)}, ["value.t", "date"]),
        ({"x": float("nan")}, ["value.x", "finite"]),
        ({1: 2}, ["string keys"]),
        (b"x", ["bytes"]),
        ({"a": object()}, ["object"]),
    ],
)
def test_what_has_no_one_form_is_refused_with_its_place(value, words):
    with pytest.raises(RecipeError) as error:
        canonical(value)
    assert all(word in str(error.value) for word in words)


def test_files_are_found_by_pattern_without_hidden_ones(tmp_path):
    for name in ("a.txt", "deep/b.txt", "deep/.hidden", ".git/x.txt", "__pycache__/c.txt", "d.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(files_under(tmp_path)) == ["a.txt", "d.md", "deep/b.txt"]
    assert list(files_under(tmp_path, ("*.txt",))) == ["a.txt", "deep/b.txt"]
    assert list(files_under(tmp_path / "d.md")) == ["d.md"]


def test_a_small_file_is_read_every_time_and_a_large_one_only_when_it_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "LARGE", 10)
    small, large, memory = tmp_path / "small", tmp_path / "large", tmp_path / "memory.json"
    small.write_text("abc")
    large.write_text("x" * 100)
    times = {file: os.stat(file).st_mtime_ns for file in (small, large)}
    before = Digests(memory).tree(tmp_path, ("small", "large"))
    small.write_text("abd")
    large.write_text("y" * 100)
    for file, time in times.items():
        os.utime(file, ns=(time, time))
    after = Digests(memory).tree(tmp_path, ("small", "large"))
    assert after["small"] != before["small"] and after["large"] == before["large"]
    os.utime(large, ns=(1, 1))
    assert Digests(memory).of(large) != before["large"]
    large.rename(tmp_path / "renamed")
    assert "renamed" in Digests(memory).tree(tmp_path)
    memory.write_text("{damaged")
    assert Digests(memory).of(tmp_path / "renamed") == Digests(tmp_path / "none").of(tmp_path / "renamed")


def key(version=1, spec=None, inputs=None, how=()):
    return Key("sft", version, spec or {"sft": {"rate": 1e-4, "save": 5}, "seed": 1}, inputs or {}, frozenset(how))


def manifest_of(k):
    return {"version": k.version, "spec": k.spec, "inputs": k.inputs}


def test_differences_are_named_one_by_one():
    old = key(inputs={"data": {"digest": "1", "files": {"a": "x", "b": "y"}}, "builder": {"digest": "version 1"}})
    new = key(
        2,
        {"sft": {"rate": 2e-4, "save": 9}, "seed": 1, "extra": None},
        {
            "data": {"digest": "2", "files": {"a": "z", "c": "y"}},
            "builder": {"digest": "version 2"},
            "model": {"digest": "3"},
        },
        how=["sft.save"],
    )
    assert new.differences(manifest_of(old)) == [
        "stage version 1 -> 2",
        "sft.rate 1e-4 -> 2e-4",
        "builder version 1 -> version 2",
        "data/a changed",
        "data/b removed",
        "data/c added",
        "input model is new",
    ]
    assert old.differences(manifest_of(old)) == []


def test_what_says_how_is_not_in_the_fingerprint():
    assert (
        key(how=["sft.save"]).fingerprint
        == key(spec={"sft": {"rate": 1e-4, "save": 6}, "seed": 1}, how=["sft.save"]).fingerprint
    )
    assert key().fingerprint != key(spec={"sft": {"rate": 1e-4, "save": 6}, "seed": 1}).fingerprint
    assert flat({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}


def test_long_values_and_secrets_are_cut_from_reasons():
    assert shown("x" * 100).endswith("...") and len(shown("x" * 100)) == 60
    assert shown("sk-abcdefgh12345") == "***" and shown(None) == "(unset)" and shown(3e-5) == "3e-5"


def test_json_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError):
        write_json(file, {"a": float("nan")})
    assert file.read_text() == '{\n "a": 1\n}'


def test_errors_read_as_labelled_lines():
    error = RecipeError("no such thing", where="here", got=3, allowed="4", fix="add one")
    assert str(error) == "no such thing\n  where   here\n  got     3\n  allowed 4\n  do      add one"
    assert str(ConfigErrors([error, RecipeError("another")])).startswith(
        "2 configuration errors; nothing was started\n\n1. no such thing"
    )


def test_plain_progress_lines_tell_done_rate_rest_and_note(tmp_path, monkeypatch):
    from recipes.base import runtime

    monkeypatch.setattr(runtime, "PLAIN_SECONDS", 0.0)
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        with Runtime(log).bar("sft", 4, "steps") as bar:
            bar.advance(2, "loss 1.25")
            bar.total = 8
            bar.advance(2)
        log.seek(0)
        lines = log.read().splitlines()
    assert (
        lines[0].startswith("sft: 2/4 steps · ")
        and " steps/s · " in lines[0]
        and lines[0].endswith(" left · loss 1.25")
    )
    assert lines[1].startswith("sft: 4/8 steps") and "took" in lines[-1] and len(lines) == 3


def test_plain_progress_is_quiet_in_between(tmp_path):
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        with Runtime(log).bar("sft", 1000, "steps") as bar:
            for _ in range(1000):
                bar.advance()
        log.seek(0)
        assert len(log.read().splitlines()) == 1


def test_a_terminal_gets_a_live_bar_and_lines_above_it():
    import pty

    leader, follower = pty.openpty()
    with open(follower, "w", encoding="utf-8") as terminal:
        place = Runtime(terminal)
        with place.bar("sft", 2, "steps") as bar:
            bar.advance(1, "loss 0.5")
            place.say("a line")
            with place.bar("inner", 1, "rows") as inner:
                inner.advance()
            bar.advance()
    text = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error, not an empty read
        while part := os.read(leader, 65536):
            text += part
    text = text.decode()
    assert "a line" in text and "loss 0.5" in text and "\x1b[" in text
    os.close(leader)


def test_provenance_is_found_without_torch():
    assert " x " in device() and versions()["python"].startswith("3.") and len(git_state()) == 2
