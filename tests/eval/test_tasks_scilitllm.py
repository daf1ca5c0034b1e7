"""The tasks of scilitllm through lm-eval: SciRIFF by tag, lengths that reach the generator, gold replies worth one."""

import json

import pytest

from eval.benchmarks import sciriff
from recipes.base.places import ROOT

pytestmark = pytest.mark.slow

TASKS = ROOT / "eval" / "tasks"


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    from lm_eval.tasks import TaskManager

    file = tmp_path_factory.mktemp("sciriff") / "rows.jsonl"
    names = [*sciriff.TASKS, "pubmedqa_qa"]
    rows = [
        {
            "_instance_id": f"{name}:validation:{n}",
            "input": f"{name}, question {n}?",
            "output": f'{{"answer": "{name} {n}"}}',
        }
        for name in names
        for n in range(2)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"sciriff": str(file)})


def test_the_tag_holds_the_nine_tasks_and_no_other_row_of_the_dataset(manager):
    from lm_eval import simple_evaluate
    from lm_eval.models.dummy import DummyLM

    class Echo(DummyLM):
        """Answers what the task expects, and remembers how long it may answer."""

        def __init__(self):
            super().__init__()
            self.lengths = set()

        def generate_until(self, requests, disable_tqdm=True):
            self.lengths |= {request.args[1]["max_gen_toks"] for request in requests}
            return [request.doc["reply"] for request in requests]

    model = Echo()
    found = simple_evaluate(model=model, tasks=["sciriff"], task_manager=manager, bootstrap_iters=0)["results"]
    scores = {name: result["acc,none"] for name, result in found.items() if "acc,none" in result}
    assert scores == {f"sciriff_{name}": 1.0 for name in sciriff.TASKS}
    assert model.lengths == {1024}
    assert all(found[f"sciriff_{name}"]["sample_len"] == 2 for name in sciriff.TASKS)


def test_every_task_file_says_its_version_and_stands_in_the_readme():
    import yaml

    class Plain(yaml.SafeLoader):
        """Reads tags such as !function as text."""

    Plain.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))
    readme = (TASKS / "scilitllm" / "README.md").read_text()
    for file in (TASKS / "scilitllm").glob("*.yaml"):
        told = yaml.load(file.read_text(), Plain)
        version = 2 if file.stem in ("scilitllm_pubmedqa", "scilitllm_true_false") else 1
        assert told["metadata"]["version"] == version
        assert f"`{file.stem}`" in readme or file.stem.startswith("sciriff_")
