"""A random model of a few thousand weights that writes single letters, for tests of reinforcement.

python -m tests.helpers.tiny_letters FOLDER   # a short PPO run on every rank of torch.distributed; leaves its weights
"""

import itertools
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers import models as words
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from recipes.methods.rl.ppo.trainer import PPOConfig, PPOTrainer
from recipes.models import training

LETTERS = "abcdefghijklmnopqrstuvwxyz0123"


def tokenizer():
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", *LETTERS])}
    letters = Tokenizer(words.WordLevel(vocabulary, unk_token="<pad>"))
    letters.pre_tokenizer = Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>", padding_side="left"
    )


def tiny(seed=0):
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=2 + len(LETTERS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        eos_token_id=1,
        pad_token_id=0,
        initializer_range=0.2,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = list(range(1, 2 + len(LETTERS), 4))  # so that replies end by themselves
    return model


def lora(**more):
    return LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **more)


def early(completions, **_):
    """Share of a reply that is one of the first ten letters."""
    return [sum(letter in LETTERS[:10] for letter in reply) / max(1, len(reply)) for reply in completions]


def config(folder, make=PPOConfig, **more):
    settings = dict(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        gradient_checkpointing=False,
        max_steps=2,
        per_device_train_batch_size=8,
        max_completion_length=8,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
    )
    return make(**{**settings, **more})


def trainer_of(model, folder, reward=early, cls=PPOTrainer, peft_config=None, **more):
    prompts = Dataset.from_dict({"prompt": [a + b for a, b in itertools.product("abcd", "wxyz")]})
    return training.build(
        cls,
        model,
        reward_funcs=[reward],
        args=config(folder, **more),
        train_dataset=prompts,
        processing_class=tokenizer(),
        peft_config=peft_config,
    )


def saved(model, folder):
    """A model in a folder, loaded from there: TRL loads the reference of a fully trained policy again by its name."""
    model.save_pretrained(folder)
    return Qwen3ForCausalLM.from_pretrained(folder)


def logits(model):
    ids = torch.arange(2, 14).view(2, 6)
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def main(folder):
    """Two PPO rollouts on this rank's share of the prompts."""
    rank = int(os.environ["RANK"])
    trainer = trainer_of(
        tiny(), folder / "run", peft_config=lora(), max_steps=4, per_device_train_batch_size=4, ddp_backend="gloo"
    )
    trainer.train()
    weights = {name: p.detach().contiguous() for name, p in trainer.model.named_parameters() if p.requires_grad}
    save_file(weights, folder / f"rank{rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
