"""A key-value cache with room to spare: a new token is written in place.

transformers' own dynamic cache copies all keys and values of every layer for every token. On a CPU that copying is half
the time of a small model's reply.
"""

import functools
from typing import Any

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens that a buffer is made longer by than it has to be


class RoomyLayer(DynamicLayer):
    """Keys and values [B, heads, T, head size] as views of buffers that are up to ROOM tokens longer."""

    def update(self, key_states, value_states, *args, **kwargs):
        """Append states [B, heads, t, head size]; all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not start or not self._fits(end):
            self.key_room, self.value_room = (
                self._longer(old, new, start, end)
                for old, new in ((self.keys, key_states), (self.values, value_states))
            )
        self.key_room[..., start:end, :] = key_states
        self.value_room[..., start:end, :] = value_states
        self.keys, self.values = self.key_room[..., :end, :], self.value_room[..., :end, :]
        return self.keys, self.values

    def _fits(self, end):
        # Reordering or repeating the batch leaves keys that are no view of the buffer.
        return (
            end <= self.key_room.shape[-2]
            and self.keys is not None
            and self.keys.data_ptr() == self.key_room.data_ptr()
        )

    def _longer(self, old, new, start, end):
        room = new.new_empty(*new.shape[:-2], end + ROOM, new.shape[-1])
        if start:
            room[..., :start, :] = old
        return room


def roomy_cache(model: PreTrainedModel) -> DynamicCache:
    """An empty cache for the model. Layers that do not keep every token (sliding windows) are left as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def reply_in_place(model: Any) -> None:
    """Let `model.generate` use a roomy cache wherever the caller brings none; replies are the same.

    `model` is one of transformers' that generates, which no one type of theirs says.
    """
    generate = model.generate

    @functools.wraps(generate)
    def with_room(*args, **kwargs):
        if kwargs.get("past_key_values") is None:
            kwargs["past_key_values"] = roomy_cache(model)
        return generate(*args, **kwargs)

    model.generate = with_room
