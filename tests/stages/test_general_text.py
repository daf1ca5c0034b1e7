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


def spec_of(file, share=0.5):
    return SimpleNamespace(seed=1, cpt=cpt.Config(general=str(file), general_share=share))


def test_texts_strings_and_conversations_stand_in_one_file(tokenizer, tmp_path):
    file = tmp_path / "general.jsonl"
    records = [
        "A pear is a fruit.",
        {"text": "A fig is a fruit."},
        {"instruction": "Name a fruit.", "input": "", "output": "A plum."},
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    taken, read = cpt.general_text(spec_of(file), tokenizer, 10)
    assert sum(map(len, taken)) == 10 and read == "1 rows read as plain strings, 1 rows read as Alpaca"
    with pytest.raises(RecipeError, match="too little general text"):
        cpt.general_text(spec_of(file), tokenizer, 10_000)
    cpt.check_general(spec_of(file).cpt, 12)
    with pytest.raises(RecipeError, match="too little general text"):
        cpt.check_general(spec_of(file).cpt, 10_000)
