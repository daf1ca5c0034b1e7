"""Questions said otherwise: what decides the answer stays letter by letter, and each new row says where it is from."""

import json
import re
from random import Random

import pytest

from data_builders.core.ledger import Ledger
from recipes.artifacts.rows_context import RowsContext
from recipes.base.errors import RecipeError
from recipes.base.reply_form import Exchange, render_messages
from recipes.base.rows import read_exchange
from recipes.base.runtime import Runtime
from recipes.config.schema import WORLD
from recipes.methods.augment import eda

QUESTION = (
    "Find the smallest current that the stage with Vdd = 3.3 V and gm of 2 mS/mA needs, and explain the reason why "
    '"find the state" is not used when R1 = 10 kohm usually helps the small amplifier.\n'
    "A) find the gain\nB) determine 7 volts\nGive the final answer in <answer> tags."
)
KEPT = ("Vdd = 3.3 V", "gm of 2 mS/mA", '"find the state"', "is not", "R1 = 10 kohm", "smallest current", "when")
TAIL = "\nA) find the gain\nB) determine 7 volts\nGive the final answer in <answer> tags."


def row(**more):
    return {
        "id": "r1",
        "node_id": "n1",
        "kind": "open",
        "prompt": [{"role": "system", "content": "Find."}, {"role": "user", "content": QUESTION}],
        "completion": [{"role": "assistant", "content": "Find the answer."}],
        "lineage": {"record": "x"},
    } | more


def augment(rows, tmp_path, seed=0, **own):
    context = RowsContext(seed, {}, Ledger(), tmp_path, Runtime())
    return eda.augment(rows, eda.Config(**own), context), context


@pytest.mark.parametrize("operation", eda.OPERATIONS)
def test_what_decides_the_answer_is_left_letter_by_letter(operation):
    changed = set()
    for seed in range(40):
        text = eda.reword(QUESTION, operation, 0.2, eda.SYNONYMS, Random(seed))
        kept = [part for part in KEPT if part != "smallest current" or operation in ("synonym", "delete")]
        assert all(part in text for part in kept) and text.endswith(TAIL)
        assert re.findall(r"\d[\d.]*|[A-Z]\w*", text) == re.findall(r"\d[\d.]*|[A-Z]\w*", QUESTION)
        changed.add(text)
    assert changed - {QUESTION}


def test_each_operation_does_what_its_name_says():
    words = QUESTION.split()
    counts = {name: eda.reword(QUESTION, name, 0.01, eda.SYNONYMS, Random(1)).split() for name in eda.OPERATIONS}
    assert len(counts["delete"]) == len(words) - 1 and len(counts["insert"]) > len(words)
    assert sorted(counts["swap"]) == sorted(words) and counts["swap"] != words
    (old,) = set(words) - set(counts["synonym"]) or {"reason"}
    assert old in eda.SYNONYMS


def test_new_rows_have_an_id_and_a_lineage_and_the_answer_and_node_of_the_old(tmp_path):
    made, context = augment([row(), row(id="r2", kind=WORLD)], tmp_path, copies=4)
    assert len(made) + context.note["eda"]["unchanged"] == 4 and len(made) >= 3
    assert len({one["id"] for one in made} | {"r1"}) == len(made) + 1
    for one in made:
        assert one["lineage"]["augmented_from"] == "r1" and one["lineage"]["record"] == "x"
        assert one["completion"] == row()["completion"] and one["node_id"] == "n1"
        assert one["prompt"][0] == row()["prompt"][0] and one["prompt"][1]["content"] != QUESTION
    assert len({one["prompt"][1]["content"] for one in made}) == len(made)
    assert augment([row()], tmp_path, copies=4)[0] == made and augment([row()], tmp_path, seed=1, copies=4)[0] != made


def test_rows_whose_wording_is_the_task_and_questions_without_plain_words_give_none(tmp_path):
    assert augment([row(kind="wording")], tmp_path, skip=("wording",))[0] == []
    bare = [{"role": "user", "content": "R1 = 3 kohm?\nA) 1\nGive the final answer in <answer> tags."}]
    made, context = augment([row(prompt=bare)], tmp_path, copies=3)
    assert made == [] and context.note["eda"]["unchanged"] == 3


def test_synonyms_may_come_from_a_file_that_counts_as_an_input(tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"current": ["flow"]}))
    own = eda.Config(synonyms=str(file))
    assert own.files == {"synonyms": file}
    assert "flow" in eda.reword(QUESTION, "synonym", 0.5, eda.read_synonyms(own), Random(0))
    file.write_text('{"current": []}')
    with pytest.raises(RecipeError, match="no table of synonyms"):
        eda.read_synonyms(own)
    file.unlink()
    with pytest.raises(RecipeError, match="cannot be read"):
        eda.read_synonyms(own)


def test_fields_follow_the_new_wording_and_a_prompt_of_another_text_has_none(tmp_path):
    exchange = Exchange(question=QUESTION.partition("\n")[0], options=("one", "two"), context="Find the state.")
    prompt, _ = render_messages(exchange)
    own = row(question=exchange.question, context=exchange.context, options=["one", "two"], prompt=prompt)
    (made,), _ = augment([own], tmp_path)
    assert made["question"] != own["question"] and read_exchange(made).question == made["question"]
    kept = prompt[0]["content"].removeprefix(exchange.question)
    assert kept.startswith("\nFind the state.\nA) one\n") and made["prompt"][0]["content"].endswith(kept)
    assert read_exchange(made | {"question": own["question"]}) is None
