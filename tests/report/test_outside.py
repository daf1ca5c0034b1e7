"""A verdict on evaluations made elsewhere: what is read, what is refused, and the exit codes."""

import csv
import json
import shutil
import subprocess
import sys
import zipfile

import pytest

from recipes import cli
from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.report.outside import give_verdict

FILES = ROOT / "tests" / "fixtures" / "verdict"  # written by lm_eval 0.4.13 and inspect_ai 0.3.285, cut to what is read


def write_table(file, scores, **columns):
    """`scores`: {model: list}; a column is a function of the number of the item."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["item", "model", "score", *columns])
        for model, found in scores.items():
            for number, score in enumerate(found):
                writer.writerow([f"q{number}", model, score, *(make(number) for make in columns.values())])
    return str(file)


def table(tmp_path, before, after, **columns):
    file = write_table(tmp_path / "t.csv", {"a": before, "b": after}, **columns)
    return f"{file}::a", f"{file}::b"


@pytest.fixture
def lm_eval(tmp_path):
    return shutil.copytree(FILES / "lm_eval", tmp_path / "lm_eval")


def edit(folder, task, change):
    file = next(folder.glob(f"samples_{task}_*.jsonl"))
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(sample) + "\n" for sample in change(samples)))


def test_lm_evals_own_files_of_generation_and_choice_are_read(lm_eval):
    found = give_verdict(str(lm_eval / "base"), str(lm_eval / "tuned")).evaluation
    assert {task.name: (task.n, task.first.metric) for task in found.tasks} == {
        "lab_choice": (12, "acc"),
        "lab_knowledge": (12, "exact_match"),
    }
    totals = json.loads(next((lm_eval / "base").glob("results_*")).read_text())["results"]
    (answers,) = (task.answers["base"] for task in found.tasks if task.name == "lab_knowledge")
    assert answers.mean == pytest.approx(totals["lab_knowledge"]["exact_match,answer-block"])


def test_samples_before_names_of_filters_were_written_are_read(lm_eval):
    """lm-eval 0.4.5 wrote all documents once for each filter, without `filter` and `metrics`."""
    read = [give_verdict(str(lm_eval / "base"), str(lm_eval / "tuned")).verdict.scores]
    bare = ("filter", "metrics")
    for model in ("base", "tuned"):
        for task in ("lab_knowledge", "lab_choice"):
            edit(lm_eval / model, task, lambda rows: [{k: v for k, v in row.items() if k not in bare} for row in rows])
    assert [give_verdict(str(lm_eval / "base"), str(lm_eval / "tuned")).verdict.scores] == read


def test_another_metric_may_be_named(lm_eval):
    found = give_verdict(str(lm_eval / "base"), str(lm_eval / "tuned"), tasks=["lab_choice"], metric="acc_norm")
    assert found.evaluation.tasks[0].first.metric == "acc_norm"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row for row in rows if row["doc_id"] != 3], "tuned lacks 1 of the 12 items of base"),
        (lambda rows: [row | {"prompt_hash": "x"} for row in rows], "prompted in other words"),
        (lambda rows: [row | {"doc_hash": f"{row['doc_id']}"} for row in rows], "answered other items"),
        (lambda rows: rows + rows[:1], "logged twice"),
        (lambda rows: [row | {"exact_match": 2.0} for row in rows], "is 2.0"),
    ],
)
def test_what_cannot_be_paired_is_refused_with_a_sentence(lm_eval, change, message):
    edit(lm_eval / "tuned", "lab_knowledge", change)
    with pytest.raises(RecipeError) as caught:
        give_verdict(str(lm_eval / "base"), str(lm_eval / "tuned"))
    assert message in str(caught.value)


def test_another_task_version_and_a_missing_task_are_refused_together(lm_eval):
    file = next((lm_eval / "tuned").glob("results_*"))
    file.write_text(file.read_text().replace('"lab_knowledge": 1.0', '"lab_knowledge": 2.0'))
    next((lm_eval / "tuned").glob("samples_lab_choice_*")).unlink()
    with pytest.raises(RecipeError) as caught:
        give_verdict(str(lm_eval / "base"), str(lm_eval / "tuned"))
    assert "version 1.0 for base, 2.0 for tuned" in str(caught.value) and "not asked lab_choice" in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_inspects_logs_are_read_as_json_and_as_zip(tmp_path, packed):
    for model in ("base", "tuned"):
        log = json.loads((FILES / "inspect" / f"{model}.json").read_text())
        if packed:
            with zipfile.ZipFile(tmp_path / f"{model}.eval", "w") as archive:
                archive.writestr("header.json", json.dumps({k: v for k, v in log.items() if k != "samples"}))
                for sample in log["samples"]:
                    archive.writestr(f"samples/{sample['id']}_epoch_1.json", json.dumps(sample))
        else:
            (tmp_path / f"{model}.json").write_text(json.dumps(log))
    end = "eval" if packed else "json"
    found = give_verdict(str(tmp_path / f"base.{end}"), str(tmp_path / f"tuned.{end}"), cluster="family")
    (comparison,) = found.verdict.comparisons
    assert (comparison.test.n, comparison.test.clusters, comparison.test.gained) == (12, 4, 6)


@pytest.mark.parametrize("old", [False, True])
def test_lightevals_details_are_read_in_both_forms(tmp_path, old):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for model, right in (("base", 5), ("tuned", 30)):
        rows = []
        for number in range(40):
            score, question = {"em": float(number < right)}, f"question {number}"
            doc = {"query": question, "choices": ["a"], "gold_index": 0}
            said = {"input": question, "text": ["a"]}
            plain = {"example": question, "full_prompt": question, "gold": "a", "predictions": ["a"], "metrics": score}
            rows.append(plain if old else {"doc": doc, "model_response": said, "metric": score})
        (tmp_path / model).mkdir()
        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / model / "details_gsm8k|0_2026-01-01T00.parquet")
    found = give_verdict(str(tmp_path / "base"), str(tmp_path / "tuned"))
    assert found.code == 0 and found.verdict.comparisons[0].test.gained == 25


@pytest.mark.parametrize(
    ("before", "after", "word", "code"),
    [([0] * 40, [1] * 40, "better", 0), ([1] * 40, [0] * 40, "worse", 1), ([0, 1] * 20, [1, 0] * 20, "cannot tell", 2)],
)
def test_exit_codes_say_what_was_found(tmp_path, before, after, word, code):
    found = give_verdict(*table(tmp_path, before, after))
    assert (found.verdict.word, found.code) == (word, code)


def test_equal_answers_to_many_items_are_no_worse_and_pass(tmp_path):
    found = give_verdict(*table(tmp_path, [1, 0] * 1000, [1, 0] * 1000))
    assert (found.verdict.word, found.code) == ("no worse", 0)


def test_a_gain_in_the_field_does_not_pay_for_an_open_or_lost_general_task(tmp_path):
    def run(kept):
        before = [0] * 200 + [1] * 100
        after = [1] * 200 + [1] * kept + [0] * (100 - kept)
        found = table(tmp_path, before, after, task=lambda n: "own" if n < 200 else "general_x")
        return give_verdict(*found, general=["general*"]).code

    assert (run(100), run(97), run(40)) == (0, 2, 1)


def test_items_of_one_source_count_once(tmp_path):
    """The mutation "clusters ignored": certain over items, not over the three of forty sources that gained."""
    before, after = [0] * 400, [1] * 30 + [0] * 370
    given = table(tmp_path, before, after, passage=lambda n: n // 10)
    assert give_verdict(*given).verdict.word == "better"
    assert give_verdict(*given, cluster="passage").verdict.word == "no worse"
    with pytest.raises(RecipeError, match="names its source"):
        give_verdict(*given, cluster="nobody")


def test_holm_runs_over_the_tasks_that_are_given(tmp_path):
    """The mutation "Holm left out": six gains of six items decide alone, not among ten tasks."""
    before, after = [0] * 400, ([1] * 6 + [0] * 34) * 10
    alone = table(tmp_path, before[:40], after[:40])
    assert give_verdict(*alone).verdict.word == "better"
    assert give_verdict(*table(tmp_path, before, after, task=lambda n: f"t{n // 40}")).verdict.word == "no worse"


def test_seeds_on_the_same_items_count_an_item_once(tmp_path):
    before, after = [0] * 40, [1] * 5 + [0] * 35
    base, tuned = table(tmp_path, before, after)
    one = give_verdict(base, tuned).verdict.comparisons[0].test
    three = give_verdict(base, ",".join([tuned] * 3))
    test = three.verdict.comparisons[0].test
    assert (test.n, test.clusters) == (120, 40)
    assert test.p == pytest.approx(one.p, abs=0.04) and test.p > 0.01
    assert "run by run" in three.notes[1]
    with pytest.raises(RecipeError, match="different numbers of runs"):
        give_verdict(f"{base},{base}", ",".join([tuned] * 3))


def test_noise_is_measured_between_two_evaluations_of_the_base(tmp_path):
    base, tuned = table(tmp_path, [0, 1] * 50, [1] * 100)
    again = write_table(tmp_path / "again.csv", {"a": [1, 0] + [0, 1] * 49})
    found = give_verdict(base, tuned, noise=again, out=tmp_path / "out")
    noise = found.noise["items"]
    assert noise.changed == 0.02 and noise.difference == 0 and 0.02 < noise.floor < 0.06
    page = (tmp_path / "out" / "index.html").read_text()
    assert "noise" in page and "Not covered" in page
    assert json.loads((tmp_path / "out" / "report.json").read_text())["noise"]["items"]["changed"] == 0.02


def test_pooled_tasks_are_tested_as_one(tmp_path):
    given = table(tmp_path, [0] * 60, [1] * 20 + [0] * 40, task=lambda n: f"mmlu_{n // 20}")
    (comparison,) = give_verdict(*given, pool={"mmlu": "mmlu_*"}).verdict.comparisons
    assert (comparison.task, comparison.test.n, comparison.test.gained) == ("mmlu", 60, 20)


def test_an_item_that_stands_twice_in_a_table_is_refused(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("item,model,score\nq,a,1\nq,a,0\nq,b,1\n")
    with pytest.raises(RecipeError, match="stands twice"):
        give_verdict(f"{file}::a", f"{file}::b")


def test_usage_errors_and_problems_are_no_verdict(tmp_path, capsys):
    for words in (["--bogus"], ["a"], ["a", "b", "--alpha", "3"], [str(tmp_path / "no"), str(tmp_path / "no")]):
        try:
            code = cli.main(["verdict", *words])
        except SystemExit as stop:
            code = stop.code
        assert code == 3, words
    assert cli.main(["verdict", "--plan", "--gain", "0.05", "--seed-sd", "0.01"]) == 0
    assert "3 seeds" in capsys.readouterr().out


def test_no_machine_learning_library_is_loaded(tmp_path):
    base, tuned = table(tmp_path, [0, 1] * 20, [1] * 40)
    words = ["verdict", base, tuned, "--out", str(tmp_path / "out")]
    heavy = "print({'torch', 'transformers', 'lm_eval', 'scipy.stats'} & sys.modules.keys())"
    code = f"import sys; from recipes.cli import main; main({words!r})\n{heavy}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
