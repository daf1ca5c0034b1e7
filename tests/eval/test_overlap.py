"""Overlap with a gold text and measures over classes: published values, limits, and all of it through lm-eval."""

import json
import math
import time
from pathlib import Path

import pytest

from eval.graders import classes, grade, is_readable, majority, overlap

ROOT = Path(__file__).parents[2]

GOLD = "Annealed selvite loses twelve percent of its mass at 300 C."
ROW = {"id": "r", "grader": "overlap", "answer": GOLD, "reply": f"<answer>{GOLD}</answer>", "kind": "summary"}
ROW |= {"options": None, "unit": None, "tolerance": None}


def block(text):
    return f"<think>so</think>\n<answer>{text}</answer>"


def test_the_answer_block_counts_and_without_one_the_visible_reply():
    assert grade(ROW, block(GOLD)) == grade(ROW, GOLD) == grade(ROW, f"<think>nothing of it</think>{GOLD}") == 1.0
    assert grade(ROW, f"{GOLD} <answer>quenched norbite</answer>") == 0.0
    assert grade(ROW, "") == grade(ROW, "<answer></answer>") == 0.0
    assert not is_readable(ROW, "<think>all thought</think>")


def test_a_part_is_worth_its_rouge_l_and_an_alias_as_much_as_the_answer():
    # 4 of 4 words in order, of 11: precision 1, recall 4/11
    assert grade(ROW, block("selvite loses its mass")) == pytest.approx(2 * (4 / 11) / (1 + 4 / 11))
    assert grade(ROW, block("mass its loses selvite")) < grade(ROW, block("selvite loses its mass"))
    assert grade(ROW | {"aliases": ["a fifth is lost"]}, block("a fifth is lost")) == 1.0


def test_neither_length_nor_repetition_buys_a_score():
    padded = block(GOLD + " and so on" * 200)
    assert grade(ROW, padded) < 0.05
    assert grade(ROW, block(GOLD * 50)) < 0.1
    every = " ".join(sorted(GOLD.split()) * 3)
    assert grade(ROW, block(every)) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("reply", ["x y z " * 300_000, "selvite " * 120_000, "<answer>" * 120_000, "é" * 1_000_000])
def test_a_megabyte_is_graded_in_bounded_time_against_a_long_gold_text(reply):
    began = time.process_time()
    grade(ROW | {"answer": "x y selvite " * 600}, reply)
    assert time.process_time() - began < 20


@pytest.mark.parametrize("gold", ["", "…", "word " * 2001])
def test_a_gold_text_that_cannot_be_compared_is_refused(gold):
    with pytest.raises(ValueError, match="gold text must have"):
        grade(ROW | {"answer": gold}, "any reply")


def test_several_texts_have_no_majority_but_equal_ones():
    assert majority(ROW, ["one text", "another", "another", "third"]) == "another"


def test_word_recall_counts_content_words_only():
    gold = "The selvite is stable in the dry gas."
    assert overlap.word_recall([gold], "the is in of and at with") == 0.0
    assert overlap.word_recall([gold], "stable selvites") == pytest.approx(2 / 4)
    assert overlap.word_recall(["it is", gold], "it is") == 1.0


def test_bleu_clips_repeated_words_and_takes_the_best_reference():
    assert overlap.bleu4([["the the the the the the the", "the cat is on the mat"]]) < 0.1
    assert overlap.bleu4([[GOLD, "something else", GOLD]]) == pytest.approx(1.0)
    # a silent reply makes a corpus of 12 words (the full stop is one) for 16: the brevity penalty
    assert overlap.bleu4([[GOLD, GOLD], ["", "one two three four"]]) == pytest.approx(math.exp(1 - 16 / 12))


def test_cider_is_the_mean_cosine_of_weighted_n_grams():
    texts = ["red cat sat down", "blue dog ran off", "old fox lay low"]
    assert overlap.cider([[text, text] for text in texts]) == pytest.approx(1.0)
    # "red cat": both unigrams and the one bigram agree, no longer ones; all n-grams weigh log 3
    found = overlap.cider([["red cat", texts[0]], ["", texts[1]], ["", texts[2]]])
    assert found == pytest.approx((2 / math.sqrt(2 * 4) + 1 / math.sqrt(1 * 3)) / 4 / 3)
    # a word that every reference has weighs nothing
    assert overlap.cider([["common", "common a b c"], ["common", "common d e f"]]) == 0.0


def test_macro_f1_is_scikit_learns_with_silence_as_a_miss():
    from sklearn.metrics import f1_score

    gold = ["yes", "yes", "no", "no", "maybe", "maybe", "yes"]
    said = ["yes", "no", "no", None, "yes", None, "perhaps"]
    pairs = list(zip(gold, said, strict=True))
    wanted = f1_score(gold, [str(s) for s in said], labels=["yes", "no", "maybe"], average="macro", zero_division=0)
    assert classes.macro_f1(pairs) == pytest.approx(wanted)
    assert classes.recognised(pairs) == pytest.approx(4 / 7)
    assert classes.macro_f1([("yes", None), ("no", None)]) == classes.recognised([("yes", None)]) == 0.0


def test_a_choice_is_a_class_by_its_options_text():
    row = {"id": "r", "grader": "choice", "answer": "B", "options": ["no", "yes"], "reply": block("B")}
    assert classes.pair(row, block("A")) == ["yes", "no"]
    assert classes.pair(row | {"answer": "A", "options": ["yes", "no"], "reply": block("yes")}, "") == ["yes", None]


@pytest.mark.slow
def test_any_task_may_name_the_measures_in_lm_eval(tmp_path):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    (tmp_path / "data").mkdir()
    (tmp_path / "tasks").mkdir()
    rows = [ROW | {"id": f"s{n}", "prompt": [{"role": "user", "content": f"Say {n}."}]} for n in range(2)]
    for n, answer in enumerate(["yes", "no"]):
        row = rows[0] | {"id": f"c{n}", "kind": "classes", "grader": "text", "answer": answer, "reply": block(answer)}
        rows.append(row)
    (tmp_path / "data" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, kind in (("text", "summary"), ("class", "classes")):
        (tmp_path / "tasks" / f"{name}.yaml").write_text(
            f"include: {ROOT}/eval/templates/{name}_task.yaml\n"
            f"task: made_{name}\ndataset_kwargs: {{source: recipe, kind: {kind}}}\nmetadata: {{version: 1}}\n"
        )
    manager = TaskManager(
        include_path=str(tmp_path / "tasks"), include_defaults=False, metadata={"data": str(tmp_path / "data")}
    )
    found = simple_evaluate(model="dummy", tasks=["made_text", "made_class"], task_manager=manager, bootstrap_iters=0)[
        "results"
    ]
    measured = {"acc", "parsed", "rouge1", "rouge2", "rougeL", "word_recall", "bleu4", "cider"}
    assert measured <= {key.removesuffix(",none") for key in found["made_text"]}
    assert {"acc", "parsed", "macro_f1", "recognised"} <= {key.removesuffix(",none") for key in found["made_class"]}
    assert found["made_text"]["acc,none"] == found["made_text"]["rougeL,none"] == 0.0
    assert found["made_class"]["recognised,none"] == 0.0
