"""GSM8K, BBH, HumanEval and MBPP from stored items: what is asked, and which replies count."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval import hooks
from eval.benchmarks import public, public_code
from eval.benchmarks.public_code import score_code
from eval.benchmarks.public_stated import BBH, score_stated
from recipes.base.errors import ConfigErrors
from recipes.base.places import ROOT
from recipes.commands import doctor
from recipes.commands.check import check
from recipes.config.load import as_toml, load
from recipes.config.request_counts import tasks_of, warnings
from recipes.models.lm_eval_run import available

pytestmark = pytest.mark.slow

TASKS = Path(__file__).parents[2] / "eval" / "tasks"
GSM8K = [{"question": "A pen costs $3. What do 400 cost?", "answer": "3 * 400 = <<3*400=1200>>1200\n#### 1,200"}]
SUBTASKS = BBH.split()
BBH_ITEMS = [{"subtask": name, "input": f"Item of {name}?", "target": "(B)"} for name in SUBTASKS]
HUMANEVAL = [
    {
        "task_id": "HumanEval/0",
        "prompt": 'from typing import List\n\n\ndef twice(values: List[int]) -> List[int]:\n    """Doubles."""\n',
        "canonical_solution": "    return [2 * value for value in values]\n",
        "test": "\n\ndef check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n    assert candidate([]) == []\n",
        "entry_point": "twice",
    }
]
MBPP = [
    {
        "task_id": number,
        "text": f"Write a function that adds {number}.",
        "code": f"def add(x):\r\n    return x + {number}",
        "test_setup_code": "",
        "test_list": [f"assert add({n}) == {n + number}" for n in range(3)],
        "challenge_test_list": [],
    }
    for number in (1, 2, 3, 4, 11, 12, 511, 700)
]


@pytest.fixture
def folder(tmp_path):
    for name, items in (("gsm8k", GSM8K), ("bbh", BBH_ITEMS), ("humaneval", HUMANEVAL), ("mbpp", MBPP)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return tmp_path


def rows(folder, benchmark):
    return list(public.load_public(benchmark=benchmark, benchmarks=str(folder))["test"])


@pytest.mark.parametrize(
    ("reply", "acc", "parsed"),
    [
        ("3 * 400 = 1200.\nThe answer is 1200.", 1.0, 1.0),
        ("The answer is $1,200.00.", 1.0, 1.0),
        ("**The answer is \\boxed{1200}**", 1.0, 1.0),
        ("<think>400 * 3</think>\n<answer>1200</answer>", 1.0, 1.0),
        ("Each is 3, so 400 of them are 1200 dollars", 1.0, 1.0),
        ("The answer is 1200 for 400 pens.", 1.0, 1.0),
        ("The answer is 12. No, the answer is 1200.", 1.0, 1.0),
        ("It is 1200, as 3 * 400 says. The answer is 400.", 0.0, 1.0),
        ("The answer is -1200.", 0.0, 1.0),
        ("<answer>1200</answer> or <answer>12</answer>", 0.0, 0.0),
        ("<answer>12</answer> or <answer>1200</answer>", 0.0, 0.0),
        ("So 1200 is the answer.", 1.0, 1.0),
        ("So 1200 dollars it is, as 3 * 400 says. **$1,200** is the final answer to all 3 parts.", 1.0, 1.0),
        ("12 is the answer? No. The answer is 1200.", 1.0, 1.0),
        ("The answer is 12? No, 1200 is the answer.", 1.0, 1.0),
        ("They cost 1200 dollars. That is the answer we need.", 1.0, 1.0),
        ("The answer is 3 * 400 = 1200.", 1.0, 1.0),
        ("1200 was my first answer. It is 400.", 0.0, 1.0),
        ("I do not know.", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_the_number_that_is_stated_last_counts(folder, reply, acc, parsed):
    (row,) = rows(folder, "gsm8k")
    assert row["answer"] == "1200" and "Think step by step" in hooks.question(row)
    assert score_stated(row, [row["reply"]]) == {"acc": 1.0, "parsed": 1.0}
    assert score_stated(row, [reply]) == {"acc": acc, "parsed": parsed}


def test_every_task_of_bbh_shows_its_three_worked_examples_before_the_question(folder):
    found = rows(folder, "bbh")
    assert [row["level"] for row in found] == SUBTASKS and len(SUBTASKS) == 27
    for row in found:
        asked = hooks.question(row)
        assert asked.count("Let's think step by step.") == 4 and asked.count("So the answer is") >= 3
        assert asked.endswith(f"Q: Item of {row['level']}?\nA: Let's think step by step.")
        assert score_stated(row, [row["reply"]])["acc"] == 1.0


@pytest.mark.parametrize(
    ("gold", "reply", "acc", "parsed"),
    [
        ("(B)", "We count.\nSo the answer is (B).", 1.0, 1.0),
        ("(B)", "The answer is (B) 12/14/1937", 1.0, 1.0),
        ("(B)", "The answer is **(B)**.", 1.0, 1.0),
        ("(B)", "The answer is (A). So the answer is (B).", 1.0, 1.0),
        ("(B)", "The answer is (A).", 0.0, 1.0),
        ("(B)", "(B)", 0.0, 0.0),
        ("True", "So the answer is true.", 1.0, 1.0),
        ("] ) >", "So the answer is ] ) >.", 1.0, 1.0),
        ("apple pear zoo", "So the answer is apple pear zoo.", 1.0, 1.0),
        ("apple pear zoo", "So the answer is pear apple zoo.", 0.0, 1.0),
    ],
)
def test_what_follows_the_answer_is_counts_in_bbh(folder, gold, reply, acc, parsed):
    row = rows(folder, "bbh")[0] | {"answer": gold}
    assert score_stated(row, [reply]) == {"acc": acc, "parsed": parsed}


BODY = "return [2 * value for value in values]"


@pytest.mark.parametrize(
    ("reply", "acc", "parsed"),
    [
        (f"Sure:\n```python\ndef twice(values: List[int]) -> List[int]:\n    {BODY}\n```\nDone.", 1.0, 1.0),
        (f"def twice(values):\n    {BODY}", 1.0, 1.0),
        (f"```\nimport math\n\ndef twice(values):\n    {BODY}\n", 1.0, 1.0),
        ("```python\ndef twice(values):\n    return values\n```", 0.0, 1.0),
        ("```python\nprint('all assertions hold')\nraise SystemExit\n```", 0.0, 1.0),
        ("```python\ndef twice(values):\n    while True: pass\n```", 0.0, 1.0),
        ("```python\nimport os\ndef twice(values):\n    return [2 * value for value in values]\n```", 0.0, 1.0),
        ("```python\ndef check(candidate): pass\n```", 0.0, 1.0),
        (f"The plan:\n```\nfor each value: double it\n```\n```Python\ndef twice(values):\n    {BODY}\n```", 1.0, 1.0),
        (f"```python\ndef twice(values):\n    {BODY}\n```\nUse:\n```python\nprint(twice([1]))\n```", 1.0, 1.0),
        (f"```py\ndef twice(v):\n    return v\n```\nBetter:\n```py\ndef twice(values):\n    {BODY}\n```", 1.0, 1.0),
        (f"```python\ndef twice(values):\n    {BODY}\n```\n```python\ndef twice(v):\n    return v\n```", 0.0, 1.0),
        ("It doubles every value.", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_a_program_counts_where_every_assertion_holds_in_the_sandbox(folder, monkeypatch, reply, acc, parsed):
    monkeypatch.setattr(public_code, "LIMITS", replace(public_code.LIMITS, cpu_seconds=5))
    (row,) = rows(folder, "humaneval")
    assert score_code(row, [row["reply"]]) == {"acc": 1.0, "parsed": 1.0}
    assert score_code(row, [reply]) == {"acc": acc, "parsed": parsed}


def test_mbpp_shows_the_three_examples_of_its_prompt_split_and_tests_ids_11_to_510(folder):
    found = rows(folder, "mbpp")
    assert len(found) == 2
    for row, number in zip(found, (11, 12), strict=True):
        asked = hooks.question(row)
        shown = [asked.index(f"adds {n}.") for n in (2, 3, 4, number)]
        assert shown == sorted(shown) and asked.count("```python") == 3 and f"assert add(2) == {number + 2}" in asked
        assert score_code(row, [row["reply"]]) == {"acc": 1.0, "parsed": 1.0}
        assert score_code(row, ["```python\ndef add(x):\n    return x\n```"])["acc"] == 0.0


DATA = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize(("benchmark", "size"), [("humaneval", 164), ("mbpp", 500), ("gsm8k", 1319)])
def test_every_canonical_solution_of_the_published_file_counts(tmp_path, benchmark, size):
    files = {"humaneval": "humaneval/HumanEval.jsonl.gz", "mbpp": "mbpp/mbpp.jsonl", "gsm8k": "gsm8k/test.jsonl"}
    source = DATA / files[benchmark]
    if not source.exists():
        pytest.skip(f"the published file of {benchmark} lies in no ../shared/data")
    text = gzip.decompress(source.read_bytes()).decode() if source.suffix == ".gz" else source.read_text("utf-8")
    published = text.splitlines(keepends=True)[:974]  # a copy of MBPP may have items of other people behind its own
    (tmp_path / f"{benchmark}.jsonl").write_text("".join(published if benchmark == "mbpp" else text), encoding="utf-8")
    found, score = rows(tmp_path, benchmark), score_stated if benchmark == "gsm8k" else score_code
    assert len(found) == size
    assert [row["id"] for row in found if score(row, [row["reply"]])["acc"] != 1.0] == []


@pytest.mark.parametrize(
    ("benchmark", "item"),
    [
        ("gsm8k", {"question": "?", "answer": "no number"}),
        ("bbh", {"subtask": "unknown", "input": "?", "target": "x"}),
        ("humaneval", {"prompt": "def f():"}),
        ("mbpp", {"task_id": 11, "text": "x"}),
    ],
)
def test_an_item_of_another_form_is_named(folder, benchmark, item):
    (folder / f"{benchmark}.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    with pytest.raises(hooks.TaskDataError, match="malformed"):
        rows(folder, benchmark)


def test_gold_replies_score_one_through_lm_eval_without_examples_of_its_own(folder):
    from lm_eval import simple_evaluate
    from lm_eval.models.dummy import DummyLM
    from lm_eval.tasks import TaskManager

    class Echo(DummyLM):
        def generate_until(self, requests, disable_tqdm=True):
            return [request.doc["reply"] for request in requests]

    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"benchmarks": str(folder)})
    names = ["glan_gsm8k", "glan_bbh", "glan_humaneval", "glan_mbpp"]
    found = simple_evaluate(model=Echo(), tasks=names, task_manager=manager, bootstrap_iters=0)["results"]
    assert {name: (found[name]["acc,none"], found[name]["sample_len"]) for name in names} == {
        "glan_gsm8k": (1.0, 1), "glan_bbh": (1.0, 27), "glan_humaneval": (1.0, 1), "glan_mbpp": (1.0, 2),
    }  # fmt: skip


def test_a_group_is_evaluated_as_its_tasks_each_with_its_own_result(folder):
    from lm_eval.tasks import TaskManager

    from recipes.base.runtime import Runtime

    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"benchmarks": str(folder)})
    shown = available(manager, ["glan_code", "glan_gsm8k"], Runtime())
    assert shown == {name: [name] for name in ("glan_humaneval", "glan_mbpp", "glan_gsm8k")}
    assert list(tasks_of(["glan_code"])) == ["glan_humaneval", "glan_mbpp"]
    hub = tasks_of(["general_hub"])  # of lm-eval's own, so its task list is needed
    assert hub == {"mmlu": {}, "gsm8k": {}, "hellaswag": {}}
    assert {"ifeval", "glan_mmlu_stem"} <= tasks_of(["glan_public"]).keys()


def test_the_paper_profile_of_glan_measures_every_figure_that_it_names_as_a_target():
    asked = load(ROOT / "recipes.toml", "glan", "paper", here=False).settings("evaluate")
    measured = tasks_of((*asked.tasks, *asked.general)).keys()
    wanted = ("gsm8k", "math", "bbh", "arc_easy", "arc_challenge", "humaneval", "mbpp", "mmlu_stem", "mmlu_humanities")
    assert {*(f"glan_{name}" for name in wanted), "ifeval"} <= measured


@pytest.mark.parametrize("profile", ["embedded", "gpu", "paper"])
def test_public_tasks_without_a_named_evaluation_set_are_warned_of(profile):
    recipe = load(ROOT / "recipes.toml", "glan", profile, here=False)
    assert list(warnings(recipe)) == []
    sets = ["data.benchmarks=[]", 'eval.tasks=["glan_seen", "glan_arc_challenge"]']
    (text,) = warnings(load(ROOT / "recipes.toml", "glan", profile, sets, here=False))
    assert text.startswith("glan_arc_challenge") and "data.benchmarks is empty" in text


def test_an_evaluation_set_that_is_not_there_is_named_before_a_run():
    with pytest.raises(ConfigErrors) as refused:
        load(ROOT / "recipes.toml", "glan", "gpu")
    told = [str(problem) for problem in refused.value.problems]
    assert len(told) == 2 and all("data.benchmarks: no such test set" in text for text in told)


def test_check_tells_the_warning(tmp_path, capsys):
    sets = ["data.benchmarks=[]"]
    file = tmp_path / "recipes.toml"
    file.write_text(as_toml(load(ROOT / "recipes.toml", "glan", "paper", sets, here=False)))
    assert check(file, "glan", tmp_path) == 0
    assert "glan: embedded: warning: glan_humaneval, glan_mbpp, glan_gsm8k …" in capsys.readouterr().out


def test_what_ifeval_needs_is_asked_for_before_a_run(monkeypatch):
    def lacking(profile):
        return [
            text for blocks, text in doctor.lacks(load(ROOT / "recipes.toml", "glan", profile, here=False)) if blocks
        ]

    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "langdetect" else object())
    assert any("task ifeval" in text for text in lacking("paper")) and not any(
        "ifeval" in text for text in lacking("gpu")
    )
