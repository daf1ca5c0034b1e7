"""A random language model of two layers in a folder, with the tokenizer of the embedded base."""

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from recipes.config.schema import Model
from recipes.models import loader


def tiny_model(folder):
    """The `[model]` table that names the folder in which it was written."""
    tokenizer = loader.load_tokenizer(Model())
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **shape,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Model(name=str(folder))
