"""Replies with the roomy cache are those of transformers' own cache."""

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from recipes.base.places import LAB_MODEL
from recipes.config.schema import Model
from recipes.models import loader
from recipes.models.kv_cache import ROOM, RoomyLayer, roomy_cache


@pytest.fixture(scope="module")
def asked():
    """(model that brings no cache of its own, a padded batch of prompts)."""
    tokenizer = loader.load_tokenizer(Model())
    prompts = [
        [{"role": "user", "content": f"{question}\nGive the final answer in <answer> tags."}]
        for question in ("What is the capital of France?", "Compute 12 * 8 + 4.", "Repeat these words: red blue green.")
    ]
    texts = tokenizer.apply_chat_template(prompts, tokenize=False, add_generation_prompt=True)
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    batch.pop("token_type_ids", None)
    return AutoModelForCausalLM.from_pretrained(LAB_MODEL, dtype=torch.float32).eval(), batch


@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": False, "min_new_tokens": ROOM + 20, "max_new_tokens": ROOM + 20},
        {"do_sample": False, "num_beams": 3, "max_new_tokens": 24},
        {"do_sample": True, "num_return_sequences": 2, "max_new_tokens": 24},
    ],
    ids=["greedy, past the first buffer", "beams, which reorder the cache", "sampled, several a prompt"],
)
def test_replies_are_those_of_the_library_cache(asked, how):
    model, batch = asked
    replies = []
    for cache in (DynamicCache(config=model.config), roomy_cache(model)):
        torch.manual_seed(0)
        replies.append(model.generate(**batch, **how, past_key_values=cache))
    assert replies[0].shape[1] > batch["input_ids"].shape[1] and torch.equal(*replies)


def test_keys_are_written_in_place_until_the_room_is_used_up():
    layer = RoomyLayer()
    written, places = [], []
    for size in (5, *[1] * (ROOM + 1)):
        new = torch.randn(2, 3, size, 4)
        written.append(new)
        keys, values = layer.update(new, -new)
        places.append(keys.data_ptr())
        assert torch.equal(keys, torch.cat(written, dim=-2)) and torch.equal(values, -keys)
    assert len(set(places[:-1])) == 1 and places[-1] != places[0]


def test_a_cropped_cache_goes_on_from_where_it_was_cut():
    layer = RoomyLayer()
    first, second = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 1, 4)
    layer.update(first, first)
    layer.crop(-2)
    keys, _ = layer.update(second, second)
    assert torch.equal(keys, torch.cat([first[..., :4, :], second], dim=-2))


def test_a_loaded_model_replies_in_place_and_takes_a_cache_that_is_given():
    base = loader.load_base(Model()).eval()
    ids = torch.tensor([[5, 6, 7]])
    out = base.generate(ids, max_new_tokens=2, min_new_tokens=2, return_dict_in_generate=True)
    assert all(isinstance(layer, RoomyLayer) for layer in out.past_key_values.layers)
    given = DynamicCache(config=base.config)
    base.generate(ids, max_new_tokens=2, min_new_tokens=2, past_key_values=given)
    assert given.get_seq_length() >= 4
