"""The judgement and the sentence, on answers made up for the case."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.report.answers import Answers, Item, Model
from recipes.report.load import Evaluation, Manifest, Task
from recipes.report.verdict import judge as judge_with

TITLES = {"sft": "supervised tuning", "rl": "reinforcement"}


def judge(made, **settings):
    return judge_with(made, titles=TITLES, **settings)


MODELS = {
    "base": Model("base", "base", 0, Path()),
    "few-shot": Model("few-shot", "base", 4, Path(), "few_shot"),
    "sft": Model("sft", "sft", 0, Path(), parent="base"),
    "rl": Model("rl", "rl", 0, Path(), parent="sft"),
    "rules": Model("rules", "rules", 0, Path()),
}


def evaluation(tasks):
    """`tasks`: {name: (kind, {model: number of right answers}, n)}; the first items are the right ones, no nodes."""
    made = []
    for name, (kind, right, n) in tasks.items():
        answers = {
            model: Answers(MODELS[model], "acc", 1, {}, {}, tuple(item(i, i < count) for i in range(n)))
            for model, count in right.items()
            if n
        }
        made.append(Task(name, kind, answers))
    used = [m for m in MODELS if any(m in right for _, right, _ in tasks.values())]
    spec = {"model": {"name": "embedded"}}
    manifest = Manifest(Path(), "demo", "embedded", "evaluate", "ab", spec, {}, 1.0, 1, {}, {})
    return Evaluation(manifest, tuple(MODELS[m] for m in used), tuple(made), "", "", {}, {}, None)


def item(i, right, options=()):
    return Item(i, {"options": list(options)}, "q", "g", "r", float(right), str(i), str(i), str(i))


def test_better_everywhere():
    verdict = judge(evaluation({"demo_recall": ("field", {"base": 60, "sft": 160}, 200)}))
    assert (verdict.word, verdict.cost, verdict.final) == ("better", False, "sft")
    assert verdict.sentence.startswith(
        "Better: after supervised tuning the model is better than the base on recall (30 to"
    )
    assert verdict.sentence.endswith("general ability was not measured.")


def choices(right_of_base):
    items = {
        model: tuple(item(i, i < count, "abcd") for i in range(200))
        for model, count in (("base", right_of_base), ("sft", 160))
    }
    found = evaluation({"demo_recall": ("field", {"base": 1, "sft": 1}, 200)})
    task = Task("demo_recall", "field", {m: Answers(MODELS[m], "acc", 1, {}, {}, i) for m, i in items.items()})
    return replace(found, tasks=(task,))


def test_a_base_below_guessing_is_said_to_be():
    assert choices(10).tasks[0].guessing == 0.25
    assert "recall (5 to 80 %, where guessing gives 25 %)" in judge(choices(10)).sentence
    assert "recall (30 to 80 %)" in judge(choices(60)).sentence
    assert evaluation({"demo_sums": ("field", {"base": 1, "sft": 1}, 9)}).tasks[0].guessing is None


def test_worse():
    verdict = judge(evaluation({"demo_recall": ("field", {"base": 160, "sft": 60}, 200)}))
    assert verdict.word == "worse"
    assert "worse than the base on recall (80 to 30 %)" in verdict.sentence


def test_mixed_is_said_as_such():
    tasks = {
        "demo_recall": ("field", {"base": 60, "sft": 160}, 200),
        "demo_transfer": ("field", {"base": 160, "sft": 60}, 200),
    }
    verdict = judge(evaluation(tasks))
    assert verdict.word == "mixed"
    assert verdict.sentence.startswith("Better on some tasks, worse on others:")


def test_no_worse_needs_enough_items():
    many = judge(evaluation({"demo_recall": ("field", {"base": 1000, "sft": 1000}, 2000)}))
    assert many.word == "no worse"
    assert many.sentence.startswith("No worse: ")
    few = judge(evaluation({"demo_recall": ("field", {"base": 10, "sft": 10}, 20)}))
    assert few.word == "cannot tell"


def test_cannot_tell_says_how_many_items_would_settle_it():
    verdict = judge(evaluation({"demo_recall": ("field", {"base": 22, "sft": 20}, 40)}))
    assert verdict.word == "cannot tell"
    assert re.search(r"Cannot tell: .* on recall \(add about [\d,]+ items\)", verdict.sentence)


def test_cost_in_general_ability_stands_in_the_opening_and_with_its_size():
    tasks = {
        "demo_recall": ("field", {"base": 60, "sft": 160}, 200),
        "general_arithmetic": ("general", {"base": 190, "sft": 130}, 200),
        "general_facts": ("general", {"base": 150, "sft": 150}, 200),
    }
    verdict = judge(evaluation(tasks))
    assert (verdict.word, verdict.cost) == ("better", True)
    assert verdict.sentence.startswith("Better, at a cost to general ability:")
    assert "falls by 30 points on arithmetic and is kept within 5 points on facts" in verdict.sentence


def test_a_certain_but_small_general_loss_is_within_the_margin():
    tasks = {
        "demo_recall": ("field", {"base": 60, "sft": 160}, 200),
        "general_facts": ("general", {"base": 1500, "sft": 1485}, 2000),
    }
    verdict = judge(evaluation(tasks))
    (facts,) = verdict.of("sft", "base", "general")
    assert facts.p_holm < 0.05 and facts.test.difference < 0
    assert (facts.judgement, verdict.cost) == ("no worse", False)
    assert judge(evaluation(tasks), margin=0.005).cost


def test_a_stage_that_adds_nothing_is_named():
    tasks = {"demo_recall": ("field", {"base": 60, "sft": 160, "rl": 160}, 200)}
    sentence = judge(evaluation(tasks)).sentence
    assert "reinforcement adds nothing that these items can show to supervised tuning" in sentence


def test_what_a_stage_adds_and_costs_is_named():
    tasks = {
        "demo_sums": ("field", {"base": 10, "sft": 100, "rl": 160}, 200),
        "demo_recall": ("field", {"base": 60, "sft": 160, "rl": 120}, 200),
    }
    sentence = judge(evaluation(tasks)).sentence
    assert "reinforcement adds 30 points on sums and costs 20 points on recall against supervised tuning" in sentence


def test_examples_in_the_prompt_that_do_as_well_are_named():
    tasks = {"demo_recall": ("field", {"base": 60, "few-shot": 158, "sft": 160}, 200)}
    sentence = judge(evaluation(tasks)).sentence
    assert "not shown to beat the untuned base given 4 examples in the prompt on recall" in sentence


def test_every_stage_is_compared_with_the_one_before_the_base_and_the_prompted_base():
    tasks = {"demo_recall": ("field", {"base": 60, "few-shot": 70, "sft": 160, "rl": 170}, 200)}
    pairs = [(c.model, c.against) for c in judge(evaluation(tasks)).comparisons]
    assert pairs == [
        ("few-shot", "base"),
        ("sft", "base"),
        ("sft", "few-shot"),
        ("rl", "sft"),
        ("rl", "base"),
        ("rl", "few-shot"),
    ]


def test_holm_runs_over_tasks_and_leaves_out_controls():
    alone = judge(evaluation({"demo_a": ("field", {"base": 100, "sft": 106}, 200)})).comparisons[0]
    assert alone.judgement == "better"
    tasks = {f"demo_{name}": ("field", {"base": 100, "sft": 106}, 200) for name in "abc"}
    assert all(c.p_holm == pytest.approx(3 * alone.test.p) for c in judge(evaluation(tasks)).comparisons)
    tasks = {
        "demo_a": ("field", {"base": 100, "sft": 106}, 200),
        "demo_a_shuffled": ("control", {"base": 100, "sft": 106}, 200),
    }
    assert all(c.p_holm == pytest.approx(alone.test.p) for c in judge(evaluation(tasks)).comparisons)


def test_form_and_control_tasks_do_not_decide():
    tasks = {
        "demo_recall": ("field", {"base": 10, "sft": 10}, 20),
        "demo_format": ("format", {"base": 0, "sft": 200}, 200),
        "demo_recall_shuffled": ("control", {"base": 0, "sft": 200}, 200),
    }
    assert judge(evaluation(tasks)).word == "cannot tell"


def test_nothing_to_compare():
    only_base = judge(evaluation({"demo_recall": ("field", {"base": 60}, 200)}))
    assert only_base.sentence.startswith("Cannot tell: only the base was evaluated")
    empty = judge(evaluation({"demo_recall": ("field", {"base": 0, "sft": 0}, 0)}))
    assert empty.word == "cannot tell"
    assert "no domain task has items" in empty.sentence


def test_rules_without_a_model_are_no_stage_but_a_rival():
    tasks = {
        "demo_type": ("field", {"base": 20, "sft": 160, "rules": 195}, 200),
        "demo_value": ("field", {"base": 20, "sft": 160, "rules": 20}, 200),
    }
    verdict = judge(evaluation(tasks))
    assert verdict.final == "sft" and verdict.word == "better"
    assert "rules without a language model are better than it on type" in verdict.sentence
    assert {(c.model, c.against) for c in verdict.comparisons} == {("sft", "base"), ("sft", "rules")}


def test_a_control_decides_nothing_and_takes_no_part_in_the_correction():
    tasks = {"demo_type": ("field", {"base": 60, "sft": 160}, 200)}
    alone = judge(evaluation(tasks))
    beside = judge(evaluation(tasks | {"demo_none_control": ("control", {"base": 160, "sft": 20}, 200)}))
    assert beside.sentence == alone.sentence
    assert beside.of("sft", "base", "field")[0].p_holm == alone.of("sft", "base", "field")[0].p_holm


def test_models_of_two_branches_are_compared_with_what_they_come_from_and_with_the_base(monkeypatch):
    monkeypatch.setitem(MODELS, "rl", Model("rl", "rl", 0, Path(), parent="base"))
    tasks = {"demo_recall": ("field", {"base": 60, "sft": 160, "rl": 20}, 200)}
    verdict = judge(evaluation(tasks))
    assert [(c.model, c.against) for c in verdict.comparisons] == [("sft", "base"), ("rl", "base")]
    assert verdict.final == "rl" and verdict.word == "worse"
    assert verdict.sentence.startswith("Worse: after reinforcement the model")
    assert "supervised tuning adds 50 points on recall against the base" in verdict.sentence


def test_a_step_that_could_learn_nothing_is_named_with_the_reason():
    made = evaluation({"demo_recall": ("field", {"base": 60, "sft": 160, "rl": 160}, 200)})
    reason = "every reply was cut off; raise rl.max_completion_length"
    assert f"reinforcement could learn nothing ({reason})" in judge(made, idle={"rl": reason}).sentence
    assert "could learn nothing" not in judge(made).sentence
