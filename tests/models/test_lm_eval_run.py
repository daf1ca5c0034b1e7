"""How lm-eval is asked: limits of replies, and the files of public benchmarks, which are opened before a run trains."""

import json
from types import SimpleNamespace

import pytest

from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.commands.doctor import open_published
from recipes.config.load import load
from recipes.config.request_counts import find_published
from recipes.models.lm_eval_run import limit_reply
from recipes.stages.evaluate import find_inputs


class Task(SimpleNamespace):
    def get_config(self, key):
        return self.config.get(key)

    def set_config(self, key, value):
        self.config[key] = value


def make_task(limit):
    return Task(config={"generation_kwargs": {"until": [], "max_gen_toks": limit}}, OUTPUT_TYPE="generate_until")


@pytest.mark.parametrize(
    ("own", "asked", "published", "given"),
    [(1280, 1024, True, 1280), (2048, 400, True, 2048), (1024, 4096, True, 4096), (256, 96, False, 96)],
)
def test_a_public_task_keeps_a_limit_that_is_larger_than_the_recipes(own, asked, published, given):
    task = make_task(own)
    limit_reply(task, asked, published)
    assert task.config["generation_kwargs"] == {"until": [], "max_gen_toks": given}


@pytest.fixture
def recipe(tmp_path):
    def with_file(items):
        (tmp_path / "tqa.json").write_text(json.dumps(items), encoding="utf-8")
        sets = [f'eval.published.amsbench="{tmp_path / "tqa.json"}"', 'eval.tasks=["amsbench_tqa"]']
        sets.append('eval.infer.sampled.tasks=["amsbench_tqa"]')
        return load(ROOT / "recipes.toml", "analogseeker", "embedded", sets)

    return with_file


ITEM = {"question": "Which?", "options": {"A": "low", "B": "high"}, "groundtruth": "B", "level": "Graduate"}


def test_a_public_benchmark_is_opened_before_anything_trains(recipe):
    open_published(recipe([ITEM]))
    with pytest.raises(RecipeError, match="the items of amsbench_tqa cannot be read"):
        open_published(recipe([ITEM | {"groundtruth": "Z"}]))


def test_the_file_of_a_public_benchmark_counts_by_its_content(recipe, tmp_path):
    spec = SimpleNamespace(eval=recipe([ITEM]).settings("evaluate"))
    assert find_published(spec.eval) == {"amsbench": str(tmp_path / "tqa.json")}
    assert find_inputs(spec)["published amsbench"] == {"tqa.json": tmp_path / "tqa.json"}
