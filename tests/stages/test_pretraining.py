"""Continued pre-training for any recipe: on a folder of documents, refused early where nothing can be learnt."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from recipes import pipeline
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.base.places import LAB_MODEL, ROOT
from recipes.config.load import load
from recipes.models import vision_tower
from recipes.pipeline import Job
from tests.helpers import tiny_vision

REFT = ["data.sft_rows=24", "data.rl_rows=8", "data.tests.problems=8", "data.tests.transfer=4"]
SIGNALS = ["data.sft_rows=4", "data.rl_rows=4", 'data.view="image"', "eval.general=[]", "eval.fewshot=0"]
SIGNALS += [f"data.tests.{kind}=2" for kind in ("type", "parameter", "explain", "pairs", "composition", "controls")]
CPT = ["cpt.epochs=1", "cpt.max_length=32", "cpt.batch_tokens=64", "cpt.learning_rate=1e-3"]
PAGES = [
    "Slate is a fine-grained rock that splits into thin plates.",
    "Basalt forms where lava cools fast at the surface.",
]


def documents(folder, *texts):
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"page{number}.md").write_text(f"# Page {number}\n\n{text}\n", encoding="utf-8")
    return folder


def job(runs, name, *sets):
    return Job(load(ROOT / "recipes.toml", name, None, sets), runs)


def test_any_recipe_learns_a_folder_of_documents_and_no_test_item_in_it(tmp_path):
    folder = documents(tmp_path / "docs", *PAGES)
    sets = [*REFT, *CPT, f"cpt.corpus={folder}"]
    first = pipeline.run(job(tmp_path / "runs", "reft", *sets), until="data")["data"]
    asked = read_jsonl(first / "test.jsonl")[0]
    texts = read_jsonl(first / "cpt.jsonl")
    assert [text["text"] for text in texts] == PAGES and {"id", "node_id", "text"} == texts[0].keys()
    # the place of the folder does not matter, its content does, and of what was made of the rest nothing changes
    moved = shutil.copytree(folder, tmp_path / "moved")
    sets[-1] = f"cpt.corpus={moved}"
    assert pipeline.run(job(tmp_path / "runs", "reft", *sets), until="data")["data"] == first
    documents(moved, *PAGES, f"Somebody asked: {asked['prompt'][0]['content']}\nThen {asked['reply']}")
    second = pipeline.run(job(tmp_path / "runs", "reft", *sets), until="data")["data"]
    assert second != first and read_jsonl(second / "cpt.jsonl") == texts
    (drop,) = [row for row in read_jsonl(second / "cpt_ledger.jsonl") if row["step"] == "pre-training"]
    assert drop["reason"].startswith("holds an item of the test") and asked["id"] in drop["detail"]
    assert json.loads((second / "card.json").read_text())["pretraining"]["texts"] == 2
    for name in ("sft", "test"):
        assert (first / f"{name}.jsonl").read_bytes() == (second / f"{name}.jsonl").read_bytes()


def test_general_text_that_holds_a_test_item_is_not_learnt(tmp_path):
    folder, few = documents(tmp_path / "docs", *PAGES), tmp_path / "few.jsonl"
    rows = [{"text": "Slate is sold by the plate and by the pound in the harbour town."}, {"text": "Lava is hot."}]
    few.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [*REFT, *CPT, f"cpt.corpus={folder}", f"cpt.general={few}", "cpt.general_share=0.2"]
    first = pipeline.run(job(tmp_path / "runs", "reft", *sets), until="data")["data"]
    assert read_jsonl(first / "cpt_general.jsonl") == rows
    item = read_jsonl(first / "test.jsonl")[0]
    leaks = [{"text": f"They asked: {item['question']}"}, {"prompt": item["prompt"], "completion": []}]
    few.write_text("".join(json.dumps(row) + "\n" for row in rows + leaks))
    second = pipeline.run(job(tmp_path / "runs", "reft", *sets), until="data")["data"]
    assert second != first and read_jsonl(second / "cpt_general.jsonl") == rows
    told = json.loads((second / "card.json").read_text())["cpt_general"]
    assert told["rows"] == 2 and sum(told["left out"].values()) == 2
    assert (first / "sft.jsonl").read_bytes() == (second / "sft.jsonl").read_bytes()


def test_pretraining_without_any_text_is_refused_before_the_data_are_made(tmp_path):
    wanted = job(tmp_path, "reft", *REFT, *CPT)
    for start in (pipeline.survey, pipeline.run):
        with pytest.raises(RecipeError, match="no rows for cpt") as refused:
            start(wanted)
        assert "cpt.corpus" in str(refused.value)
    assert not list(tmp_path.rglob("sft.jsonl"))
    with pytest.raises(ConfigErrors, match=r"cpt\.corpus: no such corpus"):
        job(tmp_path, "reft", *REFT, *CPT, "cpt.corpus=./absent")


def test_general_text_that_does_not_reach_is_refused_before_the_data_are_made(tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_text((LAB_MODEL / "general_train.jsonl").read_text().partition("\n")[0] + "\n")
    sets = ["data.world.substances=16", "data.teacher.rows=8", f"cpt.general={few}"]
    for start in (pipeline.survey, pipeline.run):
        with pytest.raises(RecipeError, match="too little general text") as refused:
            start(job(tmp_path / "runs", "scilitllm", *sets))
        assert "cpt.general_share = 0.3" in str(refused.value)
    assert not list((tmp_path / "runs").rglob("sft.jsonl"))
    with pytest.raises(Exception, match="too few general rows"):
        pipeline.run(job(tmp_path / "runs", "scilitllm", *sets[:2], f"data.general={few}"))
    assert not list((tmp_path / "runs").rglob("sft.jsonl"))


@pytest.mark.parametrize(
    ("name", "sets", "refused"),
    [
        ("scilitllm", [], ["cpt.general", "data.general"]),
        ("scilitllm", ["cpt.general_share=0.0"], ["data.general"]),
        ("scilitllm", ["data.general_rows=0", "cpt.general_share=0.0"], []),
        ("loramoe", [], ["mix.general"]),
        ("analogseeker", [], []),
    ],
)
def test_another_base_is_not_taught_the_invented_world_of_the_embedded_one(tmp_path, name, sets, refused):
    def problems(model):
        try:
            load(ROOT / "recipes.toml", name, None, [f"model.name={model}", *sets])
        except ConfigErrors as error:
            return [problem.what.partition(":")[0] for problem in error.problems]
        return []

    folder = tmp_path / "other"
    folder.mkdir()
    for file in ("config.json", "model.safetensors"):
        (folder / file).touch()
    assert problems("Qwen/Qwen2.5-7B") == problems(folder) == refused
    (folder / "general_train.jsonl").touch()  # as `embedded build` leaves it
    assert problems(folder) == []


def test_pretraining_leaves_the_vision_tower_as_it_is_or_stops(tmp_path, monkeypatch):
    base = tiny_vision.seeing(tmp_path / "base")
    corpus = documents(tmp_path / "docs", *PAGES)
    sets = [*SIGNALS, *CPT, "cpt.epochs=4", "cpt.warmup_ratio=0.0", f"model.name={base}", f"cpt.corpus={corpus}"]
    made = pipeline.run(job(tmp_path / "runs", "vsllava", *sets), until="cpt")["cpt"]
    before, after = load_file(base / "model.safetensors"), load_file(made / "model" / "model.safetensors")
    changed = {name for name in after if name in before and not before[name].equal(after[name])}
    assert changed and all("visual" not in name for name in changed)
    monkeypatch.setattr(vision_tower, "freeze", lambda model, vision: None)
    with pytest.raises(RecipeError, match="vision tower is not left as it is"):
        pipeline.run(job(tmp_path / "other", "vsllava", *sets), until="cpt")
