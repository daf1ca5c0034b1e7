"""Tokenizers as bases with a given chat template have them: bytes, and the special tokens that the template names.

No merges: every byte is a token, so nothing can hide in one.
"""

import re

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from recipes.models.chat_template import read_known

# (tokenizer's own end token, its token of a text's beginning) of the bases that bring a template; by the beginning of
# its name, the longest first.
BASES = {
    "cohere": ("<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>"),
    "deepseek": ("<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"),
    "diffusion_gemma": ("<eos>", "<bos>"),
    "gemma": ("<eos>", "<bos>"),
    "glm4moe": ("<|endoftext|>", None),
    "gptoss": ("<|return|>", "<|startoftext|>"),
    "idefics3": ("<|end_of_text|>", "<|begin_of_text|>"),
    "lfm2": ("<|im_end|>", "<|startoftext|>"),
    "llama3": ("<|eot_id|>", "<|begin_of_text|>"),
    "llava_next": ("</s>", "<s>"),
    "muse_glimmer": ("<|eot|>", "<|begin_of_text|>"),
    "nemotron": ("<|im_end|>", "<s>"),
    "phi3": ("<|endoftext|>", "<s>"),
    "qwen": ("<|im_end|>", None),
    "smolvlm": ("<end_of_utterance>", "<|im_start|>"),
}
DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<EOS_TOKEN>")  # of the whole vocabulary of some of them
MARKS = re.compile(
    r"<\|[A-Za-z0-9_▁]+\|>|<\|[a-z_]+>|<[a-z_]+\|>|<｜[^｜<>]+｜>|<(?:start|end)_of_(?:turn|utterance)>|\[gMASK\]|<sop>"
)
PLAIN = ("<think>", "</think>")  # tokens of reasoning bases that decoding keeps


def make_tokenizer(name: str, template: str = "") -> PreTrainedTokenizerFast:
    """The tokenizer of a base whose chat template TRL knows as `name`, or has another `template` of that family."""
    template = template or read_known()[name]
    end, begin = next(tokens for family, tokens in BASES.items() if name.startswith(family))
    core = Tokenizer(
        models.BPE(vocab={c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    document = {
        "cohere": "<EOS_TOKEN>",
        "llama3": "<|end_of_text|>",
        "idefics3": "<|end_of_text|>",
    }
    document_end = next((token for family, token in document.items() if name.startswith(family)), "<|endoftext|>")
    special = {end, *([begin] if begin else ()), *MARKS.findall(template)}
    if not name.startswith(("deepseek", "gemma", "diffusion", "llava", "muse")):
        special.add(document_end)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in sorted(special)])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end, bos_token=begin, padding_side="left")
    tokenizer.chat_template = template
    return tokenizer
