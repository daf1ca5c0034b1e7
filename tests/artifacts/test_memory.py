"""Memory from the configuration alone: weights, what learns, and what would make a recipe fit."""

import json

import pytest

from recipes.artifacts.architecture import list_known, parse_config, read_architecture
from recipes.artifacts.machine import parse_machine
from recipes.artifacts.memory import count_learnt, estimate_recipe
from recipes.artifacts.speed import Pace
from recipes.base.errors import RecipeError
from recipes.base.places import LAB_MODEL, ROOT
from recipes.cli import main
from recipes.config.load import load
from recipes.config.schema import Model
from recipes.config.slots import load as load_method


def recipe(name, profile, *sets):
    return load(ROOT / "recipes.toml", name, profile, sets, here=False)


def read_sizes(file):
    """Weights of a safetensors file, from its header."""
    with open(file, "rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    sizes = 0
    for name, about in header.items():
        if name != "__metadata__":
            size = 1
            for width in about["shape"]:
                size *= width
            sizes += size
    return sizes


def test_the_weights_of_the_embedded_base_are_counted_from_its_config():
    there = sum(read_sizes(file) for file in LAB_MODEL.glob("*.safetensors"))
    assert read_architecture(Model()).weights == pytest.approx(there, rel=0.01)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen2.5-1.5B", 1.54),
        ("Qwen/Qwen2.5-7B-Instruct", 7.62),
        ("Qwen/Qwen2.5-32B-Instruct", 32.76),
        ("Qwen/Qwen2-VL-7B-Instruct", 8.29),
        ("meta-llama/Llama-2-7b-chat-hf", 6.74),
        ("mistralai/Mistral-7B-Instruct-v0.1", 7.24),
    ],
)
def test_the_committed_sizes_give_the_published_number_of_weights(name, billions):
    assert list_known()[name].weights / 1e9 == pytest.approx(billions, rel=0.01)


def test_every_base_of_a_shipped_profile_is_known_offline():
    for name, profile in (("analogseeker", "paper"), ("reft", "gpu"), ("glan", "paper"), ("vsllava", "paper")):
        assert recipe(name, profile).model.name in list_known()


def test_an_adapter_counts_what_it_adds_and_full_tuning_adds_none():
    sizes = parse_config(
        {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 32}
    )
    lora = load_method("adapters", "lora").Config(use="lora", rank=3, target=["down_proj"])
    assert count_learnt(lora, sizes) == 2 * 3 * (16 + 8)
    assert count_learnt(load_method("adapters", "full").Config(use="full"), sizes) is None


def test_a_step_that_does_not_fit_names_keys_with_which_it_does():
    small = parse_machine("1x24")
    step = estimate_recipe(recipe("reft", "paper"), small)["sft"]
    assert not step.fits and step.total > 100e9 and "--set sft.adapter.use=lora" in step.fix
    assert "about" in step.sentence and "there is room for" in step.sentence
    changed = recipe("reft", "paper", "sft.adapter.use=lora")
    assert estimate_recipe(changed, small)["sft"].fits


def test_a_reference_copy_counts_where_every_weight_learns_and_not_beside_an_adapter():
    place, penalty = parse_machine("1x80"), "sft.losses.kl_to_reference.weight=0.1"
    full = estimate_recipe(recipe("reft", "paper", penalty), place)["sft"]
    low = estimate_recipe(recipe("reft", "gpu", penalty), place)["sft"]
    assert full.parts["reference"] > 12e9 and "reference" not in low.parts


def test_more_tokens_in_a_pass_take_more_memory():
    place = parse_machine("1x80")
    totals = [
        estimate_recipe(recipe("reft", "gpu", f"sft.micro_tokens={tokens}"), place)["sft"].total
        for tokens in (2048, 8192)
    ]
    assert totals[1] > totals[0]


def test_doctor_calls_nothing_ready_that_would_not_fit(capsys):
    assert main(["doctor", "reft", "--on", "1x24"]) == 0
    said = capsys.readouterr().out
    assert "reft paper: cannot run" in said and "sft needs about" in said and "reft gpu: ready" in said
    assert main(["doctor", "reft", "--on", "many"]) == 1


def test_a_machine_is_a_count_and_a_size():
    assert parse_machine("8x80").gpus == 8 and parse_machine("8x80").room == 80e9
    with pytest.raises(RecipeError, match="COUNTxGB"):
        parse_machine("0x80")


def test_learning_takes_three_times_the_work_of_reading():
    assert Pace(10, 100.0).guess_seconds(1000, True) == pytest.approx(3 * Pace(10, 100.0).guess_seconds(1000, False))


def test_several_workers_are_told_what_to_type_instead(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["list"]) == 1
    assert "type python -m recipes list" in capsys.readouterr().err
