"""Reading artefacts, the pages made from them, the leaderboard, and the comparison of two runs."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from recipes.base.errors import RecipeError
from recipes.report import sections
from recipes.report.build import write_report
from recipes.report.compare import compare_models
from recipes.report.frontier import frontiers
from recipes.report.leaderboard import write_leaderboard
from recipes.report.load import Manifest, load_evaluation
from recipes.report.seeds import as_text
from recipes.report.verdict import judge
from tests.helpers.fixtures_report import DATE, HOSTILE, MODELS, SKILL, fabricate

SMALL = {task: (kind, max(40, n // 5), chances) for task, (kind, n, chances) in SKILL.items()}
NO_RL = [m for m in MODELS if m[0] != "rl"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A fabricated run of all stages, and its report's folder."""
    folder = tmp_path_factory.mktemp("run")
    stages = fabricate(folder / "runs")
    sentence = write_report(stages, folder / "report", {"summary": "A summary.", "toml": "seed = 7 # <toml>"})
    return stages, folder / "report", sentence


def page_of(folder):
    return (folder / "index.html").read_text(encoding="utf-8")


# --- reading --------------------------------------------------------------------------------------


def test_the_fabricated_samples_have_the_fields_that_lm_eval_writes(run):
    from lm_eval.result_schema import SampleResult

    line = next((run[0]["evaluate"] / "lm_eval" / "rl").glob("samples_*.jsonl")).open().readline()
    sample = json.loads(line)
    assert sample.keys() - set(sample["metrics"]) == set(SampleResult.__annotations__)


def test_all_models_and_tasks_are_read(run):
    evaluation = load_evaluation(run[0]["evaluate"])
    assert [m.name for m in evaluation.columns] == ["base", "few-shot", "sft", "rl"]
    assert [m.name for m in evaluation.models[4:]] == ["sft · sampled", "rl · sampled"]
    assert {t.name: t.n for t in evaluation.tasks} == {task: n for task, (_, n, _) in SKILL.items()}
    kinds = {t.name: t.kind for t in evaluation.tasks}
    calculation = next(t for t in evaluation.tasks if t.name == "analogseeker_calculation")
    assert list(calculation.others) == ["sft · sampled", "rl · sampled"]
    assert kinds["analogseeker_format"] == "format"
    assert [i.doc_id for i in evaluation.tasks[0].answers["sft"].items] == list(range(300))


def test_the_tasks_of_a_group_are_pooled_to_one_whose_items_differ(tmp_path):
    folder = fabricate(tmp_path)["evaluate"]
    apart = {task.name: task.answers["sft"].mean for task in load_evaluation(folder).tasks if task.kind == "general"}
    index = json.loads((folder / "models.json").read_text())
    del index["tasks"]["general_arithmetic"], index["tasks"]["general_knowledge"]
    index["tasks"]["both"] = {"kind": "general", "of": ["general_arithmetic", "general_knowledge"]}
    (folder / "models.json").write_text(json.dumps(index))
    task = {task.name: task for task in load_evaluation(folder).tasks}["both"]
    answers = task.answers["sft"]
    assert task.n == 400 and [item.doc_id for item in answers.items] == list(range(400))
    assert answers.mean == pytest.approx(sum(apart.values()) / 2) and task.kind == "general"


def test_the_newest_samples_of_a_task_count(tmp_path):
    folder = fabricate(tmp_path, skill=SMALL)["evaluate"]
    old = folder / "lm_eval" / "sft" / f"samples_analogseeker_transfer_{DATE}.jsonl"
    new = old.with_name(old.name.replace("2026", "2027"))
    new.write_text("".join(old.read_text().splitlines(keepends=True)[::-1]))
    old.write_text("not read")
    assert load_evaluation(folder).tasks[2].answers["sft"].items[0].doc_id == 0


def test_answers_of_likelihood_tasks_are_the_likeliest_choice(tmp_path):
    skill = {"general_choice": ("general", 3, (1, 1, 1, 1))}
    folder = fabricate(tmp_path, skill=skill)["evaluate"]
    for file in folder.rglob("samples_general_choice_*.jsonl"):
        samples = [json.loads(line) for line in file.read_text().splitlines()]
        for sample in samples:
            sample["arguments"] = {f"gen_args_{i}": {"arg_0": "Q", "arg_1": f" choice {i}"} for i in range(3)}
            sample["resps"] = [[["-9.0", "False"]], [["-2.5", "True"]], [["-10.5", "False"]]]
            sample["filtered_resps"] = [["-9.0", "False"], ["-2.5", "True"], ["-10.5", "False"]]
        file.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    assert load_evaluation(folder).tasks[0].answers["base"].items[0].reply == "choice 1"


def edit_samples(folder, model, task, change):
    file = folder / "lm_eval" / model / f"samples_{task}_{DATE}.jsonl"
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    change(samples)
    file.write_text("".join(json.dumps(sample) + "\n" for sample in samples))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda samples: samples[3].update(doc_hash="other"), "items, gold answers"),
        (lambda samples: samples[3].update(target_hash="other"), "items, gold answers"),
        (lambda samples: samples.pop(), "items, gold answers"),
        (lambda samples: samples[3].update(prompt_hash="other"), "prompts differ"),
    ],
)
def test_models_asked_different_things_are_not_compared(tmp_path, change, message):
    folder = fabricate(tmp_path, skill=SMALL)["evaluate"]
    edit_samples(folder, "sft", "analogseeker_transfer", change)
    with pytest.raises(RecipeError) as caught:
        load_evaluation(folder)
    assert message in str(caught.value)
    assert "task analogseeker_transfer" in str(caught.value)


def test_models_decoded_differently_are_not_compared(tmp_path):
    folder = fabricate(tmp_path, skill=SMALL)["evaluate"]
    file = folder / "lm_eval" / "sft" / f"results_{DATE}.json"
    results = json.loads(file.read_text())
    results["configs"]["analogseeker_transfer"]["generation_kwargs"]["do_sample"] = True
    file.write_text(json.dumps(results))
    with pytest.raises(RecipeError, match="decoding differ"):
        load_evaluation(folder)


def test_damaged_files_are_named(tmp_path):
    folder = fabricate(tmp_path, skill=SMALL)["evaluate"]
    samples = folder / "lm_eval" / "sft" / f"samples_analogseeker_transfer_{DATE}.jsonl"
    whole = samples.read_text()
    samples.write_text(whole[:-40])
    with pytest.raises(RecipeError, match=r"(?s)not a JSON object.*line 40") as caught:
        load_evaluation(folder)
    assert samples.name in str(caught.value)
    samples.write_text(whole.replace('"doc_hash"', '"hash"'))
    with pytest.raises(RecipeError, match="lm-eval's form"):
        load_evaluation(folder)
    samples.write_text(whole)
    (folder / "lm_eval" / "sft" / f"results_{DATE}.json").unlink()
    with pytest.raises(RecipeError, match="results are missing"):
        load_evaluation(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(RecipeError, match="not a finished artefact"):
        load_evaluation(folder)


# --- the page -------------------------------------------------------------------------------------


def test_the_verdict_comes_first_and_is_returned(run):
    _, folder, sentence = run
    page = page_of(folder)
    assert sentence.startswith("Better, at a cost to general ability:")
    assert "reinforcement adds" in sentence
    assert page.index(sentence.partition(":")[2]) < page.index("<table") < page.index('id="scores"')
    assert sentence in (folder / "report.md").read_text(encoding="utf-8")
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["verdict"]["sentence"] == sentence


def test_the_page_opens_from_disk_alone(run):
    page = page_of(run[1])
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert not re.search(r"@import|url\(", page)
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page


def test_whatever_models_and_data_say_is_only_text(run):
    _, folder, _ = run
    page, text = page_of(folder), (folder / "report.md").read_text(encoding="utf-8")
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page
    assert "<b>matched</b>" not in page and "&lt;toml&gt;" in page
    assert HOSTILE not in text
    assert page.count("<script>") == 1


def test_memory_of_a_gpu_stands_beside_that_of_the_stage_that_used_one(run):
    _, folder, _ = run
    for text in (page_of(folder), (folder / "report.md").read_text(encoding="utf-8")):
        assert text.count("1.43 GB") == 4 and text.count("1.43 GB, GPU 31.50 GB") == 1


def test_every_section_is_there(run):
    page = page_of(run[1])
    for needed in (
        "Laboratory result",
        "Other ways to answer",
        "Step by step",
        "Regressions",
        "Improvements",
        "No change, still wrong",
        "Where wrong answers come from",
        "Groups without spread",
        "heading without text: 3",
        "Leak gate",
        "2 min 11 s",
        "1 min 58 s",
        "python -m recipes run analogseeker --set sft.learning_rate=1e-3",
        "1f2e3d4c5b6a79880716253443526170aabbccdd",
        "The recipe as it was run",
    ):
        assert needed in page, needed


def test_every_wrong_answer_from_a_node_is_traced(run):
    stages, folder, _ = run
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    wrong = {i["node_id"] for i in report["items"] if i["scores"]["rl"] < 1 and i["node_id"]}
    traced = {node["node_id"]: node for node in report["nodes_missed"]}
    assert wrong == traced.keys()
    rows = [json.loads(line) for name in ("sft", "rl") for line in (stages["data"] / f"{name}.jsonl").open()]
    for node_id, node in traced.items():
        assert node["training_rows"] == sum(row["node_id"] == node_id for row in rows)
    page = page_of(folder)
    links = set(re.findall(r'href="#node-(\w+)"', page))
    assert links == wrong == set(re.findall(r'id="node-(\w+)"', page))


def test_changes_are_sorted_by_base_against_final_model(run):
    report = json.loads((run[1] / "report.json").read_text(encoding="utf-8"))
    for item in report["items"]:
        before, after = item["scores"]["base"], item["scores"]["rl"]
        expected = {(0, 1): "improved", (1, 0): "regressed", (0, 0): "wrong", (1, 1): "right"}[before, after]
        assert item["change"] == expected
    assert len(report["items"]) == sum(n for task, (_, n, _) in SKILL.items() if not task.endswith("_format"))


def test_the_same_artefacts_give_the_same_bytes(run, tmp_path):
    write_report(run[0], tmp_path, {"summary": "A summary.", "toml": "seed = 7 # <toml>"})
    for name in ("index.html", "report.md", "report.json"):
        assert (tmp_path / name).read_bytes() == (run[1] / name).read_bytes()


def test_a_base_from_elsewhere_is_no_laboratory_result(tmp_path):
    write_report(fabricate(tmp_path / "runs", skill=SMALL, name="Qwen/Qwen3-8B"), tmp_path / "report", {})
    assert "Laboratory result" not in page_of(tmp_path / "report")


def test_without_reinforcement_other_ways_or_logs(tmp_path):
    skill = {task: about for task, about in SMALL.items() if task != "analogseeker_calculation"}
    stages = fabricate(tmp_path / "runs", skill=skill, models=NO_RL, logs=False)
    sentence = write_report(stages, tmp_path / "report", {})
    page = page_of(tmp_path / "report")
    assert "reinforcement" not in sentence
    assert "Other ways to answer" not in page and 'id="training"' not in page
    assert "sft against few-shot" in page


def test_evaluation_alone_is_enough(tmp_path):
    stages = fabricate(tmp_path / "runs", skill=SMALL)
    write_report({"evaluate": stages["evaluate"]}, tmp_path / "report", {})
    page = page_of(tmp_path / "report")
    assert 'id="data"' not in page and "Where wrong answers come from" not in page


def test_a_task_without_items_is_shown_as_such(tmp_path):
    stages = fabricate(tmp_path / "runs", skill=SMALL | {"analogseeker_empty": ("field", 0, (0, 0, 0, 0))})
    write_report(stages, tmp_path / "report", {})
    assert "no items" in page_of(tmp_path / "report")


def test_no_wrong_answers(tmp_path):
    skill = {task: (kind, n, (0.3, 0.3, 9.0, 9.0)) for task, (kind, n, _) in SMALL.items()}
    write_report(fabricate(tmp_path / "runs", skill=skill), tmp_path / "report", {})
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["nodes_missed"] == []
    assert {item["change"] for item in report["items"]} == {"improved", "right"}


def test_only_the_base(tmp_path):
    write_report(fabricate(tmp_path / "runs", skill=SMALL, models=MODELS[:1]), tmp_path / "report", {})
    assert "only the base was evaluated" in page_of(tmp_path / "report")


def test_measures_over_a_whole_task_are_shown_as_lm_eval_aggregated_them(tmp_path):
    """Macro-F1 is no mean over items: it stands in the results alone."""
    stages = fabricate(tmp_path / "runs", skill=SMALL)
    for file in (stages["evaluate"] / "lm_eval" / "sft").rglob("results_*.json"):
        raw = json.loads(file.read_text(encoding="utf-8"))
        measured = {"macro_f1,none": 0.4375, "macro_f1_stderr,none": 0.01}
        raw.setdefault("results", {}).setdefault("analogseeker_transfer", {}).update(measured)
        file.write_text(json.dumps(raw), encoding="utf-8")
    write_report(stages, tmp_path / "report", {})
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))["other_measures"]
    assert {"task": "analogseeker_transfer", "metric": "macro_f1", "values": {"sft": 0.4375}} in found
    assert "macro_f1_stderr" not in {row["metric"] for row in found}
    assert "0.438" in page_of(tmp_path / "report")


def test_levels_are_reported_apart(tmp_path):
    stages = fabricate(tmp_path / "runs", skill=SMALL)
    for model in ("base", "few-shot", "sft", "rl"):

        def add_levels(samples):
            for i, sample in enumerate(samples):
                sample["doc"]["level"] = "Graduate" if i % 4 else None

        edit_samples(stages["evaluate"], model, "analogseeker_transfer", add_levels)
    write_report(stages, tmp_path / "report", {})
    levels = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))["levels"]
    assert {(row["task"], row["level"], row["n"]) for row in levels} == {
        ("analogseeker_transfer", "Graduate", 30),
        ("analogseeker_transfer", "no level", 10),
    }


def test_the_report_loads_no_machine_learning_package():
    code = (
        "import sys; import recipes.report.build, recipes.report.leaderboard, recipes.report.compare;"
        "print([m for m in ('torch', 'transformers', 'datasets', 'lm_eval', 'trl', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- over several runs ----------------------------------------------------------------------------


def board_page(tmp_path):
    page, _ = write_leaderboard(tmp_path / "runs", tmp_path / "board")
    return page.read_text(encoding="utf-8")


def second_run(tmp_path, profile, **changes):
    fabricate(tmp_path / profile, skill=SMALL, **changes)
    (tmp_path / profile / "analogseeker" / "embedded").rename(tmp_path / "runs" / "analogseeker" / profile)


@pytest.mark.slow
def test_runs_share_a_column_only_where_items_are_the_same(tmp_path):
    fabricate(tmp_path / "runs", skill=SMALL)
    second_run(tmp_path, "gpu", seed=8)
    page = board_page(tmp_path)
    assert page.count(">transfer<small>") == 1
    assert "°" not in page
    second_run(tmp_path, "paper", seed=9, nodes=30)
    page = board_page(tmp_path)
    assert page.count(">transfer<small>") == 2
    assert page.count(">general arithmetic<small>") == 1
    assert page.count("<th>rl<small") == 3


def test_other_prompts_are_marked_on_the_leaderboard(tmp_path):
    fabricate(tmp_path / "runs", skill=SMALL)
    second_run(tmp_path, "gpu", seed=8, prompt="other")
    page = board_page(tmp_path)
    assert page.count(">transfer<small>") == 1
    assert "worded or templated otherwise" in page


@pytest.mark.slow
def test_runs_of_one_setting_are_pooled_over_their_seeds(tmp_path):
    for seed in (7, 8, 9):
        fabricate(tmp_path / "runs", skill=SMALL, seed=seed)
    manifest = next((tmp_path / "runs").glob("*/*/evaluate-*/manifest.json"))
    raw = json.loads(manifest.read_text(encoding="utf-8"))
    raw["spec"]["eval"]["batch_size"] = 7  # how the work was done is no part of a setting
    manifest.write_text(json.dumps(raw), encoding="utf-8")
    fabricate(tmp_path / "runs", skill=SMALL, seed=10, name="./another-base")
    page, repeated = write_leaderboard(tmp_path / "runs", tmp_path / "board")
    (repetition,) = repeated
    assert list(repetition.runs) == [7, 8, 9]
    rows = {(row.task, row.model, row.against): row for row in repetition.comparisons}
    row = rows["analogseeker_calculation", "rl", "sft"]
    alone = [judge(run).of("rl", "sft", "field") for run in repetition.runs.values()]
    one = [next(c.test for c in found if c.task == "analogseeker_calculation") for found in alone]
    assert row.test.n == sum(test.n for test in one)
    assert (row.test.gained, row.test.lost) == (sum(t.gained for t in one), sum(t.lost for t in one))
    assert row.by_seed == pytest.approx([test.difference for test in one])
    assert row.after - row.before == pytest.approx(row.test.difference)
    assert row.test.clusters == max(test.clusters for test in one), "a node is one cluster over all seeds"
    assert row.p_holm >= row.test.p
    assert "over 3 seeds" in page.read_text(encoding="utf-8")
    assert any(line.strip().startswith("rl - sft, calculation:") for line in as_text(repetition))


def changed(folder, **parts):
    """Write other values into the parts of a manifest; None takes a part out."""
    file = folder / "manifest.json"
    raw = json.loads(file.read_text(encoding="utf-8"))
    for part, value in parts.items():
        raw |= {part: raw[part] | value if isinstance(value, dict) else value}
    file.write_text(json.dumps({key: value for key, value in raw.items() if value is not None}), encoding="utf-8")


def test_runs_are_pooled_where_they_differ_only_in_what_their_manifests_say_is_how(tmp_path):
    """Also in a builder's tables, and not where the same key decides the result."""
    runs = [fabricate(tmp_path / "runs", skill=SMALL, seed=seed) for seed in (7, 8)]
    how = ["data.teacher.max_cost", "sft.micro_batch"]
    for place, cost, micro in zip(runs, (1.0, 2.0), (64, 8), strict=True):
        changed(place["data"], spec={"data": {"teacher": {"kind": "openai", "max_cost": cost}}}, how=how)
        changed(place["sft"], spec={"sft": {"micro_batch": micro, "balance": {"weight": 1.0}}}, how=how)
    board = tmp_path / "board"
    assert [list(r.runs) for r in write_leaderboard(tmp_path / "runs", board)[1]] == [[7, 8]]
    for place in runs:
        changed(place["sft"], how=[])  # the balance is taken over micro-batches
    assert write_leaderboard(tmp_path / "runs", board)[1] == []


def test_an_older_manifest_says_of_no_key_that_it_does_not_matter(tmp_path):
    runs = [fabricate(tmp_path / "runs", skill=SMALL, seed=seed) for seed in (7, 8)]
    for place in runs:
        changed(place["evaluate"], how=None)
    assert len(write_leaderboard(tmp_path / "runs", tmp_path / "board")[1]) == 1
    changed(runs[0]["evaluate"], spec={"eval": {"batch_size": 7}})
    assert write_leaderboard(tmp_path / "runs", tmp_path / "board")[1] == []


def test_a_reranker_has_its_curves(tmp_path):
    (tmp_path / "training.jsonl").write_text('{"step": 1, "loss": 0.7}\n{"step": 2, "loss": 0.5}\n')
    manifest = Manifest(
        tmp_path, "demo", "embedded", "rerank", "ab", {}, {}, 1.0, 1, {}, {}, None, "rerank", "Reranker"
    )
    assert list(sections.curves({"rerank": manifest})) == ["Reranker"]


def test_a_run_whose_earlier_artefacts_are_gone_is_not_pooled(tmp_path):
    runs = [fabricate(tmp_path / "runs", skill=SMALL, seed=seed) for seed in (7, 8)]
    shutil.rmtree(runs[1]["sft"])
    assert write_leaderboard(tmp_path / "runs", tmp_path / "board")[1] == []


def test_runs_that_cannot_be_read_are_named_and_others_shown(tmp_path):
    fabricate(tmp_path / "runs", skill=SMALL)
    broken = tmp_path / "runs" / "analogseeker" / "gpu" / "evaluate-00000000"
    broken.mkdir(parents=True)
    page = board_page(tmp_path)
    assert "analogseeker/gpu/evaluate-00000000" in page and "no manifest.json" in page
    assert "<th>rl<small" in page


def test_a_run_compared_with_itself_shows_no_difference(run):
    rows = compare_models(run[0]["evaluate"], run[0]["evaluate"])
    assert len(rows) == len(SKILL) * len(MODELS)
    assert all(row["p"] == 1.0 and row["a"] == row["b"] and row["low"] < 0 < row["high"] for row in rows)


def test_a_changed_model_is_found_and_changed_items_are_refused(tmp_path):
    before = fabricate(tmp_path / "a", skill=SMALL)["evaluate"]
    weaker = SMALL | {"analogseeker_calculation": ("field", 60, (0.02, 0.06, 0.1, 0.84))}
    after = fabricate(tmp_path / "b", skill=weaker)["evaluate"]
    rows = {(row["task"], row["model"]): row for row in compare_models(before, after)}
    changed = rows["analogseeker_calculation", "sft"]
    assert changed["p"] < 0.01 and changed["high"] < 0 and changed["b"] < changed["a"] and changed["n"] == 60
    assert rows["analogseeker_calculation", "rl"]["p"] > 0.05
    other = fabricate(tmp_path / "c", skill=SMALL, nodes=30)["evaluate"]
    rows = {(row["task"], row["model"]): row for row in compare_models(before, other)}
    refused = rows["analogseeker_calculation", "sft"]
    assert refused["p"] is None and "task hash" in refused["refused"]
    assert rows["general_arithmetic", "sft"]["p"] is not None


def test_distance_from_the_base_and_routing_are_shown(run):
    folder = run[1]
    page, text, data = (folder / name for name in ("index.html", "report.md", "report.json"))
    written = text.read_text(encoding="utf-8")
    assert "| sft | 0.512 | 1.250 |" in written and "| rl | 0.200 |" in written
    found = json.loads(data.read_text(encoding="utf-8"))["probes"]["routing"]["values"]["sft"]
    assert found["layers"]["model.layers.0.mlp.up_proj"] == {"field": [0.3, 0.7], "general": [0.75, 0.25]}
    html = page.read_text(encoding="utf-8")
    assert 'title="1 up_proj, general, expert 1: 75.0 %"' in html and "0.200" in html


def test_a_way_to_answer_is_compared_with_plain_answers_to_the_same_items(run):
    rows = {row["model"]: row for row in json.loads((run[1] / "report.json").read_text())["methods"]}
    (task,) = (t for t in load_evaluation(run[0]["evaluate"]).tasks if t.name == "analogseeker_calculation")
    assert list(rows) == ["sft · sampled", "rl · sampled"]
    plain = [item.score for item in task.answers["rl"].items][::2]
    assert rows["rl · sampled"]["plain"] == pytest.approx(sum(plain) / len(plain))
    assert rows["rl · sampled"]["test"]["n"] == len(plain) == 150
    assert "rl · sampled" in page_of(run[1])


def test_error_level_and_margin_are_the_recipes_and_not_those_that_the_evaluation_noted(run, tmp_path):
    write_report(run[0], tmp_path, {"alpha": 0.01, "margin": 0.2})
    verdict = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["verdict"]
    assert (verdict["alpha"], verdict["margin"]) == (0.01, 0.2)


def test_settings_that_were_asked_the_same_stand_on_one_frontier(tmp_path):
    skill = {
        "demo_recall": ("field", 40, (0.2, 0.2, 0.5, 0.6)),
        "general_facts": ("general", 50, (0.9, 0.9, 0.6, 0.5)),
    }
    for seed in (7, 8):
        fabricate(tmp_path / "runs", skill=skill, seed=seed)
    other = fabricate(tmp_path / "runs", skill=skill, seed=9)
    sft = json.loads((other["sft"] / "manifest.json").read_text(encoding="utf-8"))
    sft["spec"]["other"] = "setting"
    (other["sft"] / "manifest.json").write_text(json.dumps(sft), encoding="utf-8")
    page, _ = write_leaderboard(tmp_path / "runs", tmp_path / "board")
    runs = [load_evaluation(folder) for folder in sorted((tmp_path / "runs").glob("*/*/evaluate-*"))]
    (frontier,) = frontiers(runs)
    assert frontier.tasks == ("demo_recall", "general_facts")
    assert sorted(len(point.gains) for point in frontier.points) == [1, 2]
    score = {
        (run.manifest.seed, t.name, m): t.answers[m].mean for run in runs for t in run.tasks for m in ("base", "rl")
    }
    alone = next(point for point in frontier.points if len(point.gains) == 1)
    assert alone.gain == pytest.approx(score[9, "demo_recall", "rl"] - score[9, "demo_recall", "base"])
    assert alone.kept == pytest.approx(score[9, "general_facts", "rl"] / score[9, "general_facts", "base"])
    assert page.read_text(encoding="utf-8").count('class="dot"') >= 2
    assert frontiers(runs[:1]) == []


def test_what_a_step_tells_of_itself_is_shown_and_that_nothing_was_learnt_in_the_verdict_too(
    tmp_path,
):
    stages = fabricate(tmp_path / "runs", skill=SMALL, nodes=8)
    file = stages["rl"] / "manifest.json"
    manifest = json.loads(file.read_text())
    share = "Before it, of 16 prompts 0% have right and wrong replies among 8, 0% only right ones, 100% none."
    manifest["metrics"] |= {"remarks": [share], "nothing_learnt": "all replies got the same reward"}
    file.write_text(json.dumps(manifest))
    sentence = write_report(stages, tmp_path / "report", {})
    assert "reinforcement could learn nothing (all replies got the same reward)" in sentence
    shown = [(tmp_path / "report" / name).read_text() for name in ("index.html", "report.md", "report.json")]
    assert all(share in text and "Nothing could be learnt: all replies got the same reward." in text for text in shown)
