"""The tokenizer and the chat form of the embedded world."""

import random
import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from recipes.base.reply_form import TAGS
from recipes.lab.items import Item
from recipes.lab.world import SUMS_FIRST, documents

VOCABULARY = 3072  # tokens
SAMPLE = 60_000  # documents that the tokenizer is trained on
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = list(TAGS.marks)  # of the reply form: one token each, but part of the text
TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.role == 'assistant' %}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{ message.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)


def chat(item: Item) -> tuple[str, str]:
    """The exchange as (part that is read, part that is learnt), as TEMPLATE writes it."""
    return f"<|im_start|>user\n{item.prompt}<|im_end|>\n<|im_start|>assistant\n", f"{item.reply}<|im_end|>"


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on documents of the first phase.

    Digits stay single, and an operator keeps the spaces around it: so a sum is short and its digits are aligned.
    """
    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(r" [*+/=\-] | ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKS),
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    source = documents(random.Random(f"tokenizer {seed}"), SUMS_FIRST)
    marks = re.compile("|".join(map(re.escape, SPECIAL + MARKS)))
    texts = (
        marks.sub("", document if isinstance(document, str) else "".join(chat(document)))
        for document, _ in zip(source, range(SAMPLE), strict=False)
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens(MARKS)
    fast.chat_template = TEMPLATE
    return fast
