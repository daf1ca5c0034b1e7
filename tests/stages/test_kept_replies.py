"""What an evaluation asks again, and what it does not: replies are kept by task, model and way to answer."""

import json
import shutil
from types import SimpleNamespace

import pytest

from eval.graders import overlap
from recipes.artifacts.steps import runtime_keys, spec_of
from recipes.base.hashing import Digests, fingerprint
from recipes.base.runtime import Runtime
from recipes.config import request_counts, validate
from recipes.methods.infer import few_shot, sampled, self_consistency
from recipes.models import lm_eval_model, loader, probes
from recipes.stages import evaluate
from tests.helpers.tiny_text import tiny_model

KINDS = ("knowledge", "calculation")


def make_rows(kind):
    for number in range(6):
        answer = f"{number + 2} uA" if kind == "calculation" else "ABCD"[number % 4]
        yield {
            "id": f"{kind}-{number}",
            "prompt": [{"role": "user", "content": f"{kind} question {number}?"}],
            "answer": answer,
            "reply": f"<answer>{answer}</answer>",
            "grader": "numeric" if kind == "calculation" else "choice",
            "kind": kind,
            "options": None if kind == "calculation" else [f"{number}{i}" for i in range(4)],
            "unit": "uA" if kind == "calculation" else None,
            "tolerance": 0.01 if kind == "calculation" else None,
        }


class Place:
    """An evaluation of a random model whose replies are made up; `asked` lists the tasks of what it was asked."""

    def __init__(self, folder, model, patch):
        self.folder, self.model, self.number, self.asked, self.loads = folder, model, 0, [], 0
        self.stop_after = None
        self.data = folder / "data"
        self.data.mkdir()
        rows = [row for kind in KINDS for row in make_rows(kind)]
        (self.data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        train = [
            row
            | {"id": f"t-{row['id']}", "kind": {"calculation": "calc", "knowledge": "mcq"}[row["kind"]]}
            | {"completion": [{"role": "assistant", "content": row["reply"]}]}
            | {"prompt": [{"role": "user", "content": f"training {row['id']}?"}]}
            for row in rows
        ]
        (self.data / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train))
        patch.setattr(lm_eval_model, "make_scorer", self.make_scorer)
        load = loader.load_base

        def count(*arguments, **more):
            self.loads += 1
            return load(*arguments, **more)

        patch.setattr(loader, "load_base", count)

    def make_scorer(self, model, reader, batch_size, data=None):
        def answer(requests, disable_tqdm=True):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked += [request.task_name for request in requests]
            return [f"<answer>{'ABCD'[len(request.args[0]) % 4]}</answer>" for request in requests]

        return SimpleNamespace(generate_until=answer, bar=None, tokens=0)

    def spec(self, **more):
        table = {"tasks": ("analogseeker_knowledge",), "batch_size": 2, "max_new_tokens": 8} | more
        return spec_of("evaluate", model=self.model, eval=evaluate.Config(**table), seed=3)

    def run(self, **more):
        """The tasks that are asked, by number of requests, and what the stage left."""
        self.asked, self.loads, self.number = [], 0, self.number + 1
        out, runtime = self.folder / f"out{self.number}", Runtime()
        out.mkdir()
        runtime.runs = self.folder / "runs"
        evaluate.run(self.spec(**more), {"data": self.data}, out, runtime)
        return {task: self.asked.count(task) for task in dict.fromkeys(self.asked)}, out

    def identity(self, **more):
        """What the scores are, but for the rows: the settings that count, and what the stage watches."""
        spec = self.spec(**more)
        digests = Digests(self.folder / "digests.json")
        watched = {
            name: found if isinstance(found, str) else {file: digests.of(path) for file, path in found.items()}
            for name, found in evaluate.find_inputs(spec).items()
        }
        settings = spec.model_dump(mode="json")["eval"]
        kept = {key: value for key, value in settings.items() if f"eval.{key}" not in runtime_keys(spec)}
        return fingerprint([kept, watched])


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "")
    return Place(tmp_path, tiny_model(tmp_path / "model"), monkeypatch)


def test_nothing_is_asked_twice_and_no_model_is_loaded_for_replies_that_are_kept(place):
    assert place.run()[0] == {"analogseeker_knowledge": 6} and place.loads == 1
    assert place.run()[0] == {} and place.loads == 0


def test_one_more_task_asks_that_task_alone(place):
    place.run()
    both = ("analogseeker_knowledge", "analogseeker_calculation")
    assert place.run(tasks=both)[0] == {"analogseeker_calculation": 6}
    assert place.identity() != place.identity(tasks=both)


@pytest.mark.parametrize("change", [{"alpha": 0.01}, {"margin": 0.2}, {"batch_size": 5}])
def test_statistics_and_batch_size_are_no_part_of_what_scores_are(place, change):
    place.run()
    assert place.identity() == place.identity(**change)
    assert place.run(**change)[0] == {}


def test_other_generation_arguments_ask_again(place):
    place.run()
    assert place.identity() != place.identity(max_new_tokens=9)
    assert place.run(max_new_tokens=9)[0] == {"analogseeker_knowledge": 6}


def test_an_unused_task_file_and_bytes_of_code_are_no_part_of_what_scores_are(place, tmp_path, monkeypatch):
    """Of the folder of tasks only the files that are asked count, with what they include; of code only versions."""
    before = place.identity()
    names = place.spec().eval.tasks
    assert list(request_counts.files_of_tasks(names)) == [
        "tasks/analogseeker/analogseeker_knowledge.yaml",
        "templates/row_task.yaml",
    ]
    assert not [name for name in request_counts.files_of_tasks(names) if not name.endswith(".yaml")]
    tasks = tmp_path / "tasks"
    shutil.copytree(validate.TASKS, tasks)
    (tasks / "analogseeker" / "new.yaml").write_text("task: analogseeker_new\n")
    known, standing = validate.known_tasks(tasks), validate.known_tasks()
    assert "analogseeker_new" in known
    monkeypatch.setattr(validate, "known_tasks", lambda: standing | {"new": known["analogseeker_new"]})
    assert place.identity() == before


def test_a_raised_version_of_a_grader_scores_again_and_asks_nothing(place, monkeypatch):
    before = place.identity()
    place.run()
    monkeypatch.setattr(overlap, "VERSION", overlap.VERSION + 1)
    assert place.identity() != before
    asked, out = place.run()
    assert asked == {} and place.loads == 0
    assert list(out.glob("lm_eval/base/*/samples_analogseeker_knowledge_*.jsonl"))


def test_another_model_is_asked_and_a_copy_of_the_same_is_not(place, tmp_path):
    place.run()
    first = place.model
    shutil.copytree(first.name, tmp_path / "copy")
    place.model = first.model_copy(update={"name": str(tmp_path / "copy")})
    assert place.run()[0] == {}
    place.model = first.model_copy(update={"dtype": "bfloat16"})
    assert place.run()[0] == {"analogseeker_knowledge": 6}


def test_after_a_stop_only_the_chunks_that_are_missing_are_asked(place, monkeypatch):
    monkeypatch.setattr(lm_eval_model, "BATCHES", 1)
    place.stop_after = 4  # two chunks of a batch of 2
    with pytest.raises(KeyboardInterrupt):
        place.run()
    (file,) = place.folder.glob("runs/replies/*/analogseeker_knowledge-*.jsonl")
    with open(file, "a", encoding="utf-8") as stream:
        stream.write('{"start":4,"repl')  # what a kill cut off
    place.stop_after = None
    asked, out = place.run()
    assert asked == {"analogseeker_knowledge": 2}
    alone = samples(out)
    shutil.rmtree(place.folder / "runs")
    assert samples(place.run()[1]) == alone


def samples(out):
    (file,) = out.glob("lm_eval/base/*/samples_*.jsonl")
    return [(line["doc_id"], line["resps"], line["acc"]) for line in map(json.loads, file.open())]


def test_ways_to_answer_are_asked_beside_plain_answers_and_kept_too(place):
    ways = {
        "few_shot": few_shot.Config(use="few_shot", shots=2),
        "vote": self_consistency.Config(use="self_consistency", models=("base",), samples=3, items=2),
        "sampled": sampled.Config(use="sampled", models=("base",)),
    }
    asked, out = place.run(infer=ways)
    assert asked == {"analogseeker_knowledge": 6 + 6 + 3 * 2 + 6}
    index = json.loads((out / "models.json").read_text())
    assert [m["name"] for m in index["models"]] == ["base", "base · few_shot", "base · vote", "base · sampled"]
    assert [m["num_fewshot"] for m in index["models"]] == [0, 2, 0, 0]
    (file,) = out.glob("lm_eval/base.vote/*/samples_*.jsonl")
    assert [json.loads(line)["doc_id"] for line in file.open()] == [0, 3]
    assert place.run(infer=ways)[0] == {}
    more = ways | {"vote": ways["vote"].model_copy(update={"samples": 4})}
    assert place.run(infer=more)[0] == {"analogseeker_knowledge": 4 * 2}


def test_the_role_of_a_task_is_declared_and_never_read_off_its_name():
    assert request_counts.role_of({"task": "motor_control"}) == "field"
    assert request_counts.role_of({"task": "recall", "metadata": {"version": 1, "role": "control"}}) == "control"
    tables = request_counts.tasks_of(["vsllava"])
    assert request_counts.role_of(tables["vsllava_none_control"]) == "control"
    assert request_counts.role_of(tables["vsllava_type"]) == "field"


def test_general_drift_is_measured_on_the_worlds_questions_for_the_embedded_base_alone(place, capsys):
    own = [row for kind in KINDS for row in make_rows(kind)]
    spec = place.spec(general=("general_facts",))
    assert list(probes.find_probe_texts(spec, place.data, own, Runtime())) == ["field"]
    assert "drift on general text left out" in capsys.readouterr().out
    embedded = spec.model_copy(update={"model": spec.model.model_copy(update={"name": "embedded"})})
    found = probes.find_probe_texts(embedded, place.data, own, Runtime())
    assert found["general"] and found["field"] == own
