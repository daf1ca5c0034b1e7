"""ARC, MMLU and MATH as questions that are answered in free text: rows from local files, and answers read by rule."""

import json
from pathlib import Path

import pytest

from eval import hooks
from eval.benchmarks import public
from eval.graders import grade

pytestmark = pytest.mark.slow

TASKS = Path(__file__).parents[2] / "eval" / "tasks"


def arc(question, options, labels, key):
    return {"question": question, "choices": {"text": options, "label": list(labels)}, "answerKey": key}


ARC = [
    arc("Which is a gas?", ["air", "iron", "ice", "sand"], "ABCD", "A"),
    arc("Which is hot?", ["ice", "fire", "snow"], "123", "2"),
    arc("Pick.", list("vwxyz"), "ABCDE", "E"),
]
MATH = [{"problem": "Half of one?", "solution": "It is $\\boxed{\\frac{1}{2}}$.", "level": "Level 1"}]
MMLU = [
    {"question": f"About {subject}?", "choices": ["p", "q", "r", "s"], "answer": place % 4, "subject": subject}
    for place, subject in enumerate(name for group in public.GROUPS.values() for name in group.split())
]
# Reply forms, and the letter that the reply names among four options; None: no answer, which counts as wrong.
FORMS = [
    ("The answer is C.", "C"),
    ("<answer>c</answer>", "C"),
    ("Answer: C", "C"),
    ("The answer is (C).", "C"),
    ("The correct answer is: C", "C"),
    ("The correct option is C.", "C"),
    ("Water boils, so the right choice is C", "C"),
    ("A is too small and B too large.\nThe answer is C.", "C"),
    ("First we look at A.\n**C**", "C"),
    ("So it is \\boxed{C}.", "C"),
    ("Reasoning about it.\nC", "C"),
    ("Reasoning about it.\n(C)", "C"),
    ("<answer>C</answer>", "C"),
    ("<think>A or B?</think>\nIt melts.\n<answer>C) ice</answer>", "C"),
    ("<answer>ice</answer>", "C"),
    ("The answer is A. No, the answer is C.", None),
    ("It could be A, B or C.", None),
    ("The answer is A cold thing.", None),
    ("the answer is c, they say", None),
    ("I do not know.", None),
    ("The answer is E.", None),
    ("", None),
]


@pytest.fixture
def folder(tmp_path):
    for name, items in (("arc_easy", ARC), ("arc_challenge", ARC), ("math", MATH), ("mmlu", MMLU)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("reply", "letter"), FORMS)
def test_a_reply_names_one_option_or_counts_as_wrong_and_unread(reply, letter):
    item = arc("?", ["fog", "rain", "ice", "dew"], "ABCD", "C")
    row = public._choice_row("arc_easy", "w", item)
    assert hooks.score(row, [reply])["acc"] == float(letter == "C")
    assert hooks.score(row, [reply])["parsed"] == float(letter is not None)


def test_gold_scores_one_whatever_the_labels_and_the_number_of_options(folder):
    rows = public.load_public(benchmark="arc_challenge", benchmarks=str(folder))["test"]
    assert [row["answer"] for row in rows] == ["A", "B", "E"]
    assert [grade(row, row["reply"]) for row in rows] == [1.0] * 3
    assert "C) snow" in hooks.question(rows[1]) and "Think step by step" in hooks.question(rows[1])


def test_the_four_groups_of_mmlu_share_out_its_57_subjects(folder):
    found = [
        row["level"]
        for group in public.GROUPS
        for row in public.load_public(benchmark="mmlu", group=group, benchmarks=str(folder))["test"]
    ]
    assert sorted(found) == sorted(item["subject"] for item in MMLU) and len(set(found)) == 57


@pytest.mark.parametrize(
    ("reply", "acc", "parsed"),
    [
        ("We get \\boxed{\\frac{1}{2}}.", 1.0, 1.0),
        ("First $2$, then $\\boxed{\\dfrac{1}{2}}$ of it, which costs $3$.", 1.0, 1.0),
        ("\\boxed{2}", 0.0, 1.0),
        ("The answer is \\frac{1}{2}.", 0.0, 0.0),
        ("\\boxed{\\frac{1}{2}", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_math_is_read_from_the_last_box(folder, reply, acc, parsed):
    (row,) = public.load_public(benchmark="math", benchmarks=str(folder))["test"]
    assert public.score_boxed(row, [reply]) == {"acc": acc, "parsed": parsed}


@pytest.mark.parametrize("spoilt", [{"answerKey": "F"}, {"choices": None}, {"question": 3}])
def test_a_malformed_item_is_named(folder, spoilt):
    (folder / "arc_easy.jsonl").write_text(json.dumps(ARC[0] | spoilt) + "\n", encoding="utf-8")
    with pytest.raises(hooks.TaskDataError, match=r"arc_easy\.jsonl:1"):
        public.load_public(benchmark="arc_easy", benchmarks=str(folder))


def test_lm_eval_finds_the_tasks_and_asks_them_without_examples(folder):
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"benchmarks": str(folder)})
    names = ["glan_arc_easy", "glan_arc_challenge", "glan_math", *(f"glan_mmlu_{group}" for group in public.GROUPS)]
    tasks = manager.load(names)["tasks"]
    assert {name: len(tasks[name].test_docs()) for name in names} == {
        "glan_arc_easy": 3, "glan_arc_challenge": 3, "glan_math": 1,
        "glan_mmlu_stem": 19, "glan_mmlu_humanities": 13, "glan_mmlu_social_sciences": 12, "glan_mmlu_other": 13,
    }  # fmt: skip
    assert {tasks[name].config.num_fewshot for name in names} == {0}
