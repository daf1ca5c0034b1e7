"""Rows with images: what models and machines can read them, how they are asked, what of the model learns from them."""

import importlib.util
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from eval import hooks
from recipes.artifacts.steps import spec_of
from recipes.base.errors import RecipeError
from recipes.base.runtime import Runtime
from recipes.config.schema import Model
from recipes.models import loader, rl_trainer, training, vision, vision_tower
from recipes.models.learnt_rows import make_examples
from recipes.models.lm_eval_model import make_scorer
from recipes.stages import data as data_stage
from recipes.stages import sft
from tests.helpers import tiny_vision
from tests.helpers.tables import rl_table, sft_table

SHORT = {"epochs": 1, "batch_tokens": 200, "max_length": 128, "micro_batch": 4, "log_steps": 1, "learning_rate": 1e-2}
SFT, FULL = sft_table(rank=4, **SHORT), sft_table("full", **SHORT)
SUFFIXES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """The `[model]` table of a tiny model that sees."""
    return Model(name=str(tiny_vision.seeing(tmp_path_factory.mktemp("seeing"))), dtype="float32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_vision.data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def rows(data):
    return training.read_rows(data / "sft.jsonl")


@pytest.fixture(scope="module")
def processor(seeing, rows):
    return vision.load_reader(seeing, rows)


def trained(seeing, data, out, vision="frozen", table=SFT):
    """(metrics, weights) of a supervised run."""
    out.mkdir()
    stage = spec_of("sft", model=seeing.model_copy(update={"vision": vision}), sft=table, seed=1)
    metrics = sft.run(stage, {"data": data}, out, Runtime(SimpleNamespace(isatty=lambda: False, write=str, flush=str)))
    (file,) = out.glob("*/*.safetensors")
    return metrics, load_file(file)


def of_the_tower(name):
    return "vision_tower" in name or "multi_modal_projector" in name


# what learns


def adapted(target):
    """(LoRA tensors, those of them in the vision tower) of Qwen2.5-VL in small under a peft target."""
    model = get_peft_model(tiny_vision.qwen(), LoraConfig(r=2, target_modules=target))
    names = [name for name, _ in model.named_parameters() if ".lora_" in name]
    return len(names), sum(".visual." in name for name in names)


def test_names_of_layers_and_all_linear_reach_the_vision_tower_unless_it_is_frozen():
    base = tiny_vision.qwen()
    for target, tuned in ((SUFFIXES, (40, 12)), (("all-linear",), (52, 24))):
        assert adapted(vision_tower.adapter_targets(base, target, "tuned")) == tuned
        assert adapted(vision_tower.adapter_targets(base, target, "frozen")) == (28, 0)


def test_a_model_for_text_keeps_its_targets():
    from tests.helpers.tiny_letters import tiny

    assert vision_tower.adapter_targets(tiny(), ("all-linear",), "frozen") == "all-linear"
    assert vision_tower.adapter_targets(tiny(), ("q_proj", "v_proj"), "frozen") == ["q_proj", "v_proj"]
    assert vision_tower.weights(tiny()) == {}


def test_the_tower_holds_everything_but_the_language_model_and_its_head():
    model = tiny_vision.qwen()
    inside = {id(weight) for weight in vision_tower.weights(model).values()}
    named = {name for name, weight in model.named_parameters() if id(weight) in inside}
    assert named == {name for name, _ in model.named_parameters() if name.startswith("model.visual.")}


def test_training_does_not_begin_where_the_tower_would_learn_and_does_not_pass_where_a_byte_of_it_changed():
    model = get_peft_model(tiny_vision.qwen(), LoraConfig(r=2, target_modules="all-linear"))
    with pytest.raises(RecipeError, match="vision tower") as error, vision_tower.untouched(model, "frozen"):
        pytest.fail("it began")
    assert "24 tensors that learn" in str(error.value)
    model = get_peft_model(
        tiny_vision.qwen(),
        LoraConfig(r=2, target_modules=vision_tower.adapter_targets(tiny_vision.qwen(), SUFFIXES, "frozen")),
    )
    with vision_tower.untouched(model, "frozen"):
        pass
    one = next(iter(vision_tower.weights(model).values()))
    with (
        pytest.raises(RecipeError, match="vision tower") as error,
        vision_tower.untouched(model, "frozen"),
        torch.no_grad(),
    ):
        one.view(-1)[0] += 1e-3
    assert "other weights" in str(error.value)
    with vision_tower.untouched(
        get_peft_model(tiny_vision.qwen(), LoraConfig(r=2, target_modules="all-linear")), "tuned"
    ):
        pass


def test_an_adapter_lies_in_the_language_model_alone_or_with_tuned_vision_in_the_tower_too(seeing, data, tmp_path):
    metrics, weights = trained(seeing, data, tmp_path / "frozen")
    assert metrics["steps"] > 1 and weights and not any(map(of_the_tower, weights))
    assert all(weight.any() for name, weight in weights.items() if "lora_B" in name)
    _, weights = trained(seeing, data, tmp_path / "tuned", vision="tuned")
    learnt = [weight.any() for name, weight in weights.items() if "lora_B" in name and of_the_tower(name)]
    assert learnt and any(learnt)


@pytest.mark.parametrize("how", ["frozen", "tuned"])
def test_a_full_tuning_leaves_the_bytes_of_a_frozen_tower_and_changes_those_of_a_tuned_one(seeing, data, tmp_path, how):
    _, after = trained(seeing, data, tmp_path / "out", how, FULL)
    before = load_file(f"{seeing.name}/model.safetensors")
    assert after.keys() == before.keys()
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert not all(kept for name, kept in same.items() if not of_the_tower(name))
    assert all(kept for name, kept in same.items() if of_the_tower(name)) == (how == "frozen")


# what can be read


def test_lengths_count_the_tokens_of_every_image_of_rows_with_none_one_and_two(processor, rows):
    counts = {len(row.get("images", ())) for row in rows}
    batches = vision.batches_of(processor, [row | {"reply": row["completion"][0]["content"]} for row in rows], "cpu", 1)
    found = sorted(int(batch["attention_mask"].sum()) for batch in batches)
    assert counts == {0, 1, 2} and sorted(vision.lengths_of(processor, rows)) == found


def test_a_row_that_does_not_fit_with_its_images_is_an_error_that_says_how_long_it_is(seeing, data, processor, rows):
    longest = max(vision.lengths_of(processor, rows))
    stage = spec_of("sft", model=seeing, sft=SFT.model_copy(update={"max_length": longest - 1}), seed=1)
    with pytest.raises(RecipeError, match="longer than the model is given") as error:
        sft.run(stage, {"data": data}, data / "out", Runtime())
    assert f"--set sft.max_length={longest}" in str(error.value)


def test_rows_of_like_length_share_a_batch_though_only_the_processor_knows_their_lengths(
    seeing, processor, rows, tmp_path
):
    from datasets import Dataset

    examples, lengths = make_examples(processor, rows)
    dataset = Dataset.from_list(examples)
    base = loader.load_base(seeing, training=True)
    trainer = sft.make_trainer(spec_of("sft", model=seeing, sft=SFT, seed=1), base, processor, dataset, 40.0, tmp_path)
    first = next(iter(trainer.get_train_dataloader()))
    assert first["attention_mask"].sum(dim=1).max() == max(lengths)
    assert "pixel_values" in first and "sample_type" in first


def test_a_model_for_text_is_not_given_rows_with_images(rows):
    with pytest.raises(RecipeError, match="reads text only"):
        vision.load_reader(Model(), rows)


def test_rows_of_text_get_a_tokenizer_whatever_the_model(seeing):
    assert vision.load_reader(seeing, [{"prompt": []}]).convert_tokens_to_ids("<image>") > 0


@pytest.mark.parametrize("missing", ["PIL", "torchvision"])
def test_without_the_extra_the_error_names_it(seeing, rows, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    if missing == "torchvision":  # as a processor that reads video fails

        def fails(*_, **__):
            raise AttributeError("_extra_content")

        monkeypatch.setattr(vision.AutoProcessor, "from_pretrained", fails)
    with pytest.raises(RecipeError, match="not installed") as error:
        vision.load_reader(seeing, rows)
    assert f"no {missing}" in str(error.value) and "-e '.[vlm]'" in str(error.value)


def test_an_image_that_is_gone_is_named(seeing, tmp_path):
    with pytest.raises(RecipeError, match="not there") as error:
        vision.load_reader(seeing, [{"images": [str(tmp_path / "gone.png")]}])
    assert "gone.png" in str(error.value)


def test_reinforcement_refuses_what_trl_cannot_do_with_images(seeing, data):
    rows = training.read_rows(data / "rl.jsonl")
    stage = spec_of("rl", model=seeing, rl=rl_table(algorithm="ppo", group_size=1), seed=1)
    with pytest.raises(RecipeError, match="cannot look at them"):
        rl_trainer.load_reader(stage, rows)
    with pytest.raises(RecipeError, match="cannot share a rollout"):
        rl_trainer.load_reader(stage.model_copy(update={"rl": rl_table()}), [*rows, {"prompt": []}])


def test_an_image_that_is_not_what_its_name_says_stops_the_data_stage(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    data_stage.prove_images(tmp_path / "data")
    next((tmp_path / "data" / "images").iterdir()).write_bytes(tiny_vision.picture(77))
    with pytest.raises(RecipeError, match="not what their names say"):
        data_stage.prove_images(tmp_path / "data")


# how they are asked


def test_documents_carry_images_where_some_row_has_one_and_are_as_ever_where_none_has(data, tmp_path):
    seen = hooks.load(source="recipe", data=str(data))["test"]
    assert set(seen.column_names) == {*hooks.FIELDS, "images"}
    assert hooks.question(seen[3]).startswith("<image><image>Question 3")
    assert hooks.question(seen[4]).startswith("Question 4")
    lines = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    text = [{name: value for name, value in line.items() if name != "images"} for line in lines]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in text))
    assert hooks.load(source="recipe", data=str(tmp_path))["test"].column_names == list(hooks.FIELDS)


def test_a_test_row_without_its_image_stops_the_evaluation(data, tmp_path):
    shutil.copy(data / "test.jsonl", tmp_path)
    with pytest.raises(hooks.TaskDataError, match="image of a test row"):
        hooks.load(source="recipe", data=str(tmp_path))


def test_the_test_asks_with_the_tokens_and_pixels_that_training_had(seeing, data, processor):
    scorer = make_scorer(loader.load_base(seeing).eval(), processor, 4, data)
    for doc in hooks.load(source="recipe", data=str(data))["test"]:
        context = scorer.apply_chat_template([{"role": "user", "content": hooks.question(doc)}])
        paths = [str(data / image) for image in doc["images"] or ()]
        asked = (
            scorer.tok_batch_multimodal_encode([context], [paths])
            if paths
            else processor.tokenizer(context, add_special_tokens=False, return_tensors="pt")
        )
        (batch,) = vision.batches_of(processor, [doc | {"images": paths}], "cpu", 1)
        learnt = int((batch["labels"] != -100).sum())
        assert batch["input_ids"][0, :-learnt].tolist() == asked["input_ids"][0].tolist()
        if paths:
            assert torch.equal(batch["pixel_values"], asked["pixel_values"])


def test_a_document_is_answered_from_its_own_image_in_whatever_batch_it_stands(seeing, data, processor):
    """A model made to look: its reply to a document depends on the picture, and not on the other documents."""
    model = loader.load_base(seeing).eval()
    with torch.no_grad():
        model.model.multi_modal_projector.linear_2.weight *= 50
    docs = list(hooks.load(source="recipe", data=str(data))["test"])[:5]

    def replies(docs, size):
        scorer = make_scorer(model, processor, size, data)
        scorer.bar = SimpleNamespace(advance=lambda n: None)
        settings = {"until": [], "do_sample": False, "max_gen_toks": 6}
        asked = [
            Instance(
                "generate_until",
                doc,
                (scorer.apply_chat_template([{"role": "user", "content": hooks.question(doc)}]), settings),
                n,
                ("t", n, 1),
            )
            for n, doc in enumerate(docs)
        ]
        return scorer.generate_until(asked)

    from lm_eval.api.instance import Instance

    alone = [replies([doc], 1)[0] for doc in docs]
    assert replies(docs, 4) == alone
    turned = [docs[0] | {"images": docs[n]["images"]} for n in (0, 1, 2)]
    assert len(set(replies(turned, 4))) > 1
