"""A corpus is read once a process: for the forecast and for the build, until a file of it changes."""

import pytest

from data_builders.core.ledger import Ledger
from data_builders.core.read_cache import KEPT, read_once
from data_builders.sources import reader
from data_builders.sources.reader import read_corpus
from recipes.base.errors import RecipeError

TEXT = "# One\n\n" + "A current flows in a wire. " * 8 + "\n\n# Two\n\nShort.\n\n# Empty\n"


@pytest.fixture
def reads(monkeypatch):
    """Every pass over the documents of a corpus."""
    seen, read = [], reader.pool.read

    def noted(*args):
        seen.append(args)
        return read(*args)

    monkeypatch.setattr(reader.pool, "read", noted)
    return seen


def read(folder, **settings):
    ledger = Ledger()
    return read_corpus(folder, 5, 1000, ledger, **settings), ledger


def test_a_corpus_is_read_once_and_every_ledger_has_its_drops(tmp_path, reads):
    (tmp_path / "a.md").write_text(TEXT)
    (first, one), (again, other) = read(tmp_path), read(tmp_path)
    assert len(reads) == 1 and again is first and len(first.nodes) == 2
    assert one.rows == other.rows != [] and one.totals() == other.totals()


def test_it_is_read_again_where_a_file_or_a_setting_has_changed(tmp_path, reads):
    (tmp_path / "a.md").write_text(TEXT)
    read(tmp_path)
    read(tmp_path, text_field="body")
    assert len(reads) == 2
    (tmp_path / "a.md").write_text(TEXT.replace("Two", "Three"))
    assert [node.title for node in read(tmp_path)[0].nodes] == ["One", "Three"] and len(reads) == 3


def test_an_error_is_not_kept(tmp_path, reads):
    (tmp_path / "a.md").write_text("no heading")
    for _ in range(2):
        with pytest.raises(RecipeError, match="no learning node"):
            read(tmp_path)
    assert len(reads) == 2


def test_only_the_last_corpora_stay_in_memory(tmp_path):
    made = []
    for number in (*range(KEPT + 1), KEPT, 0):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        read_once(lambda ledger, number=number: made.append(number), folder, Ledger(), "test")
    assert made == [*range(KEPT + 1), 0]
