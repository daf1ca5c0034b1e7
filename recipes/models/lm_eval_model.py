"""lm-eval's own transformers models around a loaded one, with our progress bar in place of theirs; and a model of
lm-eval that looks replies up before it asks one of those."""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, cast

from transformers import ProcessorMixin

from recipes.base.hashing import fingerprint
from recipes.models.answering import Answering
from recipes.models.chat_form import chat_form_of, decode_reply
from recipes.models.replies import KeptReplies, ReplyStore

BATCHES = 4  # of a chunk, which is written when it is whole: what a kill costs at most


def make_scorer(model: Any, reader: Any, batch_size: int, data: Path | None = None) -> Any:
    """lm-eval's model for texts, or where `reader` is a processor the one that is shown the images of a document too.

    `data` is the folder in which images lie. `tokens` counts what was read and written, `bar` is a progress bar.
    """
    kind = make_seeing_kind(reader, data) if isinstance(reader, ProcessorMixin) else make_reading_kind()
    return kind(pretrained=model, tokenizer=reader, batch_size=batch_size, backend="causal")


def make_reading_kind() -> type:
    """`hf` of lm-eval."""
    from lm_eval.models.huggingface import HFLM

    class Scorer(cast(Any, HFLM)):  # registering makes a bare LM of it, as far as its types tell
        bar, tokens = None, 0

        def tok_decode(self, tokens, skip_special_tokens=True):
            if skip_special_tokens:  # a reply
                return decode_reply(self.tokenizer, tokens)
            return super().tok_decode(tokens, skip_special_tokens)

        def generate_until(self, requests, disable_tqdm=True):
            return super().generate_until(requests, disable_tqdm=True)

        def _model_generate(self, context, max_length, stop, **kwargs):
            return count_tokens(self, super()._model_generate(context, max_length, stop, **kwargs))

    return Scorer


def count_tokens(scorer: Any, replies: Any) -> Any:
    """`replies` as they are, counted and shown."""
    scorer.tokens += replies.numel()
    scorer.bar.advance(len(replies))
    return replies


class Pictures(tuple):
    """Paths of images, each opened when it is looked at: lm-eval takes up all requests before the first batch."""

    def __iter__(self):
        from PIL import Image

        for path in super().__iter__():
            with Image.open(path) as image:
                yield image.convert("RGB")


def make_seeing_kind(processor: Any, data: Path | None) -> type:
    """`hf-multimodal` of lm-eval for documents with and without images in one run."""
    from dataclasses import replace

    from lm_eval.models.hf_vlms import HFMultimodalLM

    class SeeingScorer(cast(Any, HFMultimodalLM)):  # see `make_reading_kind`
        bar, tokens = None, 0

        def tok_decode(self, tokens, skip_special_tokens=True):
            if skip_special_tokens:  # a reply
                return decode_reply(self.tokenizer, tokens)
            return super().tok_decode(tokens, skip_special_tokens)

        def _create_tokenizer(self, *args, **kwargs):
            # lm-eval's own gives a processor back and keeps none.
            self.processor, self.tokenizer = processor, processor.tokenizer

        def generate_until(self, requests, disable_tqdm=True):
            """Documents show their images whatever their task is, so one task file serves texts and pictures."""
            self.chat_applied = True  # before the requests came here
            replies = {}
            for looking in (True, False):
                some = {n: each for n, each in enumerate(requests) if bool(each.doc.get("images")) == looking}
                asked = [with_images(each, data) if looking else each for each in some.values()]
                replies |= zip(some, super().generate_until(asked, disable_tqdm=True) if asked else (), strict=True)
            return [replies[n] for n in range(len(requests))]

        def tok_batch_multimodal_encode(self, strings, images, **_):
            """As TRL encodes a prompt: no tokens that the chat template did not write, and none cut off, because an
            image without all of its tokens is none."""
            encoded = self.processor(
                images=images,
                text=strings,
                padding=True,
                padding_side="left",
                add_special_tokens=False,
                return_tensors="pt",
            )
            return encoded.to(self.device, self.model.dtype)

        def _model_generate(self, context, max_length, stop, **kwargs):
            return count_tokens(self, super()._model_generate(context, max_length, stop, **kwargs))

        def _model_multimodal_generate(self, inputs, max_length, stop, **kwargs):
            return count_tokens(self, super()._model_multimodal_generate(inputs, max_length, stop, **kwargs))

    def with_images(request, data):
        pictures = Pictures(data / image for image in request.doc["images"])
        return replace(request, arguments=(*request.args, {"visual": pictures}))

    return SeeingScorer


def make_stored(
    reader: Any,
    store: ReplyStore,
    open_scorer: Callable[[], AbstractContextManager[Any]],
    answering: Answering,
    method: Any,
    seed: int,
    batch_size: int,
    grades: Mapping[str, Any],
) -> Any:
    """lm-eval's model that gives the replies that are kept, and asks for those that are missing.

    Prompts are rendered as lm-eval's own model for `reader` does; a model is loaded when the first reply is missing.

    Args:
        open_scorer: gives a `make_scorer` with the model active.
        method: what the way of answering is, in JSON's own types; None for plain answers.
        grades: task -> versions of the graders that it uses, by which a choice among replies may go.
    """
    from lm_eval.models.hf_vlms import HFMultimodalLM
    from lm_eval.models.huggingface import HFLM

    kind = HFMultimodalLM if isinstance(reader, ProcessorMixin) else HFLM
    form = chat_form_of(reader)
    read_by = {"opened": form.opened, "before": form.before, "between": form.between, "plain": form.plain}
    marks = {"marks": read_by} if form.channel or form.plain.strip() else {}  # by which what is kept was read

    class Stored(kind):  # for the rendering of prompts alone
        def __init__(self):
            self._rank, self._world_size, self._max_length = 0, 1, None
            self.chat_template_args: dict[str, Any] = {}
            self.tokenizer = getattr(reader, "tokenizer", reader)
            if kind is HFMultimodalLM:
                self.processor, self.interleave, self.max_images = reader, True, 999
            self.bar, self.tokens, self.asked, self.kept = None, 0, 0, 0
            self.timed: dict[str, tuple[int, float]] = {}  # task -> replies that were asked, their seconds

        @property
        def max_length(self) -> None:
            return None

        def get_model_info(self) -> dict[str, Any]:
            return {}

        def generate_until(self, requests, disable_tqdm=True):
            drawn = self._ask("generate_until", requests, answering.samples)
            return self._choose(requests, drawn)

        def loglikelihood(self, requests, disable_tqdm=True):
            found = self._ask("loglikelihood", requests, 1)
            return [(float(chance), bool(greedy)) for [[chance, greedy]] in found]

        def loglikelihood_rolling(self, requests, disable_tqdm=True):
            return [chance for [chance] in self._ask("loglikelihood_rolling", requests, 1)]

        def _ask(self, what: str, requests: list[Any], samples: int) -> list[list[Any]]:
            """The replies to each request, `samples` to each, from the store or from the model."""
            by_task = defaultdict(list)
            for place, request in enumerate(requests):
                by_task[request.task_name] += [place] * samples
            found: list[list[Any]] = [[] for _ in requests]
            with ExitStack() as stack:
                open_ones: list[Any] = []

                def scorer() -> Any:
                    if not open_ones:
                        open_ones.append(stack.enter_context(open_scorer()))
                        open_ones[0].bar, open_ones[0].tokens = self.bar, 0
                    return open_ones[0]

                for task, places in by_task.items():
                    if what == "generate_until":  # the longest first, as lm-eval sorts them
                        places = sorted(places, key=lambda place: (-len(requests[place].args[0]), place))
                    about = describe_requests(what, [requests[n] for n in places], method, seed)
                    kept = store.open(task, about | marks)
                    self.kept += len(kept.values)
                    self._complete(task, what, [requests[n] for n in places], kept, scorer)
                    for place, reply in zip(places, kept.values, strict=True):
                        found[place].append(reply)
                self.tokens += sum(one.tokens for one in open_ones)
            return found

        def _complete(self, task: str, what: str, requests: list[Any], kept: KeptReplies, scorer: Any) -> None:
            """Ask what is missing, chunk by chunk, each from a seed of its own."""
            import torch

            for start in chunks_from(len(kept.values), requests, batch_size * BATCHES):
                some = requests[start[0] : start[1]]
                digest = hashlib.sha256(f"{seed}/{task}/{start[0]}".encode()).digest()
                torch.manual_seed(int.from_bytes(digest[:4]))
                ask = getattr(scorer(), what)  # loads the model: no part of what a reply takes
                began = time.monotonic()
                kept.append([as_json(reply) for reply in ask(some, disable_tqdm=True)])
                asked, seconds = self.timed.get(task, (0, 0.0))
                self.timed[task] = (asked + len(some), seconds + time.monotonic() - began)
                self.asked += len(some)

        def _choose(self, requests: list[Any], drawn: list[list[str]]) -> list[str]:
            """The reply to each request that counts."""
            if answering.choose is None:
                return [replies[0] for replies in drawn]
            if not answering.decided_by:
                return [answering.choose(r.doc, some) for r, some in zip(requests, drawn, strict=True)]
            by_task, found = defaultdict(list), {}
            for place, request in enumerate(requests):
                by_task[request.task_name].append(place)
            for task, places in by_task.items():
                replies = fingerprint([drawn[place] for place in places])
                about = describe_requests("choose", [requests[n] for n in places], method, seed)
                kept = store.open(task, [about, replies, list(answering.decided_by), grades.get(task)])
                for start, end in chunks_from(len(kept.values), places, batch_size * BATCHES):
                    kept.append([answering.choose(requests[n].doc, drawn[n]) for n in places[start:end]])
                found |= dict(zip(places, kept.values, strict=True))
            return [found[place] for place in range(len(requests))]

    return Stored()


def make_given(reader: Any, replies: dict[str, str]) -> Any:
    """lm-eval's model that gives replies by rule: {id of a document: reply}."""
    from lm_eval.models.huggingface import HFLM

    class Given(cast(Any, HFLM)):  # see `make_reading_kind`
        def __init__(self):
            self._rank, self._world_size, self.tokenizer = 0, 1, getattr(reader, "tokenizer", reader)
            self.chat_template_args: dict[str, Any] = {}
            self.bar, self.tokens, self.asked, self.kept = None, 0, 0, 0

        @property
        def max_length(self) -> None:
            return None

        def get_model_info(self) -> dict[str, Any]:
            return {}

        def generate_until(self, requests, disable_tqdm=True):
            return [replies[request.doc["id"]] for request in requests]

    return Given()


def describe_requests(what: str, requests: list[Any], method: Any, seed: int) -> dict[str, Any]:
    """All that decides the replies to some requests beside the model: prompts, images (whose names are digests of what
    they hold), generation arguments, the way of answering, and the seed where replies are sampled."""
    asked = [[*map(as_json, request.args), list(image_names(request))] for request in requests]
    options = [arguments for request in requests for arguments in request.args if isinstance(arguments, dict)]
    sampled = any(arguments.get("do_sample") for arguments in options)
    return {
        "kind": what,
        "requests": fingerprint(asked),
        "count": len(requests),
        "method": method,
        "seed": seed if sampled else None,
    }


def image_names(request: Any) -> list[str]:
    """Names of the images that a document shows."""
    return (request.doc.get("images") or []) if isinstance(request.doc, dict) else []


def as_json(value: Any) -> Any:
    """A value of lm-eval in JSON's own types."""
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {str(key): as_json(each) for key, each in value.items()}
    if value is None or type(value) in (str, int, float, bool):
        return value
    return value.item() if hasattr(value, "item") else str(value)


def chunks_from(done: int, requests: list[Any], size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the chunks that are missing."""
    for start in range(done, len(requests), size):
        yield start, min(start + size, len(requests))
