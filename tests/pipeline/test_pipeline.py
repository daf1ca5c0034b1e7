"""What is made again and what is not, and why; what a manifest says."""

import json
import shutil
from pathlib import Path

import pytest

from recipes import pipeline
from recipes.artifacts import store
from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests
from recipes.base.places import ROOT
from recipes.report import build
from tests.helpers.fake_pipeline import Place

ALL = ["data", "sft", "rl", "evaluate"]
REPORT_CODE = (  # in the report's own folder, and what that imports
    "recipes/report/stats.py",
    "recipes/report/index.html.jinja",
    "recipes/base/durations.py",
    "recipes/artifacts/store.py",
    "data_builders/core/ledger.py",
)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "place")


def test_a_run_makes_every_stage_once_and_a_second_run_nothing(place):
    done = place.run()
    assert place.stages.calls == ALL and list(done) == ALL
    assert place.said.count(" new") == 4
    again = place.run()
    assert again == done and place.stages.calls == []
    assert [line.split() for line in place.said.splitlines()] == [
        [stage, "cached", done[stage].name[-8:]] for stage in ALL
    ]


def test_a_manifest_tells_what_the_result_is_and_where_it_came_from(place):
    place.run(argv=("python", "-m", "recipes", "run", "demo"))
    manifest = place.manifest("sft")
    assert manifest["schema"] == 1 and manifest["recipe"] == "demo" and manifest["profile"] == "embedded"
    assert manifest["spec"]["sft"]["learning_rate"] == 1e-4 and manifest["spec"]["seed"] == 42
    assert manifest["inputs"]["data"]["stage"].startswith("data-") and list(manifest["inputs"]["data"]["files"]) == [
        "sft.jsonl"
    ]
    assert set(manifest["inputs"]["model"]["files"]) == {"config.json", "model.safetensors"}
    assert set(manifest["outputs"]) == {"adapter/weights.bin", "training.jsonl"}
    assert (
        manifest["metrics"] == {"tokens": 1000} and manifest["seconds"] >= 0 and manifest["peak_memory_bytes"] > 10**6
    )
    assert 0 <= manifest["cpu_seconds"] <= 2 * manifest["seconds"] + 1
    assert manifest["predicted"] == {"seconds": None, "memory_bytes": 10**9, "guessed_tokens": 2000}
    assert place.stages.pilots == []  # a first run is not foreseen, and trains no pilot
    provenance = manifest["provenance"]
    assert provenance["argv"] == ["python", "-m", "recipes", "run", "demo"] and "torch" in provenance["versions"]
    assert provenance["started"] < provenance["finished"] and provenance["device"]


def test_a_changed_value_rebuilds_its_stage_and_what_reads_it_and_says_why(place):
    place.run()
    place.run("sft.learning_rate=2e-4")
    assert place.stages.calls == ["sft", "rl", "evaluate"]
    assert "rebuild: sft.learning_rate 1e-4 -> 2e-4" in place.said
    assert "rebuild: sft/adapter/weights.bin changed" in place.said
    place.run()
    assert place.stages.calls == []  # the first results are still there


def test_a_changed_corpus_rebuilds_and_names_the_file(place):
    place.run()
    (place.folder / "corpus" / "one.md").write_text("first\nthird\n")
    place.run()
    assert place.stages.calls == ALL
    assert "rebuild: corpus/one.md changed" in place.said and "rebuild: data/sft.jsonl changed" in place.said
    (place.folder / "corpus" / "two.md").write_text("fourth\n")
    place.run()
    assert "rebuild: corpus/two.md added" in place.said


def test_a_rebuild_with_the_same_bytes_retrains_nothing(place):
    place.run()
    (place.folder / "corpus" / "one.md").write_text(
        "first\n\nsecond\n"
    )  # the rows stay as they were, card.json changes
    place.run()
    assert place.stages.calls == ["data"]


def test_another_version_of_a_stage_or_builder_rebuilds(place, monkeypatch):
    place.run()
    place.stages.versions["sft"] = 2
    place.run()
    assert "rebuild: stage version 1 -> 2" in place.said and place.stages.calls[0] == "sft"
    from data_builders.analogseeker import builder

    monkeypatch.setattr(builder, "VERSION", 99)
    place.run()
    assert "builder version" in place.said and "-> version 99" in place.said


def test_how_and_where_are_no_part_of_a_result(place):
    place.run()
    shutil.move(place.folder / "model", place.folder / "elsewhere")
    shutil.copytree(place.folder / "corpus", place.folder / "copied")
    place.run(
        f"model.name={place.folder}/elsewhere",
        f"data.corpus={place.folder}/copied",
        "sft.save_steps=7",
        "rl.use_vllm=true",
        "rl.micro_batch=32",
        "eval.batch_size=3",
        "model.attn=sdpa",
    )
    assert place.stages.calls == []


def test_other_weights_rebuild_what_used_them(place):
    place.run()
    (place.folder / "model" / "model.safetensors").write_bytes(b"others")
    place.run()
    assert place.stages.calls == ["sft", "rl", "evaluate"] and "rebuild: model/model.safetensors changed" in place.said


def test_the_nearest_earlier_result_gives_the_reason(place):
    place.run(until="sft")
    place.run("sft.learning_rate=2e-4", "sft.adapter.rank=4", until="sft")
    place.run("sft.epochs=1", until="sft")
    assert "rebuild: sft.epochs 3.0 -> 1.0\n" in place.said


def test_until_stops_there_and_an_unknown_stage_is_refused(place):
    assert list(place.run(until="sft")) == ["data", "sft"] and place.stages.calls == ["data", "sft"]
    with pytest.raises(RecipeError, match="no step 'cpt'"):
        place.run(until="cpt")


def test_latest_names_what_the_last_run_used(place):
    first = place.run()
    assert store.latest(place.home) == first
    second = place.run("sft.adapter.rank=4")
    assert store.latest(place.home) == second != first
    place.run()
    assert store.latest(place.home) == first
    shutil.rmtree(first["rl"])
    assert list(store.latest(place.home)) == ["data", "sft", "evaluate"]


def test_a_recipe_without_rl_has_no_rl_stage(place):
    file = place.folder / "recipes.toml"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("rl.")))
    assert list(place.run()) == ["data", "sft", "evaluate"]


def test_fresh_runs_everything_and_keeps_the_old_result_until_the_new_one_is_done(place):
    done = place.run()

    def fail():
        raise ValueError("no luck")

    place.stages.trouble["data"] = fail
    with pytest.raises(ValueError, match="no luck"):
        place.run(fresh=True)
    assert (done["data"] / "manifest.json").exists()
    before = place.manifest("data")["provenance"]["finished"]
    place.run(fresh=True)
    assert place.stages.calls == ALL and place.manifest("data")["provenance"]["finished"] > before
    assert not list(place.home.glob("*.old")) and not list(place.home.glob("*.partial"))


def test_metrics_become_plain_json(place):
    import numpy

    place.stages.metrics = {"loss": float("nan"), "score": numpy.float32(0.5), "curve": [1.0, float("inf")]}
    place.run(until="data")
    assert place.manifest("data")["metrics"] == {"tokens": 1000, "loss": None, "score": 0.5, "curve": [1.0, None]}


def test_a_stage_that_writes_or_finds_nothing_is_an_error(place):
    place.stages.write_data = lambda *args: None
    with pytest.raises(RecipeError, match="wrote nothing"):
        place.run()


def test_a_stage_that_finds_none_of_its_files_is_an_error(place):
    def no_test_rows(name, spec, inputs, out, runtime):
        for file in ("sft", "rl"):
            (out / f"{file}.jsonl").write_text("{}\n")

    place.stages.write_data = no_test_rows
    with pytest.raises(RecipeError, match="evaluate finds nothing to read"):
        place.run()


@pytest.mark.parametrize("missing, table", [("sft", "sft.rows=sft_general"), ("rerank", "rerank.prompts=16")])
def test_a_step_that_the_builder_makes_no_rows_for_is_refused_before_anything_is_trained(place, missing, table):
    if missing == "rerank":
        place.stages.stems = ("sft", "test")
    sets = (table, "rl=false")
    with pytest.raises(RecipeError, match=f"makes no rows for {missing}") as foreseen:
        pipeline.survey(place.job(*sets))
    with pytest.raises(RecipeError, match=f"makes no rows for {missing}") as started:
        place.run(*sets)
    assert place.stages.calls == [] and str(started.value) == str(foreseen.value)
    said = str(started.value)
    assert f"[demo.{missing}] in " in said and f"leave out [demo.{missing}]" in said and "from the step data" in said
    assert "it makes sft 2" in said if missing == "rerank" else "0 rows of sft_general" in said
    place.run(*sets, until="data")
    for look in (lambda: pipeline.survey(place.job(*sets)), lambda: place.run(*sets)):
        with pytest.raises(RecipeError, match=f"makes no rows for {missing}"):
            look()  # by the rows as built
    assert place.stages.calls == []
    if missing == "sft":
        place.run()
        assert place.stages.calls == ["sft", "rl", "evaluate"]


def test_the_size_of_a_micro_batch_is_part_of_a_result_that_is_balanced_over_it(place):
    experts = ("sft.adapter.use=loramoe",)
    place.run(*experts, "sft.micro_batch=8", until="sft")
    place.run(*experts, until="sft")
    assert place.stages.calls == []
    for scope in ("micro", "buffer"):
        about = {"form": "lbl", "weight": 1.0, "scope": scope}
        balanced = (*experts, *(f"sft.losses.expert_balance.{key}={value}" for key, value in about.items()))
        place.run(*balanced, until="sft")
        place.run(*balanced, "sft.micro_batch=8", until="sft")
        assert place.stages.calls == ["sft"] and "rebuild: sft.micro_batch 64 -> 8\n" in place.said


def test_the_report_is_written_again_only_when_its_inputs_changed(place, monkeypatch):
    written = []

    def write_report(run_dirs, out, context):
        written.append(context)
        (out / "index.html").write_text("page")
        (out / "report.json").write_text('{"verdict": {"sentence": "Tuning was worth it."}}')

    monkeypatch.setattr(build, "write_report", write_report)
    place.run(until="report")
    assert len(written) == 1 and written[0]["summary"] == "a demonstration"
    assert (place.home / "report" / "index.html").read_text() == "page" and "Tuning was worth it." in place.said
    place.run(until="report")
    assert len(written) == 1 and "unchanged" in place.said
    place.run("sft.adapter.rank=4", until="report")
    assert len(written) == 2
    real, changed = Digests.of, []

    def digest(digests, file):
        return real(digests, file) + ("changed" if Path(file) in changed else "")

    monkeypatch.setattr(Digests, "of", digest)
    for name in REPORT_CODE:
        changed.append(ROOT / name)
        written.clear()
        place.run("sft.adapter.rank=4", until="report")
        assert len(written) == 1, f"a change of {name} went unnoticed"
    for name in ("recipes/stages/sft.py", "recipes/cli.py", "data_builders/core/build.py"):
        changed.append(ROOT / name)
    place.run("sft.adapter.rank=4", until="report")
    assert len(written) == 1 and "unchanged" in place.said


def test_manifests_hold_no_secrets(place, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "abc-very-private-9")
    place.stages.metrics = {"tokens": 1, "note": "key abc-very-private-9 was used", "api_key": "plain"}
    place.run(until="data", argv=("run", "demo", "--set", "data.api_key=hush", "hf_abcdefghijkl0123456789"))
    text = json.dumps(place.manifest("data"))
    assert "private" not in text and "hush" not in text and "abcdefghijkl" not in text and "plain" not in text
    assert place.manifest("data")["metrics"]["note"] == "key *** was used"
