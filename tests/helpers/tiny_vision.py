"""A random model of two small layers each for picture and text, and rows with pictures, for tests of models that see.

Its processor needs Pillow but not torchvision, as that of Qwen2.5-VL does.
"""

import io
import json

import torch
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
)

from data_builders.core.schema import store_image, write_rows
from recipes.base.hashing import stable_id
from recipes.base.places import LAB_MODEL
from recipes.base.rows import GradedRow, SftRow

SIDE, PATCH = 28, 14  # pixels of the picture that the model sees, and of its patches: 4 tokens
COLOURS = {"black": 0, "grey": 128, "white": 255}
TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{ message.content }}{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{ '<image>' }}{%- else %}{{ part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{ '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
TEXT = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)


def seeing(folder):
    """The model and its processor in a folder, for `model.name`."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = AutoTokenizer.from_pretrained(LAB_MODEL, padding_side="left")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.chat_template = TEMPLATE
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, do_center_crop=True
    )
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=PATCH,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=SIDE,
                patch_size=PATCH,
                projection_dim=16,
            ),
            text_config=Qwen3Config(vocab_size=len(tokenizer), head_dim=16, eos_token_id=2, pad_token_id=0, **TEXT),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_select_strategy="default",
            vision_feature_layer=-1,
        )
    ).save_pretrained(folder)
    return folder


def qwen():
    """Qwen2.5-VL in small: its vision tower has layers of the names that the language model has too."""
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=dict(vocab_size=64, rope_parameters=rope, **TEXT),
            vision_config=dict(
                depth=2,
                hidden_size=32,
                intermediate_size=48,
                num_heads=2,
                out_hidden_size=32,
                fullatt_block_indexes=[1],
            ),
        )
    )


def picture(shade, size=(40, 40)):
    """A PNG of one shade of grey."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", size, shade).save(file, format="png")
    return file.getvalue()


def iterate_jsonl(out, count=12):
    """(sft rows, graded rows) about the shade of one picture, of two for every fourth row, of none for every fifth."""
    out.mkdir(parents=True, exist_ok=True)
    sft, graded = [], []
    for n in range(count):
        answer = list(COLOURS)[n % 3]
        images = tuple(store_image(out, picture(COLOURS[answer], (40 + k, 40))) for k in range(1 + (n % 4 == 3)))
        images = () if n % 5 == 4 else images
        shared = dict(
            question=f"Question {n}: which shade?",
            options=tuple(COLOURS),
            options_as="unlisted",
            thinking="I look.",
            solution=f"It is {answer}.",
            answer=answer,
            kind="shade",
            node_id=f"node {n}",
            family="shades",
            images=images,
        )
        sft.append(SftRow(id=stable_id("sft", n), **shared))
        graded.append(GradedRow(id=stable_id("graded", n), grader="text", **shared))
    return sft, graded


def data(out, count=12):
    """A data artefact's files under `out`."""
    sft, graded = iterate_jsonl(out, count)
    write_rows(out / "sft.jsonl", sft)
    write_rows(out / "rl.jsonl", [row for row in graded if row.images])  # TRL mixes no kinds in a rollout
    write_rows(out / "test.jsonl", graded)
    (out / "card.json").write_text(json.dumps({}))
    return out
