"""The tasks of scilitllm through lm-eval: SciRIFF by tag, lengths that reach the generator, gold replies worth one."""

import json
import re

import pytest

from eval.benchmarks import sciriff
from eval.benchmarks.sciriff_scores import micro_f1, score_sciriff
from recipes.base.places import ROOT

pytestmark = pytest.mark.slow

TASKS = ROOT / "eval" / "tasks"


ENTITIES = [{"Task": ["word alignment"], "Method": [], "Metric": ["alignment quality"]}, {"Task": [], "Method": []}]
FINDINGS = [
    [
        [
            "SB4 (a biosimilar)",
            "etanercept (ETN)",
            "ACR20 response at week 24",
            "no significant difference",
            "78.1% vs 80.3%",
        ]
    ],
    [
        ["aspirin", None, "headache", "significantly decreased", "was decreased in the aspirin group"],
        ["a1", "b1", "c1", "d1", "e1"],
    ],
]
PUBLISHED = {  # outputs in the form of the published rows
    "bioasq_list_qa": [json.dumps(["sleep", "appetite"]), json.dumps(["BRCA1"])],
    "multicite_intent_classification": [json.dumps(["Uses", "Similarities"]), json.dumps(["Background"])],
    **{name: list(map(json.dumps, ENTITIES)) for name in ("biored_ner", "scierc_ner")},
    "evidence_inference": list(map(json.dumps, FINDINGS)),
    "discomat_te": ['{"value": "0", "type": "Other"}\n{"value": "137", "type": "Other"}'] * 2,
    "mup_single_document_summarization": ["The paper proposes a method. It is tested."] * 2,
    "qasper_abstractive_qa": [json.dumps({"answer": "They use BLEU.", "evidence": ["We report BLEU ."]})] * 2,
    "scifact_entailment": [
        json.dumps({"verdict": "SUPPORT", "evidence": ["Smoking was associated with cancer."]}),
        json.dumps({"verdict": "NEI", "evidence": []}),
    ],
}


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    from lm_eval.tasks import TaskManager

    file = tmp_path_factory.mktemp("sciriff") / "rows.jsonl"
    names = [*sciriff.TASKS, "pubmedqa_qa"]
    rows = [
        {"_instance_id": f"{name}:validation:{n}", "input": f"{name}, question {n}?", "output": output}
        for name in names
        for n, output in enumerate(PUBLISHED.get(name, ["{}", "{}"]))
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
    published = {
        (name, key): value
        for name, result in found.items()
        for key, value in result.items()
        if re.fullmatch("f1[a-z_]*,none", key) and "stderr" not in key
    }
    assert {f"{name} {key.removesuffix(',none')}": value for (name, key), value in published.items()} == {
        **{f"sciriff_{name} f1": 1.0 for name in ("bioasq_list_qa", "biored_ner", "scierc_ner")},
        "sciriff_multicite_intent_classification f1": 1.0,
        "sciriff_evidence_inference f1_overlap": 1.0,
        "sciriff_qasper_abstractive_qa f1_evidence": 1.0,
        **{f"sciriff_scifact_entailment {name}": 1.0 for name in ("f1_label", "f1_evidence")},
    }
    assert (
        found["sciriff_discomat_te"]["bleu4,none"]
        == found["sciriff_mup_single_document_summarization"]["rougeL,none"]
        == 1
    )
    assert model.lengths == {1024}
    assert all(found[f"sciriff_{name}"]["sample_len"] == 2 for name in sciriff.TASKS)


def scored(kind, gold, reply):
    return score_sciriff({"kind": kind, "answer": gold if isinstance(gold, str) else json.dumps(gold)}, [reply])


def test_lists_and_entities_are_compared_as_sets_over_all_items():
    one = scored("bioasq_list_qa", ["Sleep", "pain", "reward"], 'Answers: ["sleep", "hunger"] as said')
    assert one["f1"] == [1, 2, 3] and one["acc"] == pytest.approx(0.4) and one["parsed"] == 1.0
    nothing = scored("bioasq_list_qa", ["sleep"], "sleep")
    assert nothing == {"parsed": 0.0, "acc": 0.0, "f1": [0, 0, 1]}
    assert micro_f1([one["f1"], nothing["f1"]]) == pytest.approx(2 / (2 + 4))
    typed = scored("biored_ner", {"Gene": ["BRCA1"], "Disease": ["cancer"]}, '{"Gene": ["cancer", "brca1"]}')
    assert typed["f1"] == [1, 2, 2]  # a mention under another type is another one


def test_a_finding_matches_where_all_five_fields_overlap_and_each_gold_one_once():
    gold = [["low dose aspirin", "placebo", "headache severity", "no significant difference", "It did not differ."]]
    near = ["aspirin", "placebo", "severity of headache", "no significant difference", "It did not differ at all."]
    assert scored("evidence_inference", gold, json.dumps([near]))["f1_overlap"] == [1, 1, 1]
    assert scored("evidence_inference", gold, json.dumps(near))["f1_overlap"] == [1, 1, 1]
    assert scored("evidence_inference", gold, json.dumps([near, near]))["f1_overlap"] == [1, 2, 1]
    other = [*near[:3], "significantly increased", near[4]]
    assert scored("evidence_inference", gold, json.dumps([other, near[:4]]))["f1_overlap"] == [0, 1, 1]
    assert scored("evidence_inference", [[None, *gold[0][1:]]], json.dumps([near]))["f1_overlap"] == [0, 1, 1]


def test_a_verdict_counts_without_nei_and_its_evidence_by_tokens():
    gold = {"verdict": "SUPPORT", "evidence": ["The drug works well."]}
    right = scored("scifact_entailment", gold, '{"verdict": "SUPPORT", "evidence": ["drug works"]}')
    assert right == {"parsed": 1.0, "acc": 1.0, "f1_label": [1, 1, 1], "f1_evidence": [2, 2, 3]}
    silent = scored("scifact_entailment", {"verdict": "NEI", "evidence": []}, "I cannot tell.")
    assert silent["acc"] == 0.0 and silent["f1_label"] == [0, 0, 0] and silent["parsed"] == 0.0
    answer = scored(
        "qasper_abstractive_qa", {"answer": "BLEU", "evidence": ["We use BLEU"]}, '{"answer": ["the BLEU"]}'
    )
    assert answer == {"parsed": 1.0, "acc": 1.0, "f1_evidence": 0.0}


def test_every_task_file_says_its_version_and_stands_in_the_readme():
    import yaml

    class Plain(yaml.SafeLoader):
        """Reads tags such as !function as text."""

    Plain.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))
    readme = (TASKS / "scilitllm" / "README.md").read_text()
    for file in (TASKS / "scilitllm").glob("*.yaml"):
        told = yaml.load(file.read_text(), Plain)
        raised = file.stem in ("scilitllm_pubmedqa", "scilitllm_true_false") or file.stem.startswith("sciriff_")
        version = 2 if raised else 1
        assert told["metadata"]["version"] == version
        assert f"`{file.stem}`" in readme or file.stem.startswith("sciriff_")
