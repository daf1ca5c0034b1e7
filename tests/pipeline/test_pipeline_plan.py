"""The plan: what stands, what it would cost, and where the figures are from."""

import json
import mmap
import sys
from types import SimpleNamespace

import pytest

from recipes import pipeline
from recipes.artifacts import forecasts
from recipes.artifacts.steps import key_of, prepare
from recipes.base.errors import RecipeError
from recipes.base.memory import PeakMemory
from recipes.report.load import load_manifest
from recipes.report.sections import costs
from tests.helpers.fake_pipeline import Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "place")


def survey(place, *sets, pilot=True):
    return {line.stage: line for line in pipeline.survey(place.job(*sets), pilot)}


def test_a_plan_trains_nothing_unless_a_pilot_is_asked_for(place):
    lines = survey(place, pilot=False)
    assert place.stages.pilots == [] and place.stages.calls == []
    assert lines["sft"].seconds is None and lines["sft"].work.rows == 2


def test_before_the_first_run_everything_is_new_or_waits_and_nothing_is_written(place):
    lines = survey(place)
    assert [line.state for line in lines.values()] == ["new", "after data", "after data, sft", "after data, sft, rl"]
    assert place.stages.calls == [] and place.stages.pilots == ["data", "sft", "rl", "evaluate"]
    assert lines["sft"].seconds == 20.0 and lines["sft"].source == "pilot" and lines["sft"].work.rows == 2
    assert not place.home.exists()


def test_after_a_run_the_plan_is_cached_and_asks_no_pilot(place):
    done = place.run()
    place.stages.pilots.clear()
    assert [line.state for line in survey(place).values()] == [f"cached {folder.name[-8:]}" for folder in done.values()]
    assert place.stages.pilots == []


def test_a_change_shows_its_reason_and_the_rate_of_earlier_runs(place):
    place.run()
    place.stages.pilots.clear()
    lines = survey(place, "sft.learning_rate=2e-4")
    assert lines["data"].state.startswith("cached") and lines["sft"].state == "rebuild: sft.learning_rate 1e-4 -> 2e-4"
    assert lines["rl"].state == "after sft"
    manifest = place.manifest("sft")
    assert lines["sft"].seconds == pytest.approx(manifest["seconds"]) and lines["sft"].work.tokens == 1000
    assert lines["sft"].source == "1 earlier run" and lines["sft"].memory_bytes == manifest["peak_memory_bytes"]
    assert place.stages.pilots == []


def test_the_rate_is_the_median_of_runs_with_the_same_model_and_hardware(place):
    place.run()
    folder = next(place.home.glob("sft-????????"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for number, seconds in enumerate((1.0, 2.0, 100.0)):
        other = place.home / f"sft-0000000{number}"
        other.mkdir()
        (other / "manifest.json").write_text(json.dumps(manifest | {"seconds": seconds}))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"provenance": {"device": "another machine"}}))
    lines = survey(place, "sft.adapter.rank=4")
    assert lines["sft"].seconds == pytest.approx(2.0) and lines["sft"].source == "3 earlier runs"


def test_a_guess_of_tokens_is_corrected_by_how_far_it_was_off_in_earlier_runs(place):
    """The stage guesses 2,000 tokens for six steps, a run counts 500 of them: twice the steps will count 1,000."""
    place.stages.metrics = {"tokens": 500}
    place.run()
    assert place.manifest("sft")["predicted"]["guessed_tokens"] == 2000
    place.stages.foreseen = 4000
    line = survey(place, "sft.learning_rate=2e-4")["sft"]
    assert line.work.tokens == 1000 and line.guessed_tokens == 4000
    assert line.seconds == pytest.approx(2 * place.manifest("sft")["seconds"])
    folder = next(place.home.glob("sft-????????"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for before in (None, {"seconds": 1.0, "memory_bytes": None}):  # nothing foreseen, or not by this count
        (folder / "manifest.json").write_text(json.dumps(manifest | {"predicted": before}))
        assert survey(place, "sft.learning_rate=2e-4")["sft"].work.tokens == 4000


def test_a_pilot_that_fails_leaves_the_time_open_but_a_stated_problem_is_raised(place):
    class Failing:
        @staticmethod
        def forecast(spec, counts, runs):
            return forecasts.Work(tokens=10)

        @staticmethod
        def pilot(spec, inputs, runtime):
            raise OSError("no such device")

    job = place.job()
    step = prepare(job.recipe)[1]
    line = forecasts.forecast(Failing, step, {}, "new", job.runs, runtime=job.runtime)
    assert line.seconds is None and line.predicted == {"seconds": None, "memory_bytes": None, "guessed_tokens": 10}
    assert "no such device" in line.source
    assert "without sft" in "\n".join(forecasts.table([line]))

    class Stating(Failing):
        @staticmethod
        def pilot(spec, inputs, runtime):
            raise RecipeError("the model has no chat template")

    with pytest.raises(RecipeError, match="chat template"):
        forecasts.forecast(Stating, step, {}, "new", job.runs, runtime=job.runtime)


def test_the_table_lists_every_stage_with_its_figures_and_a_total():
    work = forecasts.Work(rows=1200, steps=30, tokens=45_000, cost=1.5, notes="openai teacher")
    lines = forecasts.table(
        [
            forecasts.Forecast("data", "new", work, 90.0, 2 * 10**9, "pilot"),
            forecasts.Forecast("sft", "cached ab12cd34"),
        ]
    )
    assert "1,200" in lines[1] and "45,000" in lines[1] and "1 min 30 s" in lines[1] and "2.00 GB" in lines[1]
    assert "$1.50" in lines[1] and "new (pilot) · openai teacher" in lines[1]
    assert "cached ab12cd34" in lines[2] and lines[-1].startswith("total") and "1 min 30 s" in lines[-1]


def test_a_begun_stage_is_marked(place):
    place.run(until="data")
    job = place.job()
    key = key_of(prepare(job.recipe)[1], {"data": next(place.home.glob("data-*"))}, job.digests)
    (place.home / f"{key.folder}.partial").mkdir()
    assert survey(place)["sft"].state == "new, begun"


def test_peak_memory_is_that_of_the_work_and_not_of_the_process():
    size = 200 * 2**20
    with PeakMemory() as large:  # pages of its own: an allocator may hand out memory that the process holds already
        block = mmap.mmap(-1, size)
        for place in range(0, size, 4096):
            block[place] = 1
    block.close()
    with PeakMemory() as small:
        pass
    assert large.bytes - small.bytes > 150 * 2**20


class Gpu:
    """torch.cuda of a process that has used a GPU."""

    def __init__(self):
        self.peak = 0

    def is_initialized(self):
        return True

    def reset_peak_memory_stats(self):
        self.peak = 0

    def max_memory_allocated(self):
        return self.peak


def test_peak_memory_of_a_gpu_is_kept_by_stage_foreseen_and_shown(place, monkeypatch):
    gpu = Gpu()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=gpu))
    place.stages.trouble["sft"] = lambda: setattr(gpu, "peak", 30 * 10**9)
    place.stages.trouble["evaluate"] = lambda: setattr(gpu, "peak", 20 * 10**9)
    place.run()
    kept = [place.manifest(stage).get("peak_gpu_bytes") for stage in ("data", "sft", "rl", "evaluate")]
    assert kept == [None, 30 * 10**9, None, 20 * 10**9]
    lines = pipeline.survey(place.job("sft.adapter.rank=4"))
    assert lines[1].predicted["gpu_bytes"] == 30 * 10**9 and ", GPU 30.00 GB" in forecasts.table(lines)[2]
    (cost,) = costs([load_manifest(next(place.home.glob("sft-*")))])
    assert cost.gpu == 30 * 10**9 and cost.predicted_gpu is None


def test_no_gpu_leaves_no_figure_and_no_torch_is_loaded_for_it(place, monkeypatch):
    for torch in (None, SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False))):
        monkeypatch.setitem(sys.modules, "torch", torch)
        with PeakMemory() as memory:
            pass
        assert memory.bytes and memory.gpu_bytes is None
    place.run(until="sft")
    assert "peak_gpu_bytes" not in place.manifest("sft")
    assert "gpu_bytes" not in survey(place, "sft.adapter.rank=4")["sft"].predicted


@pytest.mark.parametrize(
    "kind, other",
    [
        ("rl", ["rl.method.use=ppo"]),
        ("rl", ["rl.method.beta=0.05"]),
        ("rl", ["rl.use_vllm=true"]),
        ("sft", ["sft.losses.kl_to_reference.weight=0.1"]),
        ("sft", ["sft.packing=false"]),
        ("sft", ["sft.adapter.use=loramoe"]),
        ("sft", ["model.dtype=float32"]),
        ("data", ["data.teacher.kind=openai", "data.teacher.model=m", "data.teacher.base_url=http://h/v1"]),
        ("data", ["data.judge.kind=openai", "data.judge.model=m", "data.judge.base_url=http://h/v1"]),
    ],
    ids=str,
)
def test_the_rate_of_a_run_that_works_otherwise_is_not_taken(place, kind, other):
    assert speed(place, kind) != speed(place, kind, *other)


def test_experts_of_another_number_are_another_rate(place):
    experts = "sft.adapter.use=loramoe"
    assert speed(place, "sft", experts) != speed(place, "sft", experts, "sft.adapter.experts=8")


@pytest.mark.parametrize(
    "kind, other",
    [
        ("sft", ["sft.learning_rate=2e-4", "sft.epochs=1"]),
        ("rl", ["rl.steps=7", "rl.log_steps=2"]),
        ("data", ["data.teacher.max_cost=5.0"]),
    ],
    ids=str,
)
def test_a_setting_that_costs_no_time_lets_the_rate_of_an_earlier_run_stand(place, kind, other):
    assert speed(place, kind) == speed(place, kind, *other)


def speed(place, kind, *sets):
    """What decides the speed of the step of a kind under these settings."""
    (step,) = (step for step in prepare(place.job(*sets).recipe) if step.step.kind == kind)
    return forecasts.speed_key(step.spec.model_dump(mode="json"))
