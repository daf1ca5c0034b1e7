"""General tasks for real bases: facts, skills and sets from a folder, asked and scored as their README says."""

from collections import Counter

import pytest

from eval.benchmarks import common
from eval.benchmarks.common_facts import FACTS, read_table
from eval.benchmarks.common_skills import SKILLS, keeps_rule
from eval.hooks import TaskDataError
from recipes.base.places import ROOT
from recipes.config.request_counts import files_of_sets, replies_to, tasks_of

SHARED = ROOT.parent / "shared" / "data"


def list_items():
    return {kind: [item for item in make() if item] for kind, make in (FACTS | SKILLS).items()}


@pytest.fixture(scope="module")
def items():
    return list_items()


def test_there_are_thousands_of_items_each_once(items):
    counts = {kind: len(found) for kind, found in items.items()}
    assert sum(counts[kind] for kind in FACTS) > 2000 and all(counts[kind] >= 300 for kind in SKILLS)
    assert max(Counter(item["id"] for found in items.values() for item in found).values()) == 1


def test_items_are_the_same_whenever_they_are_made(items):
    assert list_items() == items


def test_a_choice_has_its_answer_once_among_four_options(items):
    for kind in (*FACTS, "reading"):
        for item in items[kind]:
            assert len(set(item["options"])) == 4 and item["options"].count(item["answer"]) == 1
    places = Counter(item["options"].index(item["answer"]) for item in items["cities"])
    assert min(places.values()) > len(items["cities"]) / 5  # no place gives the answer away


def test_facts_are_true():
    by_name = {row["name"]: row for row in read_table("countries")}
    assert by_name["France"]["capital"] == "Paris" and "Spain" in by_name["France"]["neighbours"]
    assert {row["symbol"]: row["number"] for row in read_table("elements")}["Fe"] == 26
    assert {row["name"]: row["country"] for row in read_table("cities")}["Mumbai"] == "India"


def test_no_wrong_option_of_a_border_has_one(items):
    near = {row["name"]: row["neighbours"] for row in read_table("countries")}
    for item in items["countries"]:
        if item["level"] == "border":
            name = item["id"].partition("/")[2]
            assert [option for option in item["options"] if option in near[name]] == [item["answer"]]


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("lower", "a cat.", "A cat."),
        ("upper", "A CAT.", "A Cat."),
        ("words:5", "one two three four five", "one two three four"),
        ("at most:3", "one two", "one two three four"),
        ("begins:Today", "Today it rains", "It rains today"),
        ("ends:now", "Come now.", "Now come."),
        ("holds:cup", "A Cup!", "A cupboard"),
        ("lacks:,", "We all like it.", "Yes, we like it."),
        ("commas:3", "red, blue, green", "red, blue"),
        ("lines:2", "cat\ndog", "cat, dog"),
        ("same:cup hat", "Cup hat.", "cup and hat"),
        ("question", "Do you like it?", "You like it."),
    ],
)
def test_a_rule_is_kept_or_broken_and_never_by_silence(rule, kept, broken):
    assert keeps_rule(rule, kept) and not keeps_rule(rule, broken) and not keeps_rule(rule, "")


def test_the_last_number_counts_and_an_answer_block_goes_first():
    doc = {"answer": "1200"}
    assert common.score_last_number(doc, ["First 3, so it is $1,200."])["acc"] == 1.0
    assert common.score_last_number(doc, ["<think>7</think>\nSo.\n<answer>1200</answer> of 5"])["acc"] == 1.0
    assert common.score_last_number(doc, ["1200, or rather 12"]) == {"acc": 0.0, "parsed": 1.0}
    assert common.score_last_number(doc, ["I cannot say."]) == {"acc": 0.0, "parsed": 0.0}


def test_a_question_by_likelihood_shows_no_option_and_no_request():
    text = "What holds?\nA) one\nB) two\nGive the right option in <answer> tags."
    doc = {"prompt": [{"role": "user", "content": text}], "options": ["one", "two"], "answer": "B"}
    assert common.ask_bare(doc) == "What holds?"
    assert common.list_choices(doc)[common.find_gold(doc)] == "two"


def test_a_set_that_is_not_there_is_refused_with_the_key_that_names_it(tmp_path):
    for folder in (None, str(tmp_path)):
        with pytest.raises(TaskDataError, match=r"eval\.published\.benchmarks"):
            common.load_common(source="common", kind="gsm8k", benchmarks=folder)


def test_a_malformed_set_is_refused(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": "How many?", "answer": "some"}\n')
    with pytest.raises(TaskDataError, match="malformed"):
        common.load_common(source="common", kind="gsm8k", benchmarks=str(tmp_path))


def test_the_files_of_a_set_decide_the_scores_and_its_size_is_known(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.write_text("{}\n")
    assert files_of_sets(tasks_of(["common_sets"]).values(), str(tmp_path)) == {"gsm8k/test.jsonl": file}
    assert files_of_sets(tasks_of(["common"]).values(), str(tmp_path)) == {}
    assert replies_to(["common"], {})[1] == []


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the published sets are not beside the checkout")
@pytest.mark.parametrize(("kind", "count"), [("gsm8k", 1319), ("svamp", 1000), ("pubmedqa", 500), ("scitldr", 618)])
def test_a_published_set_is_read_whole(kind, count):
    assert len(common.load_common(source="common", kind=kind, benchmarks=str(SHARED))["test"]) == count
