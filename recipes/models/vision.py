"""What rows with images need beside those of text: a processor, prompts that show them, lengths that count them.

Images stand before the text of the first user turn, in training (TRL's `prepare_multimodal_messages`) as in the test
(lm-eval's `<image>`), so both ask alike.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, cast

from transformers import AutoProcessor, ProcessorMixin

from recipes.base.errors import RecipeError
from recipes.config.schema import Model
from recipes.models.loader import load_tokenizer, location, quiet, sees, take_chat_form, unreachable


def shown(rows: list[dict]) -> bool:
    """Whether any row has an image."""
    return any(row.get("images") for row in rows)


def refuse(rows: list[dict], where: str, got: str, allowed: str) -> None:
    """Raises RecipeError if any row has an image, where `got` in the place `where` reads text only."""
    if shown(rows):
        raise RecipeError(
            "the rows have images, and this cannot look at them",
            where=where,
            got=got,
            allowed=allowed,
            fix=f"choose {allowed}, or a view of the data that is text",
        )


def load_reader(model: Model, rows: list[dict]):
    """What turns `rows` into tokens: the tokenizer, or the model's processor where a row has images.

    Raises:
        RecipeError: rows have images and the model is for text, packages of the extra [vlm] are missing, or an image is
            not there.
    """
    if not shown(rows):
        return load_tokenizer(model)
    if not sees(model):
        raise RecipeError(
            "the rows have images and the base model reads text only",
            where="model.name",
            got=model.name,
            allowed="a vision-language model, such as Qwen/Qwen2.5-VL-7B-Instruct",
            fix="choose such a base, or a view of the data that is text",
        )
    absent = [name for name in ("PIL", "torchvision") if importlib.util.find_spec(name) is None]
    if "PIL" in absent:
        raise without_extra(absent)
    lost = [image for row in rows for image in row.get("images", ()) if not Path(image).is_file()]
    if lost:
        raise RecipeError(
            "images of the rows are not there",
            where=lost[0],
            got=f"{len(lost)} missing",
            allowed="files of the data artefact",
            fix="build the data again: run with --until data --fresh",
        )
    return load_processor(model, absent)


def load_processor(model: Model, absent=()) -> ProcessorMixin:
    """The processor, padding left, with a chat template, a pad token and the end token of a turn; `absent`: packages
    that it may lack."""
    quiet()
    try:
        processor = AutoProcessor.from_pretrained(
            location(model), revision=model.revision, trust_remote_code=model.trust_remote_code, padding_side="left"
        )
    except (OSError, ValueError, ImportError, AttributeError) as error:
        # Without torchvision transformers fails on processors that read video too, in several ways.
        raise (without_extra(absent) if absent else unreachable(model, "processor", error)) from error
    processor.chat_template = processor.chat_template or processor.tokenizer.chat_template
    take_chat_form(processor, model)
    return processor


def without_extra(absent) -> RecipeError:
    return RecipeError(
        "images need packages that are not installed",
        where="model.name",
        got=f"no {' and no '.join(absent)}",
        allowed="Pillow, and torchvision of the release that fits torch",
        fix="pip install -c constraints.txt -e '.[vlm]', or choose a view of the data that is text",
    )


def with_images(examples: list[dict], rows: list[dict], lengths: list[int] | None = None) -> list[dict]:
    """`examples` for a trainer, each made of the row beside it, with the images; as they are where no row has any.

    `lengths` (tokens a row) is what only the processor could tell: the trainer groups rows by it.
    """
    if not shown(rows):
        return examples
    more = [{"images": list(row.get("images", ()))} for row in rows]
    if lengths is not None:
        more = [each | {"length": length} for each, length in zip(more, lengths, strict=True)]
    return [example | each for example, each in zip(examples, more, strict=True)]


def text_of(processor, turns: list[dict], images, **more) -> str:
    """Turns and images in the chat template's form, one placeholder for each image."""
    from trl.data_utils import prepare_multimodal_messages  # a slow import, which texts do not need

    turns = prepare_multimodal_messages(turns, images=list(images))
    return processor.apply_chat_template(turns, tokenize=False, **more)


def lengths_of(processor, rows: list[dict]) -> list[int]:
    """Tokens of every row (prompt and completion), those that stand for its images included."""

    @cache
    def growth(size):
        """What an image of that size adds to the tokens of its placeholder."""
        from PIL import Image

        image = Image.new("RGB", size)
        text = text_of(processor, [{"role": "user", "content": ""}], [image])
        seen = processor(images=[[image]], text=[text], add_special_tokens=False)["input_ids"][0]
        return len(seen) - len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    texts = [text_of(processor, row["prompt"] + row["completion"], row.get("images", ())) for row in rows]
    plain = processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [
        len(ids) + sum(growth(size_of(image)) for image in row.get("images", ()))
        for ids, row in zip(plain, rows, strict=True)
    ]


@cache
def size_of(image: str) -> tuple[int, int]:
    """Width and height in pixels, from the head of the file."""
    from PIL import Image

    with Image.open(image) as opened:
        return opened.size


def prompts_of(reader, rows: list[dict], model):
    """The prompts of some rows as one batch for `model` to generate from, padded left, where it is and in its dtype."""
    prompts = [row["prompt"] for row in rows]
    if isinstance(reader, ProcessorMixin):
        images = [list(row.get("images", ())) for row in rows]
        texts = [
            text_of(reader, turns, seen, add_generation_prompt=True)
            for turns, seen in zip(prompts, images, strict=True)
        ]
        batch = cast(Any, reader)(  # its types do not know the keywords of its tokenizer
            images=images if any(images) else None,
            text=texts,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        )
        return batch.to(model.device, model.dtype)
    texts = reader.apply_chat_template(prompts, tokenize=False, add_generation_prompt=True)
    batch = reader(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    batch.pop("token_type_ids", None)
    return batch


def batches_of(processor, rows: list[dict], device, size: int) -> list[dict]:
    """Batches of rows with prompt, reply and perhaps images, with labels that hold the reply's tokens.

    Rows with and without images never share a batch.
    """
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    collate = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)
    batches = []
    for some in ([row for row in rows if row.get("images")], [row for row in rows if not row.get("images")]):
        examples = [
            {
                "prompt": row["prompt"],
                "completion": [{"role": "assistant", "content": row["reply"]}],
                "images": list(row.get("images", ())),
            }
            for row in some
        ]
        batches += [collate(examples[n : n + size]).to(device) for n in range(0, len(examples), size)]
    return batches
