"""The review sheet: which rows it shows, that it is safe and whole, and what answers say of the teacher."""

import json
from collections import Counter

import pytest

from recipes.base.errors import RecipeError
from recipes.base.rows import GradedRow, SftRow, dump_row
from recipes.report import review
from recipes.report.build import write_report
from tests.helpers.fixtures_report import fabricate

HOSTILE = "</script><script>alert('x')</script> & \"quotes\""


def row(index, kind, judge=None):
    lineage = {"span": "a.md:n:7-13"} | ({"judge": judge} if judge is not None else {})
    return dump_row(
        SftRow(
            id=f"{kind}{index}",
            kind=kind,
            node_id=f"n{index % 7}",
            question=f"Question {index}? {HOSTILE}",
            thinking=f"Thought {index}.",
            solution="So it is.",
            answer=f"{index} V",
            lineage=lineage,
        )
    )


def data(folder, judge=lambda index: None):
    home = folder / "data-1a2b3c4d"
    home.mkdir(parents=True)
    rows = [
        row(index, kind, judge(index))
        for kind, count in (("mcq", 150), ("calc", 48), ("odd", 2))
        for index in range(count)
    ]
    (home / "sft.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    test = GradedRow(id="t", kind="knowledge", node_id="n1", question=rows[0]["question"], answer="7", grader="numeric")
    (home / "test.jsonl").write_text(json.dumps(dump_row(test)) + "\n")
    nodes = [
        {
            "node_id": f"n{n}",
            "text": "Before middle after.",
            "path": ["A", f"B{n}"],
            "source": "a.pdf",
            "pages": [n, n + 1],
        }
        for n in range(7)
    ]
    (home / "nodes.jsonl").write_text("".join(json.dumps(n) + "\n" for n in nodes))
    return home


def answers(folder, home, verdicts, **changes):
    file = folder / "saved.json"
    given = {key: {"verdict": verdict, "comment": ""} for key, verdict in verdicts.items()}
    file.write_text(json.dumps({"format": 1, "data": home.name, "reviewer": "A", "answers": given} | changes))
    return file


def test_every_kind_is_drawn_in_proportion_and_at_least_once_the_same_for_a_seed(tmp_path):
    home = data(tmp_path)
    items = review.draw(home, 40, 1)
    counts = Counter((item.file, item.kind) for item in items)
    assert len(items) == 40 and len({item.id for item in items}) == 40
    assert counts["test", "knowledge"] == 1 and counts["sft", "odd"] == 1
    assert 27 <= counts["sft", "mcq"] <= 30 and 8 <= counts["sft", "calc"] <= 10
    assert review.draw(home, 40, 1) == items != review.draw(home, 40, 2)
    assert len(review.draw(home, 10_000, 1)) == 201
    calc = [int(item.id[4:]) % 7 for item in items if item.kind == "calc"]
    assert len(set(calc)) == 7  # every node before a second row of one


def test_the_sheet_shows_the_row_and_its_source_and_holds_no_markup_of_theirs(tmp_path):
    home = data(tmp_path)
    page = review.write_sheet(home, 40, 1, f"Title {HOSTILE}").read_text()
    item = next(item for item in review.draw(home, 40, 1) if item.kind == "calc")
    index = item.id[4:]
    assert (item.thinking, item.solution, item.answer) == (f"Thought {index}.", "So it is.", f"{index} V")
    assert "Give the final answer" not in page
    assert f"Thought {index}." in page and "Before <mark>middle</mark> after." in page
    assert "a.pdf, A › B" in page and "alert(" in page and "<script>alert" not in page
    assert page.count("<script") == 2 and "http" not in page.replace("http-equiv", "")
    assert page.count('class="item"') == 40 and page.count('type="radio"') == 120


def sheet_item(folder, row):
    home = folder / "data-00000000"
    home.mkdir()
    (home / "sft.jsonl").write_text(json.dumps(row) + "\n")
    for name in ("rl", "test", "nodes"):
        (home / f"{name}.jsonl").write_text("")
    (item,) = review.draw(home, 1, 1)
    return item


def test_a_choice_is_shown_with_its_options_and_the_right_one_in_words(tmp_path):
    row = GradedRow(
        kind="knowledge",
        question="Which one?",
        context="A text.",
        options=("tin", "lead"),
        solution="So the right option is: lead.",
        answer="B",
        grader="choice",
    )
    item = sheet_item(tmp_path, dump_row(row))
    assert item.question == "Which one?\nA text.\nA) tin\nB) lead" and item.answer == "lead" and item.thinking == ""


def test_a_question_or_an_answer_that_looks_like_a_request_or_a_mark_is_shown_whole(tmp_path):
    row = SftRow(kind="open", question="Say it.\nPut it in <answer> tags?", solution="No </answer> here.", answer="no")
    item = sheet_item(tmp_path, dump_row(row))
    assert item.question == "Say it.\nPut it in <answer> tags?"
    assert (item.solution, item.answer) == ("No </answer> here.", "no")


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ("<think>t</think>\ns\n<answer>a</answer>", ("t", "s", "a")),
        ("Just text, <answer>a</answer>.", ("", "Just text, <answer>a</answer>.", "")),
    ],
)
def test_a_row_from_outside_is_shown_as_far_as_its_reply_keeps_to_the_form(tmp_path, reply, shown):
    prompt = [{"role": "user", "content": "Anything?\nYour words."}]
    row = {"id": "x", "prompt": prompt, "completion": [{"role": "assistant", "content": reply}]}
    item = sheet_item(tmp_path, row)
    assert item.question == "Anything?\nYour words." and (item.thinking, item.solution, item.answer) == shown


def test_answers_give_the_teacher_error_with_its_wilson_interval(tmp_path):
    home = data(tmp_path)
    drawn = [item.id for item in review.draw(home, 43, 1)]
    verdicts = {key: "wrong" if n < 2 else "unclear" if n < 5 else "right" for n, key in enumerate(drawn)}
    found = review.hand_in(answers(tmp_path, home, verdicts), home)
    assert found.sentence == "Teacher error 2 of 40, 5.0 %, 1.4–16.5; 3 unclear."
    assert (found.items, found.right, found.wrong, found.unclear) == (43, 38, 2, 3)
    assert found.agreement is None and [word for _, word, _ in found.remarks] == ["wrong", "wrong"]
    assert review.folder_of(home).name == "review-1a2b3c4d" and review.kept(home) == found


def test_agreement_is_how_often_the_judge_orders_right_above_wrong(tmp_path):
    home = data(tmp_path, judge=lambda index: index)
    verdicts = {"mcq10": "right", "mcq20": "right", "mcq5": "wrong", "mcq15": "wrong", "mcq20x": ""}
    verdicts.pop("mcq20x")
    found = review.read(answers(tmp_path, home, verdicts), home)
    assert found.agreement == pytest.approx(3 / 4) and found.judged == 4
    assert "75.0 % of right and wrong rows alike" in found.sentence


def test_nothing_judged_is_no_error_of_zero(tmp_path):
    home = data(tmp_path)
    found = review.read(answers(tmp_path, home, {"mcq1": "unclear"}), home)
    assert "unknown" in found.sentence and (found.interval.low, found.interval.high) == (0, 1)


@pytest.mark.parametrize(
    ("verdicts", "changes", "words"),
    [
        ({"mcq1": "right"}, {"data": "data-99999999"}, "another data artefact"),
        ({"gone": "right"}, {}, "another data artefact"),
        ({"mcq1": "maybe"}, {}, "no file of answers"),
        ({"mcq1": "right"}, {"format": 2}, "no file of answers"),
        ({}, {"answers": ["right"]}, "no file of answers"),
    ],
)
def test_foreign_and_broken_answers_are_refused_and_nothing_is_kept(tmp_path, verdicts, changes, words):
    home = data(tmp_path)
    with pytest.raises(RecipeError, match=words):
        review.hand_in(answers(tmp_path, home, verdicts, **changes), home)
    assert review.kept(home) is None


def test_the_report_shows_the_review_beside_the_verdict_and_the_funnel(tmp_path):
    folders = fabricate(tmp_path)
    home = folders["data"]
    ids = [item.id for item in review.draw(home, 20, 1)]
    given = {key: {"verdict": "right", "comment": "<b>x</b>" if n == 0 else ""} for n, key in enumerate(ids)}
    review.hand_in(answers(tmp_path, home, {}, answers=given), home)
    out = tmp_path / "report"
    write_report(folders, out, {})
    page, text = (out / "index.html").read_text(), (out / "report.md").read_text()
    assert "Teacher error 0 of 20, 0.0 %, 0.0–16.1." in page.split('<div class="scroll">')[0]
    assert "Teacher error 0 of 20" in text and "&lt;b&gt;x&lt;/b&gt;" in page
    assert json.loads((out / "report.json").read_text())["review"]["right"] == 20
    assert "the sums agree" in page and page.count('class="gone"') >= 3 and "How alike the records are" in page
