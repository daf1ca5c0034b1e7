"""The stage `rows`: sources put together, what is refused and left out of them, and a ledger that adds up."""

import json

import pytest

from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.base.runtime import Runtime
from recipes.stages import rows as stage


def turn(role, text):
    return [{"role": role, "content": text}]


def learnt(name, question, answer):
    return {
        "id": name,
        "kind": "sum",
        "node_id": f"node {name}",
        "fact_id": "",
        "family": "sums",
        "prompt": turn("user", question),
        "completion": turn("assistant", f"<answer>{answer}</answer>"),
    }


def asked(name, question, answer):
    kept = {key: value for key, value in learnt(name, question, answer).items() if key != "completion"}
    graded = {"grader": "numeric", "answer": answer, "options": None, "unit": None, "tolerance": 0.01, "difficulty": 1}
    return kept | graded | {"reply": f"It is so. <answer>{answer}</answer>"}


def source(folder, sft, test, rl=(), **more):
    """A folder of rows as a builder leaves it."""
    folder.mkdir()
    for stem, some in {"sft": sft, "test": test, "rl": rl, **more}.items():
        (folder / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    ledger = {"built": {"in": len(sft), "kept": len(sft), "dropped": {}}}
    (folder / "card.json").write_text(json.dumps({"name": folder.name, "ledger": ledger, "families": {"sums": 2}}))
    return folder


def question(start):
    """A question of its own, long enough to be told from others."""
    words = ["amber", "basalt", "cedar", "delta", "ember", "fjord", "glacier", "harbour", "island", "jungle"]
    said = " ".join(f"{words[(start + k) % 10]} {words[(start * 3 + 2 * k) % 10]}s" for k in range(8))
    return f"A keeper counts {said} and then asks how many there are in all?"


@pytest.fixture
def two(tmp_path):
    one = source(
        tmp_path / "one",
        [learnt("a1", question(1), "1"), learnt("a2", question(2), "2")],
        [asked("at", question(3), "3")],
        [asked("ar", question(4), "4")],
    )
    other = source(tmp_path / "other", [learnt("b1", question(5), "5")], [asked("bt", question(6), "6")])
    return {"one": one, "other": other}


def make(inputs, out, **table):
    out.mkdir()
    spec = spec_of("rows", seed=3, rows=stage.Config(**table), benchmarks=())
    return stage.run(spec, inputs, out, Runtime())


def ids(file):
    return [row["id"] for row in read_jsonl(file)]


def test_the_rows_of_two_sources_stand_one_behind_the_other_with_one_card(two, tmp_path):
    metrics = make(two, tmp_path / "out")
    assert ids(tmp_path / "out" / "sft.jsonl") == ["a1", "a2", "b1"] and ids(tmp_path / "out" / "rl.jsonl") == ["ar"]
    assert ids(tmp_path / "out" / "test.jsonl") == ["at", "bt"] and metrics["test_sum"] == 2 and metrics["gold"] == 3
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["name"] == "one + other" and card["families"] == {"sums": 4}
    assert {"one: built", "other: built"} <= card["ledger"].keys()
    assert ids(two["one"] / "sft.jsonl") == ["a1", "a2"], "a source stays as it is"


def test_one_source_alone_is_taken_over_byte_by_byte(two, tmp_path):
    make({"one": two["one"]}, tmp_path / "out")
    for stem in ("sft", "test", "rl"):
        assert (tmp_path / "out" / f"{stem}.jsonl").read_bytes() == (two["one"] / f"{stem}.jsonl").read_bytes()


def test_equal_ids_of_two_sources_are_refused(two, tmp_path):
    third = source(tmp_path / "third", [learnt("a2", question(7), "7")], [asked("ct", question(8), "8")])
    with pytest.raises(RecipeError, match="two rows have one id") as refused:
        make({"one": two["one"], "third": third}, tmp_path / "out")
    assert "1 ids, such as a2" in str(refused.value) and "sft.jsonl" in str(refused.value)


@pytest.mark.parametrize("stem", ["sft", "rl", "sft_general"])
def test_a_test_item_of_one_source_is_taken_out_of_the_rows_that_another_learns_from(two, tmp_path, stem):
    leak = asked("leak", question(3), "3") | {"completion": turn("assistant", "<answer>3</answer>")}
    kept = asked("kept", question(9), "9") | {"completion": turn("assistant", "<answer>9</answer>")}
    more = {"sft": [learnt("c1", question(7), "7")], "rl": [], stem: [leak, kept]}
    third = source(tmp_path / "third", test=[asked("ct", question(8), "8")], **more)
    make({"one": two["one"], "third": third}, tmp_path / "out")
    found = ids(tmp_path / "out" / f"{stem}.jsonl")
    assert "leak" not in found and "kept" in found
    dropped = [row for row in read_jsonl(tmp_path / "out" / "rows_ledger.jsonl") if row.get("reason")]
    assert len(dropped) == 1 and dropped[0]["step"] == f"decontamination of {stem}"
    assert ids(third / f"{stem}.jsonl") == ["leak", "kept"], "a source stays as it is"


def test_the_ledger_of_joined_sources_adds_up(two, tmp_path):
    leak = learnt("leak", question(3), "3")
    rows = [leak, learnt("c1", question(7), "7"), learnt("c2", question(9), "9")]
    third = source(tmp_path / "third", rows, [asked("ct", question(8), "8")])
    make({"one": two["one"], "third": third}, tmp_path / "out")
    entries = read_jsonl(tmp_path / "out" / "rows_ledger.jsonl")
    of_sft = [row for row in entries if row["step"] == "decontamination of sft" and row.get("reason")]
    assert len(ids(tmp_path / "out" / "sft.jsonl")) + len(of_sft) == 2 + 3


def test_a_folder_of_documents_takes_the_place_of_the_texts_to_learn(two, tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    text = "Slate is a fine-grained rock that splits into thin plates, and roofs were made of it for a long time."
    (folder / "page.md").write_text(f"# Rocks\n\n{text}\n")
    metrics = make({"one": two["one"], "corpus": folder}, tmp_path / "out", corpus=str(folder))
    assert [row["text"] for row in read_jsonl(tmp_path / "out" / "cpt.jsonl")] == [text]
    assert metrics["cpt_tokens"] > 10
    note = json.loads((tmp_path / "out" / "card.json").read_text())["methods"]["corpus"]
    assert note == {"folder": str(folder), "texts": 1}


def test_what_an_earlier_attempt_left_is_no_part_of_the_result(two, tmp_path):
    make(two, tmp_path / "out")
    first = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "half.jsonl").write_text("{")
    spec = spec_of("rows", seed=3, rows=stage.Config(), benchmarks=())
    stage.run(spec, two, tmp_path / "out", Runtime())
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == first


def test_the_words_of_the_rows_are_foreseen_without_the_general_ones():
    table = stage.Config.model_construct(file="sft", select={}, augment={}, mix={}, corpus="")
    counts = {"sft": 10, "tokens": 500}
    work = stage.forecast(type("Spec", (), {"rows": table}), counts, None)
    assert work.rows == 10 and counts == {"sft": 10, "tokens": 500, "general_rows": 0}
