"""The laboratory's base as a GGUF file, in blocks of 8 bits."""

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize
from safetensors.torch import load_file

from recipes.base.places import LAB_MODEL

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def name_tensor(name: str) -> str:
    """llama.cpp's name of a tensor of transformers' Qwen3."""
    short = name.removeprefix("model.").removesuffix(".weight")
    if short.startswith("layers."):
        _, number, part = short.split(".", 2)
        return f"blk.{number}.{NAMES[part]}.weight"
    return {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}[short]


def write_gguf(file: Path) -> Path:
    """Write the embedded base to `file`."""
    config = json.loads((LAB_MODEL / "config.json").read_text())
    tokenizer = json.loads((LAB_MODEL / "tokenizer.json").read_text())
    writer = GGUFWriter(str(file), "qwen3")
    writer.add_name("laboratory")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    words = {number: word for word, number in tokenizer["model"]["vocab"].items()}
    words |= {number: token["content"] for number, token in added.items()}
    numbers = range(config["vocab_size"])
    control = {number for number, token in added.items() if token["special"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([words[number] for number in numbers])
    writer.add_token_types([TokenType.CONTROL if number in control else TokenType.NORMAL for number in numbers])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_chat_template((LAB_MODEL / "chat_template.jinja").read_text())
    for name, tensor in load_file(LAB_MODEL / "model.safetensors").items():
        values = tensor.float().numpy().astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(name_tensor(name), values)
        else:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name_tensor(name), quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
