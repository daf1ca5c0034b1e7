"""Rows: what they are made of, which id they have, what a file holds of them."""

import json
from dataclasses import replace

import pytest

from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id
from recipes.base.reply_form import Exchange, render_messages
from recipes.base.rows import GradedRow, SftRow, dump_row, read_exchange

FIELDS = {"question": "Which?", "options": ("tin", "lead"), "thinking": "t", "solution": "s", "answer": "B"}
SFT = SftRow(kind="mcq", node_id="n", fact_id="f", family="x", lineage={"draw": 1}, **FIELDS)
GRADED = GradedRow(kind="knowledge", grader="choice", **FIELDS)


def test_an_id_is_made_of_what_is_shown_unless_one_is_given():
    prompt, reply = render_messages(SFT)
    assert SFT.id == stable_id("sft", prompt, reply) == SftRow(kind="other", **FIELDS).id
    assert GRADED.id == stable_id("knowledge", prompt, "B") != replace(GRADED, id="", answer="A").id
    assert SftRow(kind="mcq", **FIELDS | {"thinking": "u"}).id != SFT.id
    assert SftRow(id="own", kind="mcq", **FIELDS).id == "own"
    assert replace(SFT, images=("images/x.png",)).id == SFT.id


def test_fields_are_given_by_name_alone():
    with pytest.raises(TypeError):
        SftRow("mcq", "Which?")


def test_a_file_holds_the_fields_and_the_rendered_turns():
    assert dump_row(SFT) == {
        "id": SFT.id,
        "kind": "mcq",
        "question": "Which?",
        "options": ["tin", "lead"],
        "thinking": "t",
        "solution": "s",
        "answer": "B",
        "node_id": "n",
        "fact_id": "f",
        "family": "x",
        "lineage": {"draw": 1},
        "prompt": [{"role": "user", "content": "Which?\nA) tin\nB) lead\nGive the right option in <answer> tags."}],
        "completion": [{"role": "assistant", "content": "<think>t</think>\ns\n<answer>lead</answer>"}],
    }
    graded = dump_row(GRADED)
    assert graded["reply"] == "<think>t</think>\ns\n<answer>lead</answer>" and "completion" not in graded
    assert (graded["unit"], graded["tolerance"], graded["difficulty"]) == (None, None, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"aliases": ("plumbum",)},
        {"level": "hard"},
        {"images": ("images/x.png",)},
        {"context": "A text.", "context_first": True},
        {"asks_for": None},
        {"verbatim": "It is lead."},
        {"options": ("yes", "no"), "options_as": "unlisted", "answer": "yes"},
        {"program": "print(1)"},
    ],
)
def test_a_field_that_is_set_is_in_the_file_and_comes_back(changes):
    row, plain = dump_row(replace(GRADED, **changes)), dump_row(GRADED)
    assert set(changes) <= set(row) and set(row) - set(plain) <= set(changes)
    exchange = read_exchange(json.loads(json.dumps(row)))
    prompt, reply = render_messages(exchange)
    assert row["prompt"] == prompt and row["reply"] == reply[0]["content"]


def test_a_row_from_outside_has_no_exchange():
    turns = {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]}
    assert read_exchange(turns) is None and read_exchange({"text": "t"}) is None
    assert read_exchange({"question": "of a benchmark", "answer": "1"}) is None
    assert read_exchange(dump_row(SFT)) == Exchange(**FIELDS)


def test_an_answer_that_no_option_has_is_told_with_the_row():
    with pytest.raises(RecipeError, match="cannot be written") as error:
        SftRow(kind="mcq", **FIELDS | {"answer": "C"})
    assert "Which?" in str(error.value) and "2 options" in str(error.value)
