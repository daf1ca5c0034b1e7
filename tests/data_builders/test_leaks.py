"""The leak gate finds planted test items in training rows and leaves templates alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data_builders.core.benchmarks import Item, outside, without_items, without_leaks
from data_builders.core.leaks import find_leaks, leak_report
from data_builders.core.leaks import pieces as cut_pieces
from data_builders.core.ledger import Ledger
from data_builders.core.schema import GradedRow, SftRow
from recipes.base.errors import RecipeError

OPTIONS = ("the gate current", "the gate-source voltage", "the drain current", "the bulk voltage")
PIECES = "50 characters"
KNOWN = (
    "Two matched transistors share gates and sources in a simple mirror, so which quantity must be equal in both "
    "of them at every moment?"
)


def choice(question):
    shown = "\n".join(f"{letter}) {option}" for letter, option in zip("ABCD", OPTIONS, strict=True))
    return f"{question}\n{shown}\nGive the right option in <answer> tags."


def calculation(current, ratio):
    return (
        f"A current mirror of matched devices in one well has reference current Iref = {current} uA and size ratio "
        f"K = {ratio}. Find the output current.\nGive the final answer in <answer> tags."
    )


def solved(current, ratio):
    result = current * ratio
    return (
        f"<think>Iout = Iref * K = {current} * {ratio} = {result}</think>\nThe output current is {result} uA.\n"
        f"<answer>{result} uA</answer>"
    )


def training(prompt, reply="<think>Because.</think>\nSo: yes.\n<answer>yes</answer>", name="row", fact="other"):
    return SftRow(
        name, [{"role": "user", "content": prompt}], [{"role": "assistant", "content": reply}], "open", "n", fact, "x"
    )


KNOWLEDGE = GradedRow(
    "k",
    [{"role": "user", "content": choice(KNOWN)}],
    "B",
    "<think>Gates are joined and sources are joined, so both have the same gate-source voltage.</think>\n"
    "So the right option is: the gate-source voltage.\n<answer>B</answer>",
    "choice",
    "knowledge",
    OPTIONS,
    None,
    None,
    0,
    "n",
    "f",
    "x",
)
NUMERIC = GradedRow(
    "c",
    [{"role": "user", "content": calculation(20, 3)}],
    "60 uA",
    solved(20, 3),
    "numeric",
    "calculation",
    None,
    "uA",
    0.01,
    1,
    "n",
    "g",
    "x",
)


def counts(*rows, tests=(KNOWLEDGE, NUMERIC), threshold=0.0):
    report = leak_report(list(rows), list(tests), threshold)
    return report["passed"], {kind: value["pairs"] for kind, value in report["counts"].items() if kind != PIECES}


def test_a_verbatim_question_is_an_exact_hit_whatever_its_options():
    prompt = choice(KNOWN).replace("bulk", "body")
    assert counts(training(prompt)) == (False, {"exact": 1, "normalised": 0, "13-gram": 0})


def test_a_question_that_begins_like_a_request_or_an_option_is_compared_whole():
    leak = "Give the smallest supply at which a cascode mirror of two stacked devices still keeps its output current."
    for question in (leak, f"{leak}\nA) reference of a list\nWhich holds?"):
        item = Item("b", [{"role": "user", "content": question}])
        assert [hit["kind"] for hit in find_leaks([training(f"Somebody asked: {question}")], [item])] == ["13-gram"]
        assert find_leaks([training("Give the capital of France.")], [item]) == []


def test_changed_case_and_punctuation_is_a_normalised_hit():
    prompt = KNOWN.upper().replace(",", " -").replace("?", "") + "\nGive the final answer in <answer> tags."
    assert counts(training(prompt)) == (False, {"exact": 0, "normalised": 1, "13-gram": 0})


@pytest.mark.parametrize("where", ["prompt", "reply"])
def test_thirteen_words_of_a_question_anywhere_are_a_hit(where):
    piece = "It was said that " + " ".join(KNOWN.split()[4:17]) + " and more."
    row = (
        training(piece)
        if where == "prompt"
        else training("Other?", f"<think>{piece}</think>\nSo: x.\n<answer>x</answer>")
    )
    assert counts(row) == (False, {"exact": 0, "normalised": 0, "13-gram": 1})


def test_twelve_words_a_near_topic_and_the_taught_fact_are_no_hit():
    rows = (
        training(" ".join(KNOWN.split()[:12])),
        training("Which voltage do both transistors of a mirror share?"),
        training("Why?", KNOWLEDGE.reply),
    )
    assert counts(*rows) == (True, {"exact": 0, "normalised": 0, "13-gram": 0})


def test_a_template_with_other_numbers_is_no_hit_and_with_the_same_numbers_is():
    others = [
        training(calculation(current, ratio), solved(current, ratio)) for current, ratio in ((20, 4), (30, 3), (60, 1))
    ]
    assert counts(*others) == (True, {"exact": 0, "normalised": 0, "13-gram": 0})
    passed, found = counts(training(calculation(20, 3).replace("Find", "Say")))
    assert not passed and found["13-gram"] == 1


def test_the_worked_solution_of_a_tested_calculation_is_a_hit_under_another_question():
    row = training("Multiply the reference by the ratio.", solved(20, 3))
    assert counts(row) == (False, {"exact": 0, "normalised": 0, "13-gram": 1})


def test_rows_for_reinforcement_are_checked_too():
    assert counts(replace(NUMERIC, id="other")) == (False, {"exact": 1, "normalised": 0, "13-gram": 0})


def test_the_threshold_counts_test_items_and_never_forgives_an_exact_hit():
    tests = [KNOWLEDGE] + [
        replace(KNOWLEDGE, id=str(number), prompt=[{"role": "user", "content": choice(f"Question {number}?")}])
        for number in range(99)
    ]
    piece = training(" ".join(KNOWN.split()[:14]))
    assert counts(piece, piece, tests=tests, threshold=0.01)[0]
    assert not counts(piece, tests=tests, threshold=0.009)[0]
    assert not counts(training(choice(KNOWN)), tests=tests, threshold=1.0)[0]


def test_the_report_shows_counts_and_examples():
    report = leak_report([training(choice(KNOWN), name="guilty")], [KNOWLEDGE, NUMERIC], 0.005)
    assert report["examples"] == [{"kind": "exact", "row": "guilty", "item": "k", "text": KNOWN}]
    assert report["counts"]["exact"] == {"pairs": 1, "test_items": 1, "training_rows": 1}
    assert (report["training_rows"], report["test_items"], report["threshold"]) == (1, 2, 0.005)


def test_thousands_of_calculations_of_one_template_are_no_leaks_of_each_other():
    rows = [
        training(calculation(current, ratio), solved(current, ratio)) for current in range(80) for ratio in range(75)
    ]
    tests = [
        replace(NUMERIC, id=str(n), prompt=[{"role": "user", "content": calculation(n, 80)}], reply=solved(n, 80))
        for n in range(700)
    ]
    assert leak_report(rows, tests, 0.0)["passed"]


def pieces(*rows, tests=(KNOWLEDGE, NUMERIC), phrases=()):
    report = leak_report(list(rows), list(tests), 0.0, phrases)
    return report["counts"][PIECES]["pairs"], report["excused"]


def test_fifty_letters_of_a_question_are_a_hit_whatever_stands_between_them():
    words = KNOWN.split()
    parts = [" / ".join(words[start : start + 12]) for start in range(len(words) - 11)]  # too short for a run of 13
    assert sum(pieces(training(f"Here: {part.upper()}!"))[0] for part in parts) >= 3
    spaced = " ".join(KNOWN.replace(" ", ""))  # no word is left to count
    assert counts(training(spaced)) == (False, {"exact": 0, "normalised": 0, "13-gram": 0})
    assert pieces(training("Which voltage do both transistors of a simple mirror share at every moment?"))[0] == 0


def test_a_row_of_the_same_fact_may_share_fifty_letters_but_not_thirteen_words():
    words = KNOWN.split()
    parts = [" ".join(words[start : start + 12]) for start in range(len(words) - 11)]
    assert sum(pieces(training(part, fact="f"))[0] for part in parts) == 0 < sum(pieces(training(p))[0] for p in parts)
    assert not leak_report([training(KNOWN[:-20], fact="f")], [KNOWLEDGE], 0.0)["passed"]


def test_a_piece_of_a_calculation_holds_all_its_numbers_and_cuts_none():
    prompt = [{"role": "user", "content": "Find the output of a mirror with Iref = 20 uA and a ratio of K = 3"}]
    item = replace(NUMERIC, prompt=prompt)
    same = training("Please, find the output of a mirror with: Iref = 20 uA, and a ratio of K = 3, and say why.")
    other = training("Please, find the output of a mirror with: Iref = 20 uA, and a ratio of K = 35, and say why.")
    longer = training("Please, find the output of a mirror with: Iref = 20 uA, and a ratio of K = 3.5, and say why.")
    assert leak_report([same], [item], 0.0)["counts"]["13-gram"]["pairs"] == 1
    hits = [find_leaks([row], [replace(item, id="x")]) for row in (other, longer)]
    assert hits == [[], []] and len(cut_pieces(item)) >= 1


def test_a_whitelisted_phrase_is_excused_and_counted_and_more_than_it_is_not():
    phrase = " ".join(KNOWN.split()[2:18])
    inside, beyond = training(phrase), training(" ".join(KNOWN.split()[:22]))
    assert not leak_report([inside], [KNOWLEDGE], 0.0)["passed"]
    report = leak_report([inside], [KNOWLEDGE], 0.0, [phrase.upper()])
    assert report["passed"] and report["excused"] >= 4
    assert not leak_report([beyond], [KNOWLEDGE], 0.0, [phrase])["passed"]


def test_rows_that_hold_items_of_a_benchmark_go_with_its_name(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": KNOWN, "options": ["x"]}) + "\n", encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps([{"prompt": "Is this a very short one?"}, {"prompt": "Other?"}]))
    (tmp_path / "c.csv").write_text('problem,answer\n"How long is a piece of string, in metres and feet?",2\n')
    benchmarks = outside([str(tmp_path / name) for name in ("a.jsonl", "b.json", "c.csv")])
    benchmarks = {Path(name).name: items for name, items in benchmarks.items()}
    assert [len(items) for items in benchmarks.values()] == [1, 2, 1]
    guilty = training("Tell me: " + " ".join(KNOWN.split()[3:18]), name="guilty")
    asked = training("IS THIS A VERY SHORT ONE", name="asked")
    good = training("What else is there to ask about mirrors?", name="good")
    ledger = Ledger()
    kept, found = without_leaks([guilty, good, asked], [], benchmarks, (), ledger)
    assert [row.id for row in kept] == ["good"]
    assert ledger.totals()["decontamination"]["reasons"] == {
        "holds an item of a.jsonl (13-gram)": 1,
        "holds an item of b.json (normalised)": 1,
    }
    assert found["a.jsonl"] == {"items": 1, "items_hit": 1, "rows_removed": 1} and found["c.csv"]["rows_removed"] == 0


def test_rows_that_share_fifty_letters_with_an_own_test_item_go_and_worse_is_left_to_the_gate():
    words, ledger = KNOWN.split(), Ledger()
    shared = [training(" ".join(words[at : at + 12]), name=f"s{at}") for at in range(len(words) - 11)]
    rows = [*shared, training(choice(KNOWN), name="whole")]
    kept, _ = without_leaks(rows, [KNOWLEDGE], {}, (), ledger)
    assert len(kept) < len(rows) and kept[-1].id == "whole"
    assert leak_report(kept[:-1], [KNOWLEDGE], 0.0)["passed"] and not leak_report(kept, [KNOWLEDGE], 0.0)["passed"]
    assert ledger.totals()["decontamination"]["reasons"] == {
        "holds an item of the test (50 characters)": len(rows) - len(kept)
    }


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("x.jsonl", '{"a": 1}', "no question"), ("x.json", "{", "cannot be read"), ("x.txt", "", "cannot be found")],
)
def test_a_benchmark_that_cannot_be_read_stops_the_build(tmp_path, name, text, words):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=words):
        outside([str(tmp_path / name)])


def test_unusual_line_breaks_inside_a_test_item_are_part_of_it(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "first\u2028second"}, ensure_ascii=False) + "\n")
    (tmp_path / "b.csv").write_text('question,answer\n"first line ends\nsecond line starts",2\n')
    items = outside([str(tmp_path / name) for name in ("a.jsonl", "b.csv")]).values()
    first, second = (item.prompt[0]["content"] for (item,) in items)
    assert (first, second) == ("first\u2028second", "first line ends\nsecond line starts")


def test_texts_to_go_on_with_and_general_rows_are_kept_apart_from_outside_tests_too():
    item = Item("b", [{"role": "user", "content": KNOWN}])
    turns = {
        "prompt": [{"role": "user", "content": "Other?"}],
        "completion": [{"role": "assistant", "content": f"They ask: {KNOWN}"}],
    }
    rows = [{"text": f"Chapter one. {KNOWN} So it goes."}, {"text": "Chapter two."}, turns]
    ledger = Ledger()
    kept, gone = without_items(rows, {"theirs": [item]}, ledger, "general")
    assert kept == [rows[1]] and gone == {"theirs": 2}
    assert [row["source"] for row in ledger.rows] == ["row 1", "row 3"]
    assert ledger.totals()["general"]["reasons"] == {"holds an item of theirs (13-gram)": 2}
