"""How a base's chat template writes a conversation, found by rendering one: what is learnt, and how a reply is read.

prompt turns ──► chat template ──► text of the prompt ─┐
reply in the recipe's form ──► the template's channel  ├─► tokens of the prompt, tokens of the reply with one end token
for chains of thought, its end token ──────────────────┘
sampled tokens ──► text ──► a reply in the recipe's form

A template is a program by the author of the model. Many write a finished conversation otherwise than the one that the
model is asked to go on with: they leave out the chain of thought, open it in the prompt, or write two end tokens. Here
a reply is always written behind the very prompt from which replies are sampled.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from recipes.base.errors import RecipeError
from recipes.base.reply_form import TAGS, Turns, split_thinking
from recipes.models.chat_template import DAY, change_template, fix_date, name_template, read_template, render_chat

QUESTION, THOUGHT, ANSWER, NEXT = "Questionqx", "Thoughtqx", "Answerqx", "Nextqx"  # words that no template holds
ASKING: Turns = [{"role": "user", "content": QUESTION}]
REPLIES = (  # of both kinds, which are written and read back before a base is taken
    f"{TAGS.thinking[0]}{THOUGHT}: 2 < 3.{TAGS.thinking[1]}\nSo {ANSWER}.\n{TAGS.answer[0]}4{TAGS.answer[1]}",
    f"{ANSWER}\nis 4.",
)
# Template code in front of a template that reads content as parts alone: it would leave out a text without a word.
PARTS = (
    "{%- set turns = namespace(all=[]) %}{%- for turn in messages %}{%- set turns.all = turns.all + "
    "[dict(turn, content=[{'type': 'text', 'text': turn.content}]) if turn.content is string else turn] %}"
    "{%- endfor %}{%- set messages = turns.all %}"
)
SWITCH = "enable_thinking"  # the variable by which templates turn chains of thought on and off
THINKING = "{%- set " + SWITCH + " = true %}"
DOCUMENT_ENDS = (  # of bases whose tokenizer has the end of a turn as its end token
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "<EOS_TOKEN>",
    "<eos>",
    "</s>",
)


@dataclass(frozen=True)
class ChatForm:
    """How the template of a base writes replies.

    Attributes:
        template: its name among those of TRL, of its file, or "its own".
        opened: the mark with which the prompt opens a chain of thought; empty where it opens none.
        before, between: what stands before a chain of thought, and between it and the rest of the reply.
        plain: what stands before a reply without a chain of thought.
        end: the token that ends a reply.
        document_end: the token that ends a document in what the base was pre-trained on.
        channel: whether chains of thought have the template's own marks; else they are text of the reply.
        special: whether there are special tokens among the marks, which decoding has to keep.
        mended: what is done otherwise than the template does of itself, in words.
    """

    template: str
    opened: str = ""
    before: str = ""
    between: str = ""
    plain: str = ""
    end: str = ""
    document_end: str = ""
    channel: bool = False
    special: bool = False
    mended: tuple[str, ...] = ()

    def write(self, reply: str) -> str:
        """What stands behind the prompt, its end token included, of a reply in the recipe's form."""
        thinking, rest = split_thinking(reply)
        if thinking is None or not self.channel:
            return f"{self.plain}{reply}{self.end}"
        return f"{self.before}{thinking}{self.between}{rest}{self.end}"

    def read(self, text: str) -> str:
        """The reply in the recipe's form, of what a model wrote behind the prompt, without its end token."""
        opening, plain, bare = (self.opened + self.before).strip(), self.plain.strip(), text.lstrip()
        if plain and bare.startswith(plain) and not (opening and plain.startswith(opening)):
            return bare.removeprefix(plain).lstrip()
        if not self.channel or not (self.opened or bare.startswith(opening)):
            return text
        inside, closed, rest = bare.removeprefix(opening).partition(self.between.strip())
        if not closed:  # cut off while it thought
            return TAGS.thinking[0] + inside
        inside, rest = inside.strip(), rest.lstrip()
        return f"{inside.join(TAGS.thinking)}\n{rest}" if inside else rest


def chat_form_of(reader: Any) -> ChatForm:
    """The form of a tokenizer or processor that `set_chat_form` has seen; of another it is found now."""
    return getattr(tokenizer_of(reader), "chat_form", None) or set_chat_form(reader)


def set_chat_form(reader: Any, name: str = "") -> ChatForm:
    """Find the form of a tokenizer's or processor's template, and set the tokenizer to it: its end token is then the
    one that ends a reply, at which TRL, lm-eval and `generate` stop; it has a pad token; and its template is mended
    where that is what it takes.

    Args:
        name: of the template, where the recipe names one.

    Raises:
        RecipeError: the template cannot be rendered, leaves something out, ends a reply with no token, or a reply that
            is written by it is read back as another.
    """
    tokenizer = tokenizer_of(reader)
    form = find_form(reader, name or name_template(read_template(reader)))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = form.document_end
    if tokenizer.eos_token != form.end:
        tokenizer.eos_token = form.end
    form = replace(form, special=has_special_marks(tokenizer, form))
    check_form(form, reader)
    tokenizer.chat_form = form  # one object goes to TRL, lm-eval and back, and this with it
    return form


def tokenizer_of(reader: Any) -> Any:
    """The tokenizer inside a processor, or the tokenizer itself."""
    return getattr(reader, "tokenizer", reader)


def find_form(reader: Any, name: str) -> ChatForm:
    """The form of a template, which is mended where that helps."""
    mended = (f"the day's date is always {DAY}",) if fix_date(reader) else ()
    if QUESTION not in ask(reader, name):
        change_template(reader, PARTS)
        mended = (*mended, "texts are given as parts")
    if QUESTION not in ask(reader, name):
        raise refusal(name, "leaves out the question", ask(reader, name))
    own = read_template(reader)
    if SWITCH in own:
        before = ask(reader, name)
        change_template(reader, THINKING)
        if ask(reader, name) != before:
            form = probe(reader, name)
            if form.channel:
                return replace(form, mended=(*mended, f"{SWITCH} is set", *form.mended))
        reader.chat_template = own
    form = probe(reader, name)
    return replace(form, mended=(*mended, *form.mended))


def ask(reader: Any, name: str) -> str:
    """The text of a conversation that waits for its reply."""
    return render_chat(reader, ASKING, name, add_generation_prompt=True)


def probe(reader: Any, name: str) -> ChatForm:
    """The form that two conversations show: one whose reply has a chain of thought, and one whose has none."""
    asked, reply = ask(reader, name), {"role": "assistant", "content": ANSWER}
    plain = render_chat(reader, [*ASKING, reply], name)
    if ANSWER not in plain:
        raise refusal(name, "leaves out the reply", plain)
    end, later = find_end(reader, name, plain.rpartition(ANSWER)[2])
    form = ChatForm(name, end=end, mended=("the token of the next turn ends a reply",) if later else ())
    form = replace(form, document_end=find_document_end(tokenizer_of(reader), end))
    thinking = render_chat(reader, [*ASKING, reply | {"reasoning_content": THOUGHT}], name)
    form = find_channel(form, asked, thinking)
    if plain.startswith(asked):
        form = replace(form, plain=plain[len(asked) : plain.rindex(ANSWER)])
    elif form.opened:
        form = replace(form, plain=form.before + form.between)
    else:
        raise refusal(name, "writes a reply behind another text than the one that asks for it", f"{asked} and {plain}")
    own = render_chat(reader, [*ASKING, reply | {"content": REPLIES[0]}], name)
    if form.channel and not form.mended and not own.startswith(asked + form.write(REPLIES[0])):
        form = replace(form, mended=("chains of thought go through its own channel",))
    return form


def find_channel(form: ChatForm, asked: str, thinking: str) -> ChatForm:
    """`form` with the marks of chains of thought, of the text that asks and of a conversation with such a reply.

    Where the prompt opens <think> and the template leaves chains out of what it writes afterwards (DeepSeek-R1 and its
    distilled models), a reply goes on as those models write: thought, a closing mark between empty lines, the rest.
    """
    head, found, behind = thinking.partition(THOUGHT)
    between, answered, _ = behind.partition(ANSWER)
    opened = re.search(r"(<[^<>\s]+>)\s*$", asked)
    if found and answered and head.startswith(asked):
        before = head[len(asked) :]
        if before.strip():
            return replace(form, before=before, between=between, channel=True)
        if opened:
            return replace(form, opened=opened[1], before=before, between=between, channel=True)
    if opened and opened[1] == TAGS.thinking[0]:
        kept = "the chain of thought is kept, which the template leaves out"
        between = f"\n{TAGS.thinking[1]}\n\n"
        return replace(form, opened=opened[1], between=between, channel=True, mended=(*form.mended, kept))
    return form


def find_end(reader: Any, name: str, behind: str) -> tuple[str, bool]:
    """(the special token that ends a reply, whether it is the first one of the next turn) of what stands behind it."""
    tokenizer = tokenizer_of(reader)
    added = {token.content for token in tokenizer.added_tokens_decoder.values()} | set(tokenizer.all_special_tokens)
    for later, text in enumerate((behind, after_reply(reader, name))):
        if end := next((token for token in tokenizer.tokenize(text) if token in added), None):
            return end, bool(later)
    raise refusal(
        name,
        "ends a reply with no token, so a model that learnt it would never stop",
        f"{behind!r} behind a reply",
        allowed="a template that writes a special token of the tokenizer, such as eos_token, behind each reply",
    )


def after_reply(reader: Any, name: str) -> str:
    """What stands between a reply and the next question; empty where the template does not write on."""
    turns = [*ASKING, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": NEXT}]
    try:
        return render_chat(reader, turns, name).rpartition(ANSWER)[2].partition(NEXT)[0]
    except RecipeError:
        return ""


def find_document_end(tokenizer: Any, end: str) -> str:
    """The token that ends a document: of those that bases are known to use the tokenizer's own end token or the first
    that it has; else its own end token, which may be that of a turn too."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    known = [token for token in DOCUMENT_ENDS if token in special and token != end]
    own = tokenizer.eos_token
    return own if own in known else known[0] if known else own or end


def has_special_marks(tokenizer: Any, form: ChatForm) -> bool:
    """Whether decoding without special tokens would lose marks of a reply."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    marks = [form.before, form.between, form.plain, *TAGS.marks]
    return any(not special.isdisjoint(ids) for ids in tokenizer(marks, add_special_tokens=False)["input_ids"])


def check_form(form: ChatForm, reader: Any) -> None:
    """Raises RecipeError where a reply that was written and encoded is read back as another, or does not end once."""
    tokenizer = tokenizer_of(reader)
    end = tokenizer.convert_tokens_to_ids(form.end)
    pairs = [(ASKING, reply) for reply in REPLIES]
    for reply, (_, ids) in zip(REPLIES, encode_replies(reader, pairs, form), strict=True):
        read = decode_reply(reader, ids, form)
        if ids.count(end) != 1 or ids[-1] != end:
            raise refusal(form.template, f"does not end a reply with one {form.end}", tokenizer.decode(ids))
        if read.strip() != reply:
            raise refusal(form.template, "does not give back a reply that was written by it", f"{read!r} for {reply!r}")


def encode_replies(
    reader: Any, pairs: Sequence[tuple[Turns, str]], form: ChatForm | None = None
) -> list[tuple[list[int], list[int]]]:
    """(tokens of the prompt, tokens of the reply with its end token) of each pair (turns that ask, reply).

    The two are encoded as one text where the prompt's tokens stay what they are; where tokens would merge across the
    boundary, each by itself, because that is what a model sees when it is asked.
    """
    tokenizer, form = tokenizer_of(reader), form or chat_form_of(reader)
    asked = [render_chat(reader, turns, form.template, add_generation_prompt=True) for turns, _ in pairs]
    replies = [form.write(reply) for _, reply in pairs]
    if not pairs:
        return []
    prompts = tokenizer(asked, add_special_tokens=False)["input_ids"]
    wholes = tokenizer([a + b for a, b in zip(asked, replies, strict=True)], add_special_tokens=False)["input_ids"]
    return [
        (
            ids,
            whole[len(ids) :] if whole[: len(ids)] == ids else tokenizer(reply, add_special_tokens=False)["input_ids"],
        )
        for ids, whole, reply in zip(prompts, wholes, replies, strict=True)
    ]


def decode_reply(reader: Any, ids: Sequence[int], form: ChatForm | None = None) -> str:
    """The reply in the recipe's form, of sampled tokens with or without what stands behind their end."""
    tokenizer, form = tokenizer_of(reader), form or chat_form_of(reader)
    if not form.special:
        return form.read(tokenizer.decode(ids, skip_special_tokens=True))
    ends = {*tokenizer.convert_tokens_to_ids([form.end, form.document_end]), tokenizer.pad_token_id}
    ids = list(ids)
    stop = next((place for place, number in enumerate(ids) if number in ends), len(ids))
    return form.read(tokenizer.decode(ids[:stop], skip_special_tokens=False))


def refusal(name: str, what: str, got: str, allowed: str = "a template whose replies can be learnt and read back"):
    """The error for a template that cannot be used."""
    return RecipeError(
        f"the chat template {name} {what}",
        where="model.chat_template",
        got=got[-300:],
        allowed=allowed,
        fix="set model.chat_template to a name that TRL knows or a file (docs/models.md), or choose another base",
    )
