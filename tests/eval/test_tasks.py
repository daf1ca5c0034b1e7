"""Every evaluation task through lm-eval itself: discovery, prompts, few-shot examples, scores, levels, files."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from eval import hooks
from eval.benchmarks import amsbench
from recipes.base.options import LETTERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "eval" / "tasks"
RECIPE = {
    "analogseeker_knowledge": 4,
    "analogseeker_calculation": 4,
    "analogseeker_transfer": 4,
    "analogseeker_format": 12,
}
GENERAL = {"general_arithmetic": 2, "general_facts": 2, "general_instructions": 2}
COUNTS = RECIPE | GENERAL | {"amsbench_tqa": 5}
GROUPS = {"analogseeker": list(RECIPE), "general": list(GENERAL), "general_hub": ["mmlu", "gsm8k", "hellaswag"]}
PARTS = ["amsbench_ldo", "amsbench_comparator", "amsbench_bandgap", "amsbench_opamp", "amsbench_caption"]
LEVELS = ["Graduate", "Graduate", "Undergraduate", None, ""]


def turns(content):
    return [{"role": "user", "content": content}]


def make_row(number, kind, grader, answer, unit=None, options=None):
    return {
        "id": f"{kind}-{number}",
        "prompt": turns(f"{kind} question {number}?"),
        "answer": answer,
        "reply": f"<think>why</think>\nSo.\n<answer>{answer}</answer>",
        "grader": grader,
        "kind": kind,
        "options": options,
        "unit": unit,
        "tolerance": 0.01 if unit else None,
        "difficulty": 1,
        "node_id": f"node-{number % 2}",
        "fact_id": f"fact-{number}",
        "family": "mirrors",
        "lineage": {"draw": number},
    }


def recipe_rows():
    for number in range(4):
        options = [f"option {number}{i}" for i in range(4)]
        yield make_row(number, "knowledge", "choice", LETTERS[number], options=options)
        yield make_row(number, "calculation", "numeric", f"{number + 2} uA", unit="uA")
        yield make_row(number, "transfer", *(("choice", "B", None, options) if number % 2 else ("text", "the gate")))


def general_rows():
    for number in range(2):
        yield make_row(number, "arithmetic", "numeric", str(number + 7))
        yield make_row(number, "facts", "choice", "A", options=["yes", "no"])
        yield make_row(number, "instructions", "text", "red green")


def train_row(number, kind):
    reply = [{"role": "assistant", "content": f"<think>t</think>\nSo.\n<answer>{kind} {number}</answer>"}]
    return {"id": f"train-{kind}-{number}", "prompt": turns(f"{kind} {number}?"), "completion": reply, "kind": kind}


def amsbench_items(gold_key="groundtruth"):
    options = {"A": "low", "B": "high", "C": "none"}
    items = [{"question": f"Q{i}?", "options": options, gold_key: "ABCAB"[i], "level": LEVELS[i]} for i in range(5)]
    del items[3]["level"]
    return items


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """lm-eval, imported once, and run metadata for a small data artefact, general rows and an AMSBench file."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    folder = tmp_path_factory.mktemp("world")
    write_lines(folder / "test.jsonl", recipe_rows())
    write_lines(folder / "sft.jsonl", [train_row(n, kind) for n in range(3) for kind in ("mcq", "calc", "open")])
    general = write_lines(folder / "general_test.jsonl", general_rows())
    amsbench = folder / "tqa.json"
    amsbench.write_text(json.dumps(amsbench_items()))
    metadata = {"data": str(folder), "general": str(general), "amsbench": str(amsbench)}

    class Scripted(LM):
        """Answers every request with `say(document)` and keeps the prompts and generation settings it was sent."""

        tokenizer_name = "scripted"

        def __init__(self, say):
            super().__init__()
            self.say, self.sent = say, []

        def generate_until(self, requests):
            self.sent += [request.args for request in requests]
            return [self.say(request.doc) for request in requests]

        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            return "".join(f"[{turn['role']}]{turn['content']}" for turn in chat_history) + "[assistant]"

        def loglikelihood(self, requests):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    def manager(**more):
        return TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata | more)

    def evaluate(tasks, say, *, more=None, **options):
        model = Scripted(say)
        options = {"apply_chat_template": True, "fewshot_as_multiturn": True, "bootstrap_iters": 0} | options
        tracker = options.get("evaluation_tracker")
        results = lm_eval.simple_evaluate(model=model, tasks=tasks, task_manager=manager(**(more or {})), **options)
        if tracker:
            samples = results.pop("samples")
            tracker.save_results_aggregated(results=results, samples=samples)
            for task, rows in samples.items():
                tracker.save_results_samples(task_name=task, samples=rows)
            results["samples"] = samples
        return results, model

    return SimpleNamespace(
        folder=folder, metadata=metadata, manager=manager, evaluate=evaluate, tracker=EvaluationTracker
    )


@pytest.fixture(autouse=True)
def light_provenance(monkeypatch):
    """lm-eval lists the machine's packages after every run, which takes half a second and tells these tests nothing."""
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "")


def gold(doc):
    return doc["reply"]


def test_every_task_file_is_discovered(world):
    manager = world.manager()
    assert set(manager.all_subtasks) >= set(COUNTS)
    assert set(manager.all_groups) >= set(GROUPS)
    # lm-eval skips a file it cannot read without a word
    files = [file for folder in ("analogseeker", "general") for file in (TASKS / folder).glob("*.yaml")]
    more = [*PARTS, "amsbench_text", "amsbench_tqa_official", "analogseeker_knowledge_likelihood"]
    assert len(files) == len(COUNTS) + len(GROUPS) + len(more) == 19
    assert set(more) <= {*manager.all_subtasks, *manager.all_groups}


@pytest.mark.parametrize("name", COUNTS)
def test_task_loads_its_rows_and_decodes_as_it_says(world, name):
    task = world.manager().load([name])["tasks"][name]
    assert len(task.eval_docs) == COUNTS[name]
    assert task.VERSION == 1
    settings = task.config.generation_kwargs
    assert settings["until"] == [] and settings["max_gen_toks"] >= 256
    assert settings["do_sample"] is False and "temperature" not in settings


@pytest.mark.parametrize("group", ["analogseeker", "general"])
def test_groups_hold_their_tasks(world, group):
    assert world.manager().load([group])["group_map"][group] == GROUPS[group]


def test_the_hub_group_names_tasks_that_lm_eval_has():
    from lm_eval.tasks import __file__ as home
    from lm_eval.tasks._index import TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    named = load_yaml(TASKS / "general" / "general_hub.yaml")["task"]
    assert named == GROUPS["general_hub"]
    assert set(named) <= TaskIndex.build([Path(home).parent / folder for folder in named]).keys()


def test_gold_replies_score_one_and_empty_replies_zero(world):
    results, _ = world.evaluate(["analogseeker", "general", "amsbench_tqa"], gold)
    # a gold AMSBench reply is a bare answer block
    assert {name: results["results"][name]["acc,none"] for name in COUNTS} == dict.fromkeys(COUNTS, 1.0)
    assert {name: results["results"][name]["parsed,none"] for name in COUNTS} == dict.fromkeys(COUNTS, 1.0)
    assert results["results"]["general"]["acc,none"] == 1.0
    assert {name: count["effective"] for name, count in results["n-samples"].items()} == COUNTS
    results, _ = world.evaluate(["analogseeker", "general", "amsbench_tqa"], lambda doc: "")
    assert {results["results"][name]["acc,none"] for name in COUNTS} == {0.0}
    assert {results["results"][name]["parsed,none"] for name in COUNTS} == {0.0}


def test_a_wrong_answer_is_parsed_and_an_unreadable_one_is_not(world):
    replies = {"knowledge-0": "<answer>A</answer>", "knowledge-1": "<answer>A</answer>", "knowledge-2": "no idea"}
    results, _ = world.evaluate(["analogseeker_knowledge"], lambda doc: replies.get(doc["id"], ""))
    metrics = results["results"]["analogseeker_knowledge"]
    assert (metrics["acc,none"], metrics["parsed,none"]) == (0.25, 0.5)


def test_prompt_is_the_user_turn_in_the_chat_template(world):
    _, model = world.evaluate(["analogseeker_knowledge"], gold)
    assert model.sent[0][0] == "[user]knowledge question 0?[assistant]"


def test_samples_keep_the_row(world):
    results, _ = world.evaluate(["analogseeker_calculation"], gold)
    doc = results["samples"]["analogseeker_calculation"][1]["doc"]
    assert (doc["id"], doc["node_id"], doc["fact_id"], doc["answer"]) == ("calculation-1", "node-1", "fact-1", "3 uA")
    assert results["samples"]["analogseeker_calculation"][1]["target"] == "3 uA"


def test_format_task_spreads_over_the_test_rows(tmp_path, world):
    many = [make_row(n, kind, "text", "x") for kind in ("knowledge", "calculation", "transfer") for n in range(100)]
    write_lines(tmp_path / "test.jsonl", many)
    results, _ = world.evaluate(["analogseeker_format"], lambda doc: "<answer>x</answer>", more={"data": str(tmp_path)})
    kinds = [sample["doc"]["kind"] for sample in results["samples"]["analogseeker_format"]]
    assert {kind: kinds.count(kind) for kind in kinds} == {"knowledge": 20, "calculation": 20, "transfer": 20}
    metrics = results["results"]["analogseeker_format"]
    assert (metrics["acc,none"], metrics["parsed,none"]) == (0.0, 1.0)


def test_generation_settings_of_the_run_override_the_length_only(world):
    _, model = world.evaluate(["analogseeker_calculation"], gold, gen_kwargs={"max_gen_toks": 96})
    assert model.sent[0][1] == {"until": [], "do_sample": False, "max_gen_toks": 96}


REFT = {"reft_problems": 3, "reft_transfer": 3, "reft_gsm8k": 3, "reft_svamp": 3, "reft_mathqa": 3}


@pytest.fixture(scope="module")
def reft(tmp_path_factory):
    """A data artefact with word problems of every kind, whose answers are 7, 8 and 9."""
    folder = tmp_path_factory.mktemp("reft")
    kinds = ("problems", "transfer", "gsm8k", "svamp", "mathqa")
    write_lines(folder / "test.jsonl", [make_row(n, kind, "numeric", str(n + 7)) for kind in kinds for n in range(3)])
    write_lines(folder / "sft.jsonl", [train_row(n, "problem") for n in range(3)])
    return {"data": str(folder)}


def test_every_task_of_reft_reads_its_kind_of_row_and_grades_it(world, reft):
    files = {file.stem for file in (TASKS / "reft").glob("*.yaml")}
    assert files == {*REFT, "reft"} and files <= {*world.manager().all_subtasks, "reft"}
    results, model = world.evaluate(list(REFT), gold, more=reft, num_fewshot=1)
    assert {name: results["results"][name]["acc,none"] for name in REFT} == dict.fromkeys(REFT, 1.0)
    assert {name: count["effective"] for name, count in results["n-samples"].items()} == REFT
    assert all("[user]problem " in prompt for prompt, _ in model.sent)
    results, _ = world.evaluate(list(REFT), lambda doc: "<answer>5</answer>", more=reft)
    assert {results["results"][name]["acc,none"] for name in REFT} == {0.0}
    group = world.manager(**reft).load(["reft"])["group_map"]["reft"]
    assert set(group) == {"reft_problems", "reft_transfer"}


SIGNALS = {
    **{"vsllava_type": "type", "vsllava_pairs": "pairs", "vsllava_composition": "composition"},
    **{"vsllava_none_control": "type_none", "vsllava_shuffled_control": "type_shuffled"},
    **{"vsllava_parameter": "parameter", "vsllava_explain": "explain"},
    **{f"vsllava_parameter_{control}_control": f"parameter_{control}" for control in ("none", "shuffled")},
}
NUMBERS = {"error_median", "within_5", "missing"}


@pytest.fixture(scope="module")
def signals(tmp_path_factory):
    """A data artefact with three rows of every kind about vibration signals."""
    folder, options = tmp_path_factory.mktemp("signals"), ["chirp", "AM", "ball fault"]
    rows = []
    for kind in SIGNALS.values():
        for n in range(3):
            if kind.startswith("parameter"):
                rows.append(make_row(n, kind, "numeric", f"{n + 1} Hz", unit="Hz"))
            elif kind == "explain":
                rows.append(make_row(n, kind, "overlap", f"Replace bearing number {n} of this old machine."))
            else:
                answer = " + ".join(options[: 2 if kind in ("pairs", "composition") else 1])
                rows.append(make_row(n, kind, "class", answer, options=options))
    write_lines(folder / "test.jsonl", rows)
    write_lines(folder / "sft.jsonl", [train_row(n, kind) for kind in ("type", "parameter", "pairs") for n in range(2)])
    return {"data": str(folder)}


def test_every_task_of_vsllava_reads_its_kind_of_row_and_has_its_measures(world, signals):
    assert {file.stem for file in (TASKS / "vsllava").glob("*.yaml")} == {*SIGNALS, "vsllava"}
    results, _ = world.evaluate(list(SIGNALS), gold, more=signals)
    assert {name: results["results"][name]["acc,none"] for name in SIGNALS} == dict.fromkeys(SIGNALS, 1.0)
    found = {name: {key.partition(",")[0] for key in results["results"][name]} for name in SIGNALS}
    for name, kind in SIGNALS.items():
        wanted = {"parameter": NUMBERS, "explain": {"word_recall", "bleu4", "cider"}}
        assert wanted.get(kind.partition("_")[0], {"macro_f1", "recognised"}) <= found[name]
    results, _ = world.evaluate(list(SIGNALS), lambda doc: "", more=signals)
    scores = results["results"]
    assert {scores[name]["acc,none"] for name in SIGNALS} == {scores["vsllava_type"]["macro_f1,none"]} == {0.0}
    assert scores["vsllava_parameter"]["error_median,none"] == scores["vsllava_parameter"]["missing,none"] == 1.0


def test_gold_rows_are_graded_once_however_many_tasks_read_them(world, reft, monkeypatch):
    graded = []
    monkeypatch.setattr(hooks, "grade", lambda row, reply: graded.append(row["id"]) or 1.0)
    rows = Path(reft["data"], "test.jsonl").read_text(encoding="utf-8")
    again = Path(reft["data"]).with_name("reft again")
    again.mkdir()
    (again / "test.jsonl").write_text(rows, encoding="utf-8")
    manager = world.manager(data=str(again))
    for _ in range(2):
        manager.load(["reft_problems", "reft_transfer"])
    assert len(graded) == len(rows.splitlines())
    (again / "test.jsonl").write_text(rows.splitlines(keepends=True)[0], encoding="utf-8")
    manager.load(["reft_problems"])
    assert len(graded) == len(rows.splitlines()) + 1, "another file is another test"


@pytest.mark.parametrize(("task", "kind"), [("analogseeker_knowledge", "mcq"), ("analogseeker_calculation", "calc")])
def test_few_shot_examples_are_training_turns_of_the_same_kind(world, task, kind):
    _, model = world.evaluate([task], gold, num_fewshot=2)
    for prompt, _ in model.sent:
        *shots, last = prompt.removesuffix("[assistant]").split("[user]")[1:]
        assert last.endswith(" question " + last[-2] + "?")
        numbers = [shot[len(kind) + 1] for shot in shots]
        assert len(set(numbers)) == 2
        replies = [f"[assistant]<think>t</think>\nSo.\n<answer>{kind} {n}</answer>" for n in numbers]
        assert shots == [f"{kind} {n}?{reply}" for n, reply in zip(numbers, replies, strict=True)]


def test_general_tasks_stay_without_examples(world):
    results, model = world.evaluate(["general_facts"], gold, num_fewshot=2)
    assert results["n-shot"]["general_facts"] == 0
    assert model.sent[0][0] == "[user]facts question 0?[assistant]"


def test_few_shot_without_training_rows_is_refused(tmp_path, world):
    write_lines(tmp_path / "test.jsonl", recipe_rows())
    with pytest.raises(AssertionError, match="no documents available"):
        world.evaluate(["analogseeker_knowledge"], gold, num_fewshot=1, more={"data": str(tmp_path)})


@pytest.mark.parametrize("leak", [{"id": "knowledge-2"}, {"prompt": turns("transfer question 1?")}])
def test_a_few_shot_row_in_the_evaluated_split_raises(tmp_path, world, leak):
    write_lines(tmp_path / "test.jsonl", recipe_rows())
    write_lines(tmp_path / "sft.jsonl", [train_row(0, "mcq"), train_row(1, "mcq") | leak])
    with pytest.raises(hooks.TaskDataError, match="training rows leak into the test"):
        world.manager(data=str(tmp_path)).load(["analogseeker_knowledge"])


FIRST = next(recipe_rows())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([FIRST | {"answer": "B"}], "gold reply is graded wrong"),
        ([FIRST | {"answer": "Z"}], "cannot be graded"),
        ([{key: FIRST[key] for key in ("id", "prompt", "answer")}], "no grader, kind, reply"),
        ([FIRST | {"prompt": [{"role": "system", "content": "s"}, *FIRST["prompt"]]}], "one user turn"),
        ([FIRST | {"kind": "transfer"}], "no test row of kind 'knowledge'"),
        ([], "no test row of kind 'knowledge'"),
        (["not a row"], "expected a JSON dict"),
    ],
)
def test_malformed_rows_are_errors_that_name_the_place(tmp_path, lines, message):
    write_lines(tmp_path / "test.jsonl", lines)
    with pytest.raises(hooks.TaskDataError, match=message) as caught:
        hooks.load(source="recipe", kind="knowledge", data=str(tmp_path))
    assert str(tmp_path / "test.jsonl") in str(caught.value)


def test_a_kind_without_rows_is_told_apart_from_broken_data(tmp_path, world):
    write_lines(tmp_path / "test.jsonl", [FIRST])
    with pytest.raises(hooks.NoTestRows, match=r"no test row of kind 'calculation'[\s\S]*1 knowledge"):
        world.manager(data=str(tmp_path)).load(["analogseeker_calculation"])


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "test.jsonl").write_text(json.dumps(FIRST) + "\n{broken\n")
    with pytest.raises(hooks.TaskDataError, match=r"test\.jsonl:2"):
        hooks.load(source="recipe", kind="knowledge", data=str(tmp_path))


def test_missing_data_says_which_metadata_key_to_give(tmp_path):
    for key, source in (("data", "recipe"), ("general", "general"), ("amsbench", "amsbench")):
        with pytest.raises(hooks.TaskDataError, match=f'--metadata .*"{key}"'):
            hooks.load(source=source, **{key: str(tmp_path / "nothing")})
    with pytest.raises(hooks.TaskDataError, match="metadata key 'data'"):
        hooks.load(source="recipe", pretrained="a model argument that the command line mixes in")


def test_general_rows_come_from_beside_the_embedded_model():
    assert hooks.GENERAL_TEST == ROOT / "recipes" / "lab" / "model" / "general_test.jsonl"


def test_amsbench_reports_every_level_and_the_items_without_one_apart(world):
    results, model = world.evaluate(["amsbench_tqa"], lambda doc: "So <answer>A</answer>")
    metrics = results["results"]["amsbench_tqa"]
    assert metrics["acc,none"] == 0.4
    assert metrics["acc_graduate,none"] == 0.5
    assert metrics["acc_undergraduate,none"] == 0.0
    assert metrics["acc_no_level,none"] == 0.5
    levels = [doc["doc"]["level"] for doc in results["samples"]["amsbench_tqa"]]
    assert levels == ["Graduate", "Graduate", "Undergraduate", "no level", "no level"]
    assert model.sent[0][0] == "[user]Q0?\nA) low\nB) high\nC) none\nGive the right option in <answer> tags.[assistant]"


def test_amsbench_never_counts_a_missing_letter(world):
    results, _ = world.evaluate(["amsbench_tqa"], lambda doc: "I cannot tell.")
    assert results["results"]["amsbench_tqa"]["acc,none"] == results["results"]["amsbench_tqa"]["parsed,none"] == 0.0


def test_amsbench_accepts_either_gold_key_but_not_both(tmp_path, caplog):
    path = tmp_path / "tqa.json"
    path.write_text(json.dumps(amsbench_items("ground_truth")))
    with caplog.at_level(logging.WARNING, "eval.benchmarks.amsbench"):
        assert len(hooks.load(source="amsbench", amsbench=str(path))["test"]) == 5
    assert "has 1257 items" in caplog.text
    path.write_text(json.dumps(amsbench_items("ground_truth") + amsbench_items("groundtruth")))
    with pytest.raises(hooks.TaskDataError, match="the same for every item"):
        hooks.load(source="amsbench", amsbench=str(path))


@pytest.mark.parametrize(
    "fault",
    [
        {"groundtruth": "D"},
        {"groundtruth": ""},
        {"groundtruth": "AB"},
        {"options": ["a", "b"]},
        {"options": {"A": "a", "C": "c"}},
        {"question": " "},
    ],
)
def test_an_odd_amsbench_item_is_left_out_counted_and_named(tmp_path, caplog, fault):
    items = amsbench_items() * 6
    items[2] = items[2] | fault
    path = tmp_path / "tqa.json"
    path.write_text(json.dumps(items))
    with caplog.at_level(logging.WARNING, "eval.benchmarks.amsbench"):
        found = hooks.load(source="amsbench", amsbench=str(path))["test"]
    assert len(found) == 29 and "1 of 30 items left out: item 2: " in caplog.text
    path.write_text(json.dumps([item | fault for item in items]))
    with pytest.raises(hooks.TaskDataError, match="too many AMSBench items are malformed"):
        hooks.load(source="amsbench", amsbench=str(path))


def test_every_text_part_of_amsbench_is_read_from_the_folder_of_all_parts(tmp_path):
    for part in amsbench.SIZES:
        file = tmp_path / f"{part.upper()} Task" / f"{part.upper()} Task.json"
        file.parent.mkdir()
        items = [{"question": f"{part}?", "options": {"A": "low", "B": "high"}, "ground_truth": "B"}]
        file.write_text(json.dumps(items))
    for part in amsbench.SIZES:
        (row,) = hooks.load(source="amsbench", part=part, amsbench=str(tmp_path))["test"]
        assert row["prompt"][0]["content"].startswith(f"{part}?\nA) low\nB) high") and row["answer"] == "B"
        assert row["level"] == ("no level" if part == "tqa" else "")
    with pytest.raises(hooks.TaskDataError, match="metadata key 'amsbench'"):
        hooks.load(source="amsbench", part="ldo", amsbench=str(tmp_path / "TQA Task"))


def test_the_official_prompt_of_amsbench_asks_and_reads_as_the_authors_script_does(tmp_path, world):
    results, model = world.evaluate(["amsbench_tqa_official"], lambda doc: f"It is clear.\n**{doc['answer']}**")
    assert results["results"]["amsbench_tqa_official"]["acc,none"] == 1.0
    prompt = model.sent[0][0]
    assert "Please answer according to the images, questions, and options provided." in prompt
    asked = "Q0?{'A': 'low', 'B': 'high', 'C': 'none'}.The final response format as“**<correct option letter>**”"
    assert asked in prompt
    read = [
        amsbench.score_official({"answer": "B", "level": ""}, [text])["acc"]
        for text in ("B", "**B**", "so b.", "A", "")
    ]
    assert read == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_results_and_samples_are_native_files_under_the_chosen_name(tmp_path, world):
    tracker = world.tracker(output_path=str(tmp_path))
    world.evaluate(["analogseeker_knowledge"], gold, evaluation_tracker=tracker, model_args={"pretrained": "sft"})
    (results,) = (tmp_path / "sft").glob("results_*.json")
    (samples,) = (tmp_path / "sft").glob("samples_analogseeker_knowledge_*.jsonl")
    written = json.loads(results.read_text())
    assert written["model_name"] == "sft"
    assert written["results"]["analogseeker_knowledge"]["acc,none"] == 1.0
    assert set(written["task_hashes"]) == {"analogseeker_knowledge"}
    assert [json.loads(line)["doc"]["id"] for line in samples.open()] == [f"knowledge-{n}" for n in range(4)]


@pytest.mark.slow
def test_the_stock_command_asks_the_same_questions_from_any_folder(tmp_path, world):
    tasks = ["analogseeker_knowledge", "amsbench_tqa"]
    command = [sys.executable, "-P", "-m", "lm_eval", "--model", "dummy", "--include_path", str(TASKS)]
    command += ["--tasks", ",".join(tasks), "--metadata", json.dumps(world.metadata), "--num_fewshot", "1"]
    command += ["--log_samples", "--output_path", str(tmp_path / "stock.json")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    tracker = world.tracker(output_path=str(tmp_path / "library.json"))
    world.evaluate(tasks, gold, evaluation_tracker=tracker, num_fewshot=1, apply_chat_template=False)
    (stock,), (library,) = tmp_path.glob("stock_*.json"), tmp_path.glob("library_*.json")
    stock, library = json.loads(stock.read_text()), json.loads(library.read_text())
    assert stock["task_hashes"] == library["task_hashes"] and stock["task_hashes"].keys() == set(tasks)
    assert [stock["results"][task]["acc,none"] for task in tasks] == [0.0, 0.0]
