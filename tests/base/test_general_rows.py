"""General rows: every known form comes out as the same turns, others are refused by name before a run."""

import gzip
import json

import pytest

from data_builders.core.benchmarks import read_benchmarks
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.general_rows import LINE, check_general_rows, iterate_records, read_general_rows
from recipes.base.places import GENERAL_TRAIN, ROOT
from recipes.config.load import load

ASKED, ANSWERED = "Name a fruit, “ripe”.", "A pear."
ROW = {
    "prompt": [{"role": "user", "content": ASKED}],
    "completion": [{"role": "assistant", "content": ANSWERED}],
}
RECORDS = {
    "turns in prompt and completion": ROW,
    "prompt and completion as strings": {"prompt": ASKED, "completion": f" {ANSWERED}\n"},
    "messages": {"messages": [ROW["prompt"][0], ROW["completion"][0]]},
    "ShareGPT": {"id": 7, "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]},
    "Alpaca": {"instruction": ASKED, "input": "", "output": ANSWERED, "text": "### Instruction: …"},
    "question and answer": {"question": ASKED, "answer": ANSWERED, "source": None},
    "problem and solution": {"problem": ASKED, "solution": ANSWERED},
}


def lines(file, *records):
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def write_json(file, records):
    file.write_text(json.dumps(records, indent=1), encoding="utf-8-sig")


def write_nested(file, records):
    file.write_text(json.dumps({"version": 1, "data": records}), encoding="utf-8")


def write_packed(file, records):
    file.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))


def write_crlf(file, records):
    file.write_bytes(("\ufeff\r\n" + "\r\n".join(json.dumps(record) for record in records)).encode("utf-8"))


WRITERS = {
    "rows.jsonl": lambda file, records: lines(file, *records),
    "rows.json": write_json,
    "nested.json": write_nested,
    "lines.json": lambda file, records: lines(file, *records),
    "rows.jsonl.gz": write_packed,
    "rows": write_crlf,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("form", RECORDS)
def test_every_form_in_every_kind_of_file_comes_out_as_the_same_turns(form, name, tmp_path):
    WRITERS[name](tmp_path / name, [RECORDS[form]] * 3)
    rows, counts = read_general_rows(tmp_path / name, texts=False)
    assert [{key: row[key] for key in ROW} for row in rows] == [ROW] * 3
    assert counts.forms == {form: 3} and not counts.left_out
    assert counts.describe() == ("" if form.startswith("turns") else f"3 rows read as {form}")
    check_general_rows(tmp_path / name, texts=False)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_has_the_names_of_its_head_line(separator, tmp_path):
    text = separator.join(["question", "answer"]) + '\r\n"Say\r\ntwo"' + separator + "2\r\n\r\n"
    (tmp_path / "rows.csv").write_bytes(text.encode("utf-8-sig"))
    rows, counts = read_general_rows(tmp_path / "rows.csv", texts=False)
    assert [row["prompt"][0]["content"] for row in rows] == ["Say\r\ntwo"]
    assert rows[0]["completion"][0]["content"] == "2" and counts.forms == {"question and answer": 1}


def test_a_long_field_of_a_table_is_read_whole(tmp_path):
    (tmp_path / "rows.csv").write_text(f"question,answer\nSay x,{'x' * 200_000}\n", encoding="utf-8")
    (row,), _ = read_general_rows(tmp_path / "rows.csv", texts=False)
    assert len(row["completion"][0]["content"]) == 200_000


def test_the_input_of_alpaca_stands_below_the_instruction_and_a_system_text_before_both(tmp_path):
    record = {"instruction": "Sort.", "input": "c, a", "output": "a, c", "system": "Be brief."}
    (row,), _ = read_general_rows(lines(tmp_path / "a.jsonl", record), texts=False)
    assert row["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Sort.\n\nc, a"},
    ]


def test_of_several_turns_the_last_reply_is_learnt_and_what_follows_it_is_not(tmp_path):
    turns = ["system", "human", "gpt", "human", "gpt", "human"]
    record = {"conversations": [{"from": who, "value": f"{place}"} for place, who in enumerate(turns)]}
    (row,), _ = read_general_rows(lines(tmp_path / "s.jsonl", record), texts=False)
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user", "assistant", "user"]
    assert row["completion"] == [{"role": "assistant", "content": "4"}]


def test_content_in_parts_is_joined_and_half_a_surrogate_pair_replaced(tmp_path):
    parts = [{"type": "text", "text": "One "}, {"type": "text", "text": "\ud83d"}]
    record = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "Two"}]}
    (row,), _ = read_general_rows(lines(tmp_path / "p.jsonl", record), texts=False)
    assert row["prompt"][0]["content"] == "One \ufffd"


def test_rows_without_a_reply_or_a_question_are_left_out_and_counted(tmp_path):
    empty = {"instruction": "Say.", "output": ""}
    alone = {"conversations": [{"from": "gpt", "value": "Hello"}]}
    asked = {"messages": [{"role": "user", "content": "Hello?"}]}
    rows, counts = read_general_rows(lines(tmp_path / "e.jsonl", empty, alone, asked, RECORDS["Alpaca"]), texts=False)
    assert len(rows) == 1 and counts.left_out == {"no reply": 2, "no question before the reply": 1}
    assert counts.describe() == "1 rows read as Alpaca, 2 left out: no reply, 1 left out: no question before the reply"
    with pytest.raises(RecipeError, match="no row has anything to learn"):
        check_general_rows(lines(tmp_path / "none.jsonl", empty), texts=False)


def test_running_text_is_for_pre_training_alone(tmp_path):
    file = lines(tmp_path / "t.jsonl", "A pear is a fruit.", {"text": "So is a fig."})
    rows, counts = read_general_rows(file, texts=True)
    assert [row["text"] for row in rows] == ["A pear is a fruit.", "So is a fig."]
    assert counts.describe() == "1 rows read as plain strings"
    with pytest.raises(RecipeError, match="running text has no question"):
        read_general_rows(file, texts=False)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"chosen": "a", "rejected": "b"}, "preference pairs, keys: chosen, rejected"),
        ({"frage": "a", "antwort": "b"}, "keys: frage, antwort"),
        ([1, 2], "row 1"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "a turn of 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part of the kind image_url"),
        ({"prompt": [{"content": "a"}], "completion": [{"content": "b"}]}, "a turn {'content': 'a'}"),
    ],
)
def test_other_forms_are_refused_by_the_keys_found(record, said, tmp_path):
    with pytest.raises(RecipeError) as refused:
        read_general_rows(lines(tmp_path / "o.jsonl", record), texts=True)
    assert said in str(refused.value) and "ShareGPT" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1....", "a Parquet file"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b'{"question": "caf\xe9"}', "UnicodeDecodeError"),
        (gzip.compress(b'{"question": "a", "answer": "b"}\n' * 99)[:30], "EOFError"),
        (b'{"question": "a", "answer": "b"}\n{"question": ', "line 2"),
        (b"[" * 100_000, "not valid JSON|nested too deep"),
        (gzip.compress(b'"' + b"x" * (LINE + 10), 1), "a line of more than"),
    ],
    ids=["Parquet", "ZIP", "latin-1", "cut gzip", "broken line", "deep list", "endless line"],
)
def test_files_of_another_kind_are_refused_by_name(content, said, tmp_path):
    (tmp_path / "f.jsonl").write_bytes(content)
    with pytest.raises(RecipeError) as refused:
        read_general_rows(tmp_path / "f.jsonl", texts=False)
    assert any(part in str(refused.value) for part in said.split("|")), refused.value


def test_the_embedded_rows_are_read_as_they_are():
    rows, counts = read_general_rows(GENERAL_TRAIN, texts=False)
    assert rows == [json.loads(line) for line in GENERAL_TRAIN.read_text(encoding="utf-8").splitlines()]
    assert counts.describe() == ""


KEYS = {
    "analogseeker": ("rows.mix.replay.general", "rows.mix.replay.share=0.1"),
    "scilitllm": ("data.general", "data.general_rows=2"),
}


@pytest.mark.parametrize("recipe", KEYS)
def test_another_form_is_refused_before_anything_is_spent(recipe, tmp_path):
    key, size = KEYS[recipe]
    file = lines(tmp_path / "general.jsonl", RECORDS["ShareGPT"], RECORDS["Alpaca"])
    load(ROOT / "recipes.toml", recipe, "embedded", [f"{key}={file}", size])
    lines(file, RECORDS["ShareGPT"], {"frage": "a", "antwort": "b"})
    with pytest.raises(ConfigErrors) as refused:
        load(ROOT / "recipes.toml", recipe, "embedded", [f"{key}={file}", size])
    assert f"{key}: a general row has another form" in str(refused.value)
    assert "line 2: keys: frage, antwort" in str(refused.value)


def test_general_text_of_pre_training_may_be_strings_and_is_looked_at_before(tmp_path):
    sets = ["cpt.epochs=1", "cpt.general_share=0.2", f"cpt.general={tmp_path / 'general.jsonl'}"]
    lines(tmp_path / "general.jsonl", "A pear is a fruit.", RECORDS["messages"])
    load(ROOT / "recipes.toml", "analogseeker", "embedded", sets)
    lines(tmp_path / "general.jsonl", {"body": "A pear."})
    with pytest.raises(ConfigErrors, match=r"cpt\.general: a general row has another form"):
        load(ROOT / "recipes.toml", "analogseeker", "embedded", sets)


@pytest.mark.parametrize("form", RECORDS)
def test_a_test_set_from_outside_may_have_any_of_these_forms(form, tmp_path):
    name = str(lines(tmp_path / "theirs.jsonl", RECORDS[form]))
    assert [item.question for item in read_benchmarks((name,))[name]] == [ASKED]
    write_packed(tmp_path / "theirs.jsonl.gz", [ASKED])
    packed = str(tmp_path / "theirs.jsonl.gz")
    assert [item.question for item in read_benchmarks((packed,))[packed]] == [ASKED]


def test_a_record_says_where_it_stands(tmp_path):
    lines(tmp_path / "a.jsonl", {"a": 1})
    (tmp_path / "a.jsonl").write_text('\n\n{"a": 1}\n\n{"a": 2}', encoding="utf-8")
    assert [where.rpartition(", ")[2] for where, _ in iterate_records(tmp_path / "a.jsonl")] == ["line 3", "line 5"]
