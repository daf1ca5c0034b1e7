"""Tokenizers as bases with a given chat template have them: bytes, and the special tokens that the template names.

No merges: every byte is a token, so nothing can hide in one.

python -m tests.helpers.template_bases          writes the table of docs/models.md again
"""

import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from recipes.base.errors import RecipeError
from recipes.models.chat_form import set_chat_form
from recipes.models.chat_template import read_known

MARK_BEGIN, MARK_END = "<!-- templates -->", "<!-- end of templates -->"  # in docs/models.md

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
DOCUMENT_ENDS = {"cohere": "<EOS_TOKEN>", "llama3": "<|end_of_text|>", "idefics3": "<|end_of_text|>"}
ONE_END = ("deepseek", "gemma", "diffusion", "llava", "muse")  # nothing but the above is known of their vocabularies
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
    special = {end, *([begin] if begin else ()), *MARKS.findall(template)}
    if not name.startswith(ONE_END):
        special.add(
            next((token for family, token in DOCUMENT_ENDS.items() if name.startswith(family)), "<|endoftext|>")
        )
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in sorted(special)])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end, bos_token=begin, padding_side="left")
    tokenizer.chat_template = template
    return tokenizer


def write_table() -> str:
    """The table of docs/models.md: every template of TRL, and how it is used with such a tokenizer."""
    lines = ["| template | state | chain of thought | a reply ends with |", "|---|---|---|---|"]
    for name in read_known():
        try:
            form = set_chat_form(make_tokenizer(name))
        except RecipeError as error:
            lines.append(f"| `{name}` | refused: {error.what} | | |")
            continue
        state = "mended: " + "; ".join(form.mended) if form.mended else "held"
        channel = "text of the reply"
        if form.channel:
            start = f"`{show(form.opened)}` stands in the prompt" if form.opened else f"`{show(form.before)}`"
            channel = f"{start}, then `{show(form.between)}`"
        lines.append(f"| `{name}` | {state} | {channel} | `{show(form.end)}` |")
    return "\n".join(lines) + "\n"


def show(text: str) -> str:
    """A mark in a cell of a table."""
    return text.strip().replace("|", "\\|").replace("\n", "⏎")


def put_table(page: str, table: str) -> str:
    """A page with the table between its two marks."""
    before, _, rest = page.partition(MARK_BEGIN)
    return f"{before}{MARK_BEGIN}\n{table}{MARK_END}{rest.partition(MARK_END)[2]}"


if __name__ == "__main__":
    file = Path("docs/models.md")
    file.write_text(put_table(file.read_text(encoding="utf-8"), write_table()), encoding="utf-8")
