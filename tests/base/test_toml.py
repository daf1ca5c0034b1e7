"""TOML files are read with or without a byte order mark, with any line ends, and errors name their line."""

import tomllib

import pytest

from data_builders.sources.facts import read_sidecar
from recipes.base.toml import read_toml

TEXT = 'name = "Ω …"\n[table]\nvalue = 1\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(encoding, end, tmp_path):
    (tmp_path / "a.toml").write_bytes(TEXT.replace("\n", end).encode(encoding))
    assert read_toml(tmp_path / "a.toml") == {"name": "Ω …", "table": {"value": 1}}


def test_an_error_on_the_last_line_has_its_number(tmp_path):
    (tmp_path / "a.toml").write_text("a = 1\nb =", encoding="utf-8")
    with pytest.raises(tomllib.TOMLDecodeError, match="line 2"):
        read_toml(tmp_path / "a.toml")


def test_a_sidecar_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.toml").write_text('family = "pumps"\n', encoding="utf-8-sig")
    assert read_sidecar(tmp_path / "a.toml").family == "pumps"
