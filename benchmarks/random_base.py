"""Write a base model of real size with random weights: for time and memory on a machine that cannot reach the hub.

The shapes are those of Qwen2.5 (its technical report, arXiv 2412.15115, table 1), the tokenizer is the embedded base's,
whose ids are the first few thousand of the vocabulary. What such a model says means nothing; what a step costs does not
depend on it, as long as replies are of stated length.

    python -m benchmarks.random_base --size 7b --to /dev/shm/random-7b
    python -m recipes run analogseeker --profile gpu --set model.name=/dev/shm/random-7b --until sft
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from recipes.config.schema import Model
from recipes.models import loader

SEED = 42
SIZES = {  # hidden, feed-forward, layers, heads, key-value heads, one matrix for input and output
    "0.5b": (896, 4864, 24, 14, 2, True),
    "1.5b": (1536, 8960, 28, 12, 2, True),
    "7b": (3584, 18944, 28, 28, 4, False),
}
VOCABULARY = 152064  # of the 7B; the smaller ones have 128 fewer


def config_of(size: str) -> Qwen2Config:
    hidden, inner, layers, heads, shared, tied = SIZES[size]
    return Qwen2Config(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        tie_word_embeddings=tied,
        vocab_size=VOCABULARY,
        max_position_embeddings=32768,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="7b")
    parser.add_argument("--to", type=Path, required=True, help="folder to write; bf16, two bytes a weight")
    args = parser.parse_args()
    tokenizer = loader.load_tokenizer(Model())
    config = config_of(args.size)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    torch.manual_seed(SEED)
    with torch.device(loader.device()):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(args.to)
    tokenizer.save_pretrained(args.to)
    print(f"{sum(p.numel() for p in model.parameters()):,} weights in {args.to}")


if __name__ == "__main__":
    main()
