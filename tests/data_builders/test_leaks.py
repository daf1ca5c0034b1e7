"""The leak gate finds planted test items in training rows and leaves templates alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.build import Leaks, Made, finish
from data_builders.core.decontamination import remove_test_items
from data_builders.core.leaks import KINDS, compare_question, compare_row, find_leaks, leak_report
from data_builders.core.leaks import pieces as cut_pieces
from data_builders.core.ledger import CLEANED, Ledger
from recipes.base.errors import RecipeError
from recipes.base.jsonl import encode_json, read_jsonl
from recipes.base.reply_form import render_messages
from recipes.base.rows import GradedRow, SftRow, dump_row

OPTIONS = ("the gate current", "the gate-source voltage", "the drain current", "the bulk voltage")
PIECES = "50 characters"
KNOWN = (
    "Two matched transistors share gates and sources in a simple mirror, so which quantity must be equal in both "
    "of them at every moment?"
)


QUESTION = (
    "A current mirror of matched devices in one well has reference current Iref = {} uA and size ratio K = {}. "
    "Find the output current."
)


def calculation(current, ratio):
    return QUESTION.format(current, ratio)


def solved(current, ratio):
    result = current * ratio
    return {
        "thinking": f"Iout = Iref * K = {current} * {ratio} = {result}",
        "solution": f"The output current is {result} uA.",
        "answer": f"{result} uA",
    }


def training(question, reply=None, name="row", fact="other", **fields):
    """A training row; `reply` holds the fields of its reply."""
    reply = reply or {"thinking": "Because.", "solution": "So: yes.", "answer": "yes"}
    return SftRow(id=name, kind="open", node_id="n", fact_id=fact, family="x", question=question, **reply, **fields)


def plain(text, reply="Yes."):
    """A row of a file from outside: turns and nothing else."""
    return {"prompt": [{"role": "user", "content": text}], "completion": [{"role": "assistant", "content": reply}]}


KNOWLEDGE = GradedRow(
    id="k",
    kind="knowledge",
    question=KNOWN,
    options=OPTIONS,
    thinking="Gates are joined and sources are joined, so both have the same gate-source voltage.",
    solution="So the right option is: the gate-source voltage.",
    answer="B",
    grader="choice",
    node_id="n",
    fact_id="f",
    family="x",
)
NUMERIC = GradedRow(
    id="c",
    kind="calculation",
    question=calculation(20, 3),
    **solved(20, 3),
    grader="numeric",
    unit="uA",
    tolerance=0.01,
    node_id="n",
    fact_id="g",
    family="x",
)


def report(rows, tests, threshold=0.0, phrases=()):
    return leak_report(list(map(compare_row, rows)), list(map(compare_row, tests)), threshold, phrases)


def leaks(rows, tests):
    """The kinds of overlap, one for each pair."""
    rows = [compare_row(row, str(place)) for place, row in enumerate(rows)]
    return [hit["kind"] for hit in find_leaks(rows, tests)]


def counts(*rows, tests=(KNOWLEDGE, NUMERIC), threshold=0.0):
    found = report(rows, tests, threshold)
    return found["passed"], {kind: value["pairs"] for kind, value in found["counts"].items() if kind != PIECES}


def test_a_verbatim_question_is_an_exact_hit_whatever_its_options():
    row = training(KNOWN, {"answer": "B"}, options=tuple(option.replace("bulk", "body") for option in OPTIONS))
    assert counts(row) == counts(training(KNOWN)) == (False, {"exact": 1, "normalised": 0, "13-gram": 0})


@pytest.mark.parametrize("last", ["", "\nGive the final answer in <answer> tags.", "\nA) reference of a list\nB) none"])
def test_a_question_that_reads_like_a_request_or_a_list_of_options_is_compared_whole(last):
    question = (
        "Give the smallest supply at which a cascode mirror of two stacked devices still keeps its current." + last
    )
    for item in (compare_question("b", question), compare_row(training(question))):
        assert leaks([training(f"Somebody asked: {question}")], [item]) == ["13-gram"]
        assert leaks([training(question)], [item]) == ["exact"] == leaks([plain(question)], [item])
        assert leaks([training("Give the capital of France.")], [item]) == []


def test_reworded_requests_change_nothing_that_is_compared():
    reworded = replace(KNOWLEDGE, id="r", asks_for="only the letter, and nothing else at all")
    assert report([reworded], [KNOWLEDGE])["counts"]["exact"]["pairs"] == 1
    assert compare_row(reworded).question == compare_row(KNOWLEDGE).question == KNOWN


def test_the_context_of_a_question_is_part_of_it():
    item = replace(KNOWLEDGE, question="What is it?", context="Iref = 20 uA")
    same, other = (training("What is it?", context=context) for context in ("Iref = 20 uA", "Iref = 30 uA"))
    assert leaks([same], [compare_row(item)]) == ["exact"] and leaks([other], [compare_row(item)]) == []


def test_a_row_from_outside_that_is_a_test_item_is_a_hit_with_and_without_its_options_and_request():
    short = replace(KNOWLEDGE, question="Equal in both?")
    whole = render_messages(short)[0][0]["content"]
    assert whole.endswith("tags.") and "\nB) the gate-source voltage\n" in whole
    for text, kind in ((whole, "exact"), ("Equal in both?", "exact"), (whole.upper(), "normalised")):
        assert leaks([plain(text)], [compare_row(short)]) == [kind]
    assert leaks([plain("Equal in one?")], [compare_row(short)]) == []


def test_rows_as_a_file_has_them_are_compared_like_rows_in_memory():
    file = [json.loads(encode_json(dump_row(row))) for row in (KNOWLEDGE, NUMERIC)]
    assert [compare_row(row) for row in file] == [compare_row(KNOWLEDGE), compare_row(NUMERIC)]


def test_changed_case_and_punctuation_is_a_normalised_hit():
    assert counts(training(KNOWN.upper().replace(",", " -").replace("?", ""))) == (
        False,
        {"exact": 0, "normalised": 1, "13-gram": 0},
    )


@pytest.mark.parametrize("where", ["prompt", "reply"])
def test_thirteen_words_of_a_question_anywhere_are_a_hit(where):
    piece = "It was said that " + " ".join(KNOWN.split()[4:17]) + " and more."
    row = (
        training(piece)
        if where == "prompt"
        else training("Other?", {"thinking": piece, "solution": "So: x.", "answer": "x"})
    )
    assert counts(row) == (False, {"exact": 0, "normalised": 0, "13-gram": 1})


def test_twelve_words_a_near_topic_and_the_taught_fact_are_no_hit():
    rows = (
        training(" ".join(KNOWN.split()[:12])),
        training("Which voltage do both transistors of a mirror share?"),
        training("Why?", {name: getattr(KNOWLEDGE, name) for name in ("thinking", "solution")} | {"answer": "B"}),
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
    tests = [KNOWLEDGE] + [replace(KNOWLEDGE, id=str(number), question=f"Question {number}?") for number in range(99)]
    piece = training(" ".join(KNOWN.split()[:14]))
    assert counts(piece, piece, tests=tests, threshold=0.01)[0]
    assert not counts(piece, tests=tests, threshold=0.009)[0]
    assert not counts(training(KNOWN), tests=tests, threshold=1.0)[0]


def test_the_report_shows_counts_and_examples():
    found = report([training(KNOWN, name="guilty")], [KNOWLEDGE, NUMERIC], 0.005)
    assert found["examples"] == [{"kind": "exact", "row": "guilty", "item": "k", "text": KNOWN}]
    assert found["counts"]["exact"] == {"pairs": 1, "test_items": 1, "training_rows": 1}
    assert (found["training_rows"], found["test_items"], found["threshold"]) == (1, 2, 0.005)


def test_thousands_of_calculations_of_one_template_are_no_leaks_of_each_other():
    rows = [
        training(calculation(current, ratio), solved(current, ratio)) for current in range(80) for ratio in range(75)
    ]
    tests = [replace(NUMERIC, id=str(n), question=calculation(n, 80), **solved(n, 80)) for n in range(700)]
    assert report(rows, tests)["passed"]


def pieces(*rows, tests=(KNOWLEDGE, NUMERIC), phrases=()):
    found = report(rows, tests, 0.0, phrases)
    return found["counts"][PIECES]["pairs"], found["excused"]


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
    assert not report([training(KNOWN[:-20], fact="f")], [KNOWLEDGE])["passed"]


def test_a_piece_of_a_calculation_holds_all_its_numbers_and_cuts_none():
    item = replace(NUMERIC, question="Find the output of a mirror with Iref = 20 uA and a ratio of K = 3")
    same = training("Please, find the output of a mirror with: Iref = 20 uA, and a ratio of K = 3, and say why.")
    other = training("Please, find the output of a mirror with: Iref = 20 uA, and a ratio of K = 35, and say why.")
    longer = training("Please, find the output of a mirror with: Iref = 20 uA, and a ratio of K = 3.5, and say why.")
    assert report([same], [item])["counts"]["13-gram"]["pairs"] == 1
    assert leaks([other, longer], [compare_row(item)]) == [] and len(cut_pieces(compare_row(item))) >= 1


def test_a_whitelisted_phrase_is_excused_and_counted_and_more_than_it_is_not():
    phrase = " ".join(KNOWN.split()[2:18])
    inside, beyond = training(phrase), training(" ".join(KNOWN.split()[:22]))
    assert not report([inside], [KNOWLEDGE])["passed"]
    found = report([inside], [KNOWLEDGE], phrases=[phrase.upper()])
    assert found["passed"] and found["excused"] >= 4
    assert not report([beyond], [KNOWLEDGE], phrases=[phrase])["passed"]


def test_rows_that_hold_items_of_a_benchmark_go_with_its_name(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": KNOWN, "options": ["x"]}) + "\n", encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps([{"prompt": "Is this a very short one?"}, {"prompt": "Other?"}]))
    (tmp_path / "c.csv").write_text('problem,answer\n"How long is a piece of string, in metres and feet?",2\n')
    benchmarks = read_benchmarks([str(tmp_path / name) for name in ("a.jsonl", "b.json", "c.csv")])
    benchmarks = {Path(name).name: items for name, items in benchmarks.items()}
    assert [len(items) for items in benchmarks.values()] == [1, 2, 1]
    guilty = training("Tell me: " + " ".join(KNOWN.split()[3:18]), name="guilty")
    asked = training("IS THIS A VERY SHORT ONE", name="asked")
    good = training("What else is there to ask about mirrors?", name="good")
    ledger = Ledger()
    kept, found = remove_test_items([guilty, good, asked], [], benchmarks, ledger, CLEANED)
    assert [row.id for row in kept] == ["good"]
    assert ledger.totals()["decontamination"]["reasons"] == {
        "holds an item of a.jsonl (13-gram)": 1,
        "holds an item of b.json (normalised)": 1,
    }
    assert found["a.jsonl"] == {"items": 1, "items_hit": 1, "rows_removed": 1} and found["c.csv"]["rows_removed"] == 0


def test_rows_that_share_fifty_letters_with_an_own_test_item_go_and_worse_is_left_to_the_gate():
    words, ledger = KNOWN.split(), Ledger()
    shared = [training(" ".join(words[at : at + 12]), name=f"s{at}") for at in range(len(words) - 11)]
    rows = [*shared, training(KNOWN, name="whole")]
    kept, _ = remove_test_items(rows, [compare_row(KNOWLEDGE)], {}, ledger, CLEANED, kinds=[PIECES])
    assert len(kept) < len(rows) and kept[-1].id == "whole"
    assert report(kept[:-1], [KNOWLEDGE])["passed"] and not report(kept, [KNOWLEDGE])["passed"]
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
        read_benchmarks([str(tmp_path / name)])


def test_unusual_line_breaks_inside_a_test_item_are_part_of_it(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "first\u2028second"}, ensure_ascii=False) + "\n")
    (tmp_path / "b.csv").write_text('question,answer\n"first line ends\nsecond line starts",2\n')
    items = read_benchmarks([str(tmp_path / name) for name in ("a.jsonl", "b.csv")]).values()
    first, second = (item.question for (item,) in items)
    assert (first, second) == ("first\u2028second", "first line ends\nsecond line starts")


def test_a_test_set_that_a_recipe_wrote_is_compared_by_question_and_context(tmp_path):
    row = replace(KNOWLEDGE, question="What is it?", context=KNOWN)
    (tmp_path / "test.jsonl").write_text(encode_json(dump_row(row)) + "\n")
    (item,) = read_benchmarks([str(tmp_path / "test.jsonl")])[str(tmp_path / "test.jsonl")]
    assert item.question == f"What is it?\n{KNOWN}"


ROWS = [
    {"text": f"Chapter one. {KNOWN} So it goes."},
    {"text": "Chapter two."},
    plain("Other?", f"They ask: {KNOWN}"),
    plain(KNOWN) | {"id": "third"},
]


@pytest.mark.parametrize("own", [True, False])
def test_running_texts_and_general_rows_are_kept_apart_from_own_and_outside_tests_alike(own):
    items, ledger, name = [compare_row(KNOWLEDGE)], Ledger(), "the test" if own else "theirs"
    kept, gone = remove_test_items(ROWS, items if own else [], {} if own else {"theirs": items}, ledger, "general")
    assert kept == [ROWS[1]] and gone[name] == {"items": 1, "items_hit": 1, "rows_removed": 3}
    assert [row["source"] for row in ledger.rows] == ["row 1", "row 3", "third"]
    reasons = {f"holds an item of {name} (13-gram)": 2, f"holds an item of {name} (exact)": 1}
    assert ledger.totals()["general"] == {"in": 4, "kept": 1, "dropped": 3, "reasons": reasons}


def test_the_text_that_a_fact_was_taken_from_may_share_fifty_letters_with_its_test_but_not_thirteen_words():
    words, item = KNOWN.split(), compare_row(KNOWLEDGE)
    parts = [" ".join(words[start : start + 12]) for start in range(len(words) - 11)]
    assert leaks([{"text": part, "node_id": "n"} for part in parts], [item]) == []
    assert set(leaks([{"text": part, "node_id": "other"} for part in parts], [item])) == {PIECES}
    assert leaks([{"text": f"It was asked: {KNOWN}", "node_id": "n"}], [item]) == ["13-gram"]


def test_a_text_does_not_hold_the_whole_question_that_was_drawn_from_it_however_short():
    exercise = "Which voltage do both transistors of a mirror share?"
    item = compare_row(replace(KNOWLEDGE, question=exercise))
    book = {"node_id": "n", "text": f"Both see the same voltage. Exercise 3: {exercise} Say why."}
    assert leaks([book], [item]) == [PIECES]
    assert leaks([book | {"text": "Both transistors of a mirror share the gate-source voltage."}], [item]) == []


def made(**files):
    node = {"node_id": "n", "number": "", "path": ["n"], "family": "x", "text": "A text."}
    return Made([node], [training("What else is there to ask about mirrors?")], [], [KNOWLEDGE], files)


def finished(out, made, leaks=None):
    ledger = Ledger()
    metrics = finish(out, "b", 1, "About. Limits: none.", made, ledger, leaks or Leaks(), lambda text: None)
    return metrics, ledger.totals(), json.loads((out / "leaks.json").read_text())


@pytest.mark.parametrize("stem", ["sft_general", "cpt", "dpo", "sft_of_ones_own"])
@pytest.mark.parametrize("kinds", [(), KINDS])
def test_no_file_that_a_model_learns_holds_an_item_of_the_recipes_own_test(tmp_path, stem, kinds):
    question = render_messages(KNOWLEDGE)[0][0]["content"]
    guilty, good = (
        (plain(question), plain("What is the capital of France?"))
        if stem != "cpt"
        else ({"text": f"They ask: {question}"}, {"text": "Paris is in France."})
    )
    output = made(**{stem: [guilty | {"id": "guilty"}, good | {"id": "good"}]})
    metrics, totals, leaks = finished(tmp_path, output, Leaks(kinds=kinds))
    assert [row["id"] for row in read_jsonl(tmp_path / f"{stem}.jsonl")] == ["good"] and metrics[stem] == 1
    assert totals[f"decontamination of {stem}"]["dropped"] == leaks["own_test"][stem]["rows_removed"] == 1


def test_what_is_not_learnt_stays_as_it_is(tmp_path):
    rules = [{"id": "k", "reply": KNOWN}]
    finished(tmp_path, made(rules=rules))
    assert read_jsonl(tmp_path / "rules.jsonl") == rules


def test_a_build_writes_fields_and_rendered_turns_beside_each_other(tmp_path):
    finished(tmp_path, made())
    (item,) = read_jsonl(tmp_path / "test.jsonl")
    prompt, reply = render_messages(KNOWLEDGE)
    assert item["prompt"] == prompt and item["reply"] == reply[0]["content"]
    assert (item["question"], item["options"], item["answer"]) == (KNOWN, list(OPTIONS), "B")
    (row,) = read_jsonl(tmp_path / "sft.jsonl")
    assert row["completion"][0]["content"] == "<think>Because.</think>\nSo: yes.\n<answer>yes</answer>"
