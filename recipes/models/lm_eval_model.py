"""lm-eval's own transformers models around a loaded one, with our progress bar in place of theirs."""

from pathlib import Path

from transformers import ProcessorMixin


def make_scorer(model, reader, batch_size: int, data: Path | None = None, replies: dict[str, str] | None = None):
    """lm-eval's model for texts, or where `reader` is a processor the one that is shown the images of a document too.

    `data` is the folder in which images lie. With `replies` ({id of a document: reply}) those are given in place of
    the model's. `tokens` counts what was read and written, `bar` is a progress bar.
    """
    kind = seeing(reader, data) if isinstance(reader, ProcessorMixin) else reading()
    scorer = kind(pretrained=model, tokenizer=reader, batch_size=batch_size, backend="causal")
    scorer.replies = replies
    return scorer


def reading():
    """`hf` of lm-eval."""
    from lm_eval.models.huggingface import HFLM

    class Scorer(HFLM):
        bar, tokens, replies = None, 0, None

        def generate_until(self, requests, disable_tqdm=True):
            if self.replies is not None:
                return given(self, requests)
            return super().generate_until(requests, disable_tqdm=True)

        def _model_generate(self, context, max_length, stop, **kwargs):
            return counted(self, super()._model_generate(context, max_length, stop, **kwargs))

    return Scorer


def given(scorer, requests) -> list[str]:
    scorer.bar.advance(len(requests))
    return [scorer.replies[request.doc["id"]] for request in requests]


def counted(scorer, replies):
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


def seeing(processor, data: Path | None):
    """`hf-multimodal` of lm-eval for documents with and without images in one run."""
    from dataclasses import replace

    from lm_eval.models.hf_vlms import HFMultimodalLM

    class SeeingScorer(HFMultimodalLM):
        bar, tokens, replies = None, 0, None

        def _create_tokenizer(self, *args, **kwargs):
            # lm-eval's own gives a processor back and keeps none.
            self.processor, self.tokenizer = processor, processor.tokenizer

        def generate_until(self, requests, disable_tqdm=True):
            """Documents show their images whatever their task is, so one task file serves texts and pictures."""
            if self.replies is not None:
                return given(self, requests)
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
            return counted(self, super()._model_generate(context, max_length, stop, **kwargs))

        def _model_multimodal_generate(self, inputs, max_length, stop, **kwargs):
            return counted(self, super()._model_multimodal_generate(inputs, max_length, stop, **kwargs))

    def with_images(request, data):
        pictures = Pictures(data / image for image in request.doc["images"])
        return replace(request, arguments=(*request.args, {"visual": pictures}))

    return SeeingScorer
