"""The local teacher: whatever the model says, the reply fits the schema."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from data_builders.llm.asking import open_teacher
from data_builders.llm.local import Local, identity
from data_builders.llm.table import Teacher
from recipes.base.errors import RecipeError
from recipes.base.places import LAB_MODEL
from tests.helpers.served import chat

pytestmark = pytest.mark.slow


class Choice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=40)]
    options: list[Annotated[str, Field(max_length=12)]] = Field(min_length=4, max_length=4)
    answer: Literal["A", "B", "C", "D"]


def table(**changes):
    return Teacher(**{"kind": "transformers", "model": str(LAB_MODEL), "concurrency": 8, **changes})


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """(answers, the store's folder) of eight schema questions and two free ones, sampled and greedy."""
    path = tmp_path_factory.mktemp("local") / "replies.sqlite"
    asker = open_teacher(table(), path)
    chats = [chat(n, Choice, temperature=t, max_tokens=400) for t in (0.0, 1.0) for n in range(4)]
    chats += [chat(n, None, max_tokens=12) for n in range(2)]
    try:
        return asker.each(chats, asker.ask), asker, path, chats
    finally:
        asker.close()


def test_whatever_the_embedded_base_says_the_reply_fits_the_schema(said):
    answers, asker, _, _ = said
    assert all(isinstance(answer.value, Choice) for answer in answers[:8]), [answer.dropped for answer in answers]
    assert asker.unusable.keys().isdisjoint(answer.key for answer in answers[:8]), "at the first attempt"


def test_sampled_replies_differ_and_greedy_ones_come_back(said, tmp_path):
    answers, _, _, chats = said
    assert len({answer.value.model_dump_json() for answer in answers[4:8]}) > 1
    asker = open_teacher(table(concurrency=1), tmp_path / "other.sqlite")
    assert asker.each(chats[:1], asker.ask)[0].value == answers[0].value
    asker.close()


def test_stored_replies_load_no_model(said, monkeypatch):
    answers, _, path, chats = said
    monkeypatch.setattr("data_builders.llm.local.Local", None)
    asker = open_teacher(table(), path)
    assert asker.each(chats[:8], asker.ask) == answers[:8]
    asker.close()


def test_a_question_beyond_the_window_is_dropped_with_its_reason(tmp_path):
    asker = open_teacher(table(), tmp_path / "r.sqlite")
    (answer,) = asker.each([chat("word " * 3000, Choice)], asker.ask)
    asker.close()
    assert "the model's window" in answer.dropped


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(RecipeError, match="cannot be loaded") as error:
        Local(table(model=str(tmp_path / "none")))
    assert "data.teacher.model" in str(error.value)


def test_replies_are_known_by_the_content_of_the_models_files_not_by_names_and_sizes(tmp_path):
    seen = {identity(str(tmp_path))}
    for name in ("config.json", "model.safetensors", "chat_template.jinja", "tokenizer.model"):
        for content in ("1", "2"):
            (tmp_path / name).write_text(content)
            seen.add(identity(str(tmp_path)))
    assert len(seen) == 9 and identity("owner/name") == "owner/name"
    (tmp_path / "README.md").write_text("A card.")
    assert identity(str(tmp_path)) in seen


def test_a_large_model_is_read_once_in_a_process(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    monkeypatch.setattr("data_builders.llm.local.LARGE", 0)
    first = identity(str(tmp_path))
    monkeypatch.setattr("pathlib.Path.open", None)
    assert identity(str(tmp_path)) == first
