"""General text of continued pre-training from files of published forms."""

import json
from types import SimpleNamespace

import pytest

from recipes.base.errors import RecipeError
from recipes.base.places import LAB_MODEL
from recipes.stages import cpt


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(LAB_MODEL)


def spec_of(file, share=0.5, **more):
    return SimpleNamespace(seed=1, cpt=cpt.Config(general=str(file), general_share=share), **more)


def test_texts_strings_and_conversations_stand_in_one_file(tokenizer, tmp_path):
    file = tmp_path / "general.jsonl"
    records = [
        "A pear is a fruit.",
        {"text": "A fig is a fruit."},
        {"instruction": "Name a fruit.", "input": "", "output": "A plum."},
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    taken, read = cpt.general_text(spec_of(file), tokenizer, tmp_path / "test.jsonl", 10)
    assert sum(map(len, taken)) == 10 and read == "1 rows read as plain strings, 1 rows read as Alpaca"
    with pytest.raises(RecipeError, match="too little general text"):
        cpt.general_text(spec_of(file), tokenizer, tmp_path / "test.jsonl", 10_000)
    cpt.check_general(spec_of(file).cpt, 12)
    with pytest.raises(RecipeError, match="too little general text"):
        cpt.check_general(spec_of(file).cpt, 10_000)


def test_general_text_that_holds_a_test_item_is_not_learnt(tokenizer, tmp_path):
    asked = "Which of the two ladders behind the old mill stands on a stone that is wet in the morning?"
    outside = "How many of the grey pigeons on the roof of the long barn had left it before the bell rang?"
    row = {"id": "t0", "kind": "open", "prompt": [{"role": "user", "content": asked}], "reply": "The left one."}
    files = {
        "test.jsonl": [row],
        "outside.jsonl": [{"question": outside}],
        "general.jsonl": [
            "A pear is a fruit.",
            {"text": f"They asked: {asked}"},
            {"question": outside, "answer": "Nine."},
        ],
    }
    for name, rows in files.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spec = spec_of(tmp_path / "general.jsonl", benchmarks=(str(tmp_path / "outside.jsonl"),))
    pear = tokenizer("A pear is a fruit.<|endoftext|>", add_special_tokens=False)["input_ids"]
    taken, read = cpt.general_text(spec, tokenizer, tmp_path / "test.jsonl", len(pear))
    assert taken == [pear]
    assert "left out: holds an item of the test" in read and "outside.jsonl (" in read
    with pytest.raises(RecipeError, match="too little general text"):
        cpt.general_text(spec, tokenizer, tmp_path / "test.jsonl", len(pear) + 1)
