"""A base is known by its files, in a folder and in the hub's cache; an adapter on a sibling is refused everywhere."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from recipes.artifacts.lineage import Inputs
from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests, sample_digest
from recipes.base.places import LAB_MODEL
from recipes.config.schema import Model
from recipes.models import checkpoints, loader, training
from recipes.models.base_files import check_base, digest_base, note_base
from recipes.models.model_set import ModelSet
from recipes.models.rl_trainer import load_policy
from tests.helpers.tables import rl_table


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases") / "base"
    shutil.copytree(LAB_MODEL, folder)
    return Model(name=str(folder))


@pytest.fixture(scope="module")
def sibling(base, tmp_path_factory):
    """A base of the same form and size, one of whose weights is another."""
    folder = tmp_path_factory.mktemp("siblings") / "base"
    shutil.copytree(base.name, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.3.mlp.up_proj.weight"] *= 1.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return Model(name=str(folder))


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    """The folder of a step whose adapter was trained on the base."""
    folder = tmp_path_factory.mktemp("sft")
    model = get_peft_model(loader.load_base(base), LoraConfig(r=2, target_modules="all-linear"))
    training.save_result(model, folder / "adapter", base=base)
    return folder


def test_an_adapter_on_its_own_base_is_taken(base, tuned):
    loader.load_reached(base, tuned / "adapter")


def test_the_place_of_a_base_is_no_part_of_what_stands_beside_its_adapter(base, tuned, tmp_path):
    shutil.copytree(base.name, tmp_path / "moved")
    (tmp_path / "adapter").mkdir()
    note_base(Model(name=str(tmp_path / "moved")), tmp_path / "adapter")
    assert (tmp_path / "adapter" / "base.json").read_bytes() == (tuned / "adapter" / "base.json").read_bytes()


@pytest.mark.parametrize("way", ["chat and export", "evaluate", "reinforcement"])
def test_an_adapter_on_a_sibling_of_its_base_is_refused(way, sibling, tuned, tmp_path):
    done = Inputs({"sft": tuned})
    with pytest.raises(RecipeError, match="trained on another base"):
        if way == "evaluate":
            with ModelSet(sibling, done, ["sft"], Digests(tmp_path / "digests.json")).active("sft"):
                pass
        elif way == "reinforcement":
            load_policy(spec_of("rl", model=sibling, rl=rl_table(algorithm="ppo", beta=0.05), seed=1), done)
        else:
            checkpoints.load(SimpleNamespace(model=sibling), done)


def test_a_snapshot_in_the_cache_of_the_hub_is_the_same_base_as_a_folder(base, sibling, tmp_path, monkeypatch):
    commit = "0" * 40
    cache = tmp_path / "models--someone--something"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    shutil.copytree(base.name, cache / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    named = Model(name="someone/something")
    assert digest_base(named) == digest_base(base) != digest_base(sibling)
    assert digest_base(Model(name="someone/else")) is None
    (tmp_path / "adapter").mkdir()
    note_base(sibling, tmp_path / "adapter")
    with pytest.raises(RecipeError, match="someone/something with files"):
        check_base(named, tmp_path / "adapter")


def test_replies_of_a_hub_base_are_kept_by_its_snapshot(base, tmp_path, monkeypatch):
    digests = iter(["one", "two", None])
    monkeypatch.setattr("recipes.models.model_set.digest_base", lambda model: next(digests))
    models = ModelSet(Model(name="someone/something"), Inputs({}), [], Digests(tmp_path / "digests.json"))
    first, second, absent = (models.describe("base") for _ in range(3))
    assert first != second and absent["whole"] == {"someone/something": "main"}


def test_one_layer_of_a_hundred_in_a_large_file_is_seen(tmp_path):
    size = 64 * 2**20
    file = tmp_path / "model.safetensors"
    with open(file, "wb") as stream:
        stream.truncate(size)
    before = sample_digest(file)
    for start in (3 * 2**20, size // 2 + 12345, size - 3 * 2**20):
        with open(file, "r+b") as stream:
            stream.seek(start)
            stream.write(torch.ones(size // 100, dtype=torch.uint8).numpy().tobytes())
        assert sample_digest(file) != before
        before = sample_digest(file)
