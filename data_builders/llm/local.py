"""A local model as teacher, through transformers; what it writes is held to the question's JSON schema token by token.

Free text, as of the agents that reply in tags, is not held to anything; a reply of another form is asked for again.

The one module under `data_builders` that loads a machine-learning package, and only when such a teacher is opened: the
rows of a builder must not depend on torch, but a local teacher is a model.
"""

import asyncio
import hashlib
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

from data_builders.llm.chat import Chat, Raw
from data_builders.llm.endpoint import Rejected
from recipes.base.errors import RecipeError

KINDS = (".safetensors", ".json", ".jinja", ".txt", ".model")  # weights, settings, chat template, tokenizer
LARGE = 2**20  # bytes; a smaller file may change twice within one tick of the clock that marks changes
COMPACT = {"whitespace_flexible": False}  # no endless blanks between the parts of an object


class Gathering:
    """A source of replies that answers what waits at the same time as one batch, in a thread.

    A subclass has `generate(chats)`, which gives a `Raw` or an error for each of the chats; all have the same sampling.
    """

    def __init__(self, size):
        self.size, self.waiting, self.busy = size, [], None

    async def close(self):
        pass

    def generate(self, chats: list[Chat]) -> list[Raw | Rejected]:
        raise NotImplementedError

    async def complete(self, chat):
        """The `Raw` reply. Raises Rejected where the question does not fit into the model's window."""
        place = asyncio.get_running_loop().create_future()
        self.waiting.append((chat, place))
        if self.busy is None or self.busy.done():
            self.busy = asyncio.create_task(self._work())
        return await place

    async def _work(self):
        await asyncio.sleep(0.01)  # let the other workers put their questions beside this one
        while self.waiting:
            # One batch has one way of sampling and one length.
            first = self.waiting[0][0]
            alike = [pair for pair in self.waiting if _sampling(pair[0]) == _sampling(first)][: self.size]
            self.waiting = [pair for pair in self.waiting if pair not in alike]
            try:
                replies = await asyncio.to_thread(self.generate, [chat for chat, _ in alike])
            except Exception as error:
                replies = [error] * len(alike)
            for (_, place), reply in zip(alike, replies):
                if place.done():
                    continue
                if isinstance(reply, Exception):
                    place.set_exception(reply)
                else:
                    place.set_result(reply)


class Local(Gathering):
    """`table.model` is a folder or hub id. Questions that wait at the same time are answered as one batch.

    Raises RecipeError where the packages or the model are missing.
    """

    def __init__(self, table):
        try:
            import llguidance
            import llguidance.hf
            import llguidance.numpy  # noqa: F401  used as llguidance.numpy
            import transformers
        except ImportError as error:
            raise RecipeError(
                "A package of the local teacher is not installed.",
                where="data.teacher.kind",
                got=str(error),
                allowed="transformers and llguidance",
                fix="pip install -c constraints.txt -e '.[teacher]'",
            ) from None
        super().__init__(table.concurrency)
        self.guidance, self.transformers = llguidance, transformers
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(table.model, padding_side="left")
            self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                table.model, device_map="auto", dtype="auto", use_safetensors=True
            ).eval()
        except (OSError, ValueError) as error:
            raise RecipeError(
                "The local teacher's model cannot be loaded.",
                where="data.teacher.model",
                got=str(error).splitlines()[0],
                allowed="a folder with config.json, *.safetensors and a tokenizer, or a hub id",
                fix="correct the name",
            ) from None
        ends = self.model.generation_config.eos_token_id
        self.ends = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
        self.grammar = llguidance.hf.from_tokenizer(self.tokenizer, n_vocab=self.model.config.vocab_size)

    def generate(self, chats):
        """A reply or an error for each chat; all have the same sampling."""
        started = time.monotonic()
        texts = [
            self.tokenizer.apply_chat_template(c.messages, tokenize=False, add_generation_prompt=True) for c in chats
        ]
        window = getattr(self.model.config, "max_position_embeddings", None) or self.tokenizer.model_max_length
        sizes = [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        fit = [index for index, size in enumerate(sizes) if size < window]
        replies: list[Raw | Rejected] = [
            Rejected(f"the question has {size} tokens, the model's window {window}") for size in sizes
        ]
        if not fit:
            return replies
        inputs = self.tokenizer(
            [texts[index] for index in fit], return_tensors="pt", padding=True, add_special_tokens=False
        ).to(self.model.device)
        first, start = chats[fit[0]], inputs["input_ids"].shape[1]
        held = Held(self.guidance, self.grammar, [chats[index] for index in fit], start)
        sampled = {"do_sample": False}
        if first.temperature:  # nothing but what the question says, whatever the model's own settings say
            sampled = {"do_sample": True, "temperature": first.temperature, "top_k": 0, "top_p": first.top_p}
        self.transformers.set_seed(int(hashlib.sha256(first.key.encode()).hexdigest()[:8], 16))
        written = self.model.generate(
            **inputs,
            **sampled,
            max_new_tokens=min(first.limit, window - start),
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            logits_processor=self.transformers.LogitsProcessorList([held]),
        )
        seconds = round(time.monotonic() - started, 3)
        for index, row in zip(fit, written[:, start:].tolist()):
            stop = next((place for place, token in enumerate(row) if token in self.ends), None)
            text = self.tokenizer.decode(row[:stop], skip_special_tokens=True)
            used = len(row) if stop is None else stop + 1
            replies[index] = Raw(text, "length" if stop is None else "stop", sizes[index], used, seconds)
        return replies


class Held:
    """A logits processor: tokens after which a reply could no longer become its schema get probability zero.

    It is given ids (batch, length) and scores (batch, vocabulary) and returns scores.
    """

    def __init__(self, guidance, tokenizer, chats, start):
        self.guidance, self.start, self.tokenizer, self.end = guidance, start, tokenizer, tokenizer.eos_token
        self.matchers = [self._matcher(chat) for chat in chats]
        self.mask = guidance.numpy.allocate_token_bitmask(len(chats), tokenizer.vocab_size)

    def _matcher(self, chat):
        if chat.schema is None:
            return None
        schema = {"x-guidance": COMPACT, **chat.json_schema}
        return self.guidance.LLMatcher(
            self.tokenizer, self.guidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        )

    def __call__(self, ids, scores):
        last = ids[:, -1].tolist() if ids.shape[1] > self.start else [None] * ids.shape[0]
        for row, (matcher, token) in enumerate(zip(self.matchers, last)):
            if matcher is None:
                self.mask[row, :] = -1
                continue
            if token is not None and not matcher.is_stopped():
                matcher.consume_token(token)
            if matcher.is_stopped():  # the object is complete: nothing but the end may follow
                self.mask[row, :] = 0
                self.mask[row, self.end // 32] = 1 << (self.end % 32) if self.end % 32 < 31 else -(2**31)
            else:
                self.guidance.numpy.fill_next_token_bitmask(matcher, self.mask, row)
        bits = (self.mask[:, :, None] >> [range(32)]) & 1
        allowed = bits.reshape(self.mask.shape[0], -1)[:, : scores.shape[1]]
        return scores.masked_fill(~scores.new_tensor(allowed).bool(), float("-inf"))


def _sampling(chat):
    return chat.temperature, chat.top_p, chat.limit


def identity(name):
    """A model folder's name with a short digest of what decides its replies, for the key of these; a hub id as it is.

    Taken are the bytes of the files of KINDS. A file over LARGE is read once in a process, while its size and time of
    change stay.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return name
    known = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in KINDS and path.is_file()):
        stat = path.stat()
        state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known.append((path.name, _once(path, state) if stat.st_size > LARGE else _digest(path)))
    return f"{folder.name}@{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]}"


def _digest(path):
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def _once(path, state):
    return _digest(path)
