"""Load base models, tokenizers and adapters: safetensors only, foreign code only where the recipe says so."""

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.import_utils import KERNELS_MAX_VERSION, KERNELS_MIN_VERSION, is_kernels_available

from recipes.base.errors import RecipeError
from recipes.config.schema import Model, model_folder
from recipes.models.adapter_methods import is_mergeable, register_adapter
from recipes.models.base_files import check_base
from recipes.models.chat_form import chat_form_of, set_chat_form
from recipes.models.chat_template import read_template, take_template
from recipes.models.gguf import is_gguf, read_tokenizer
from recipes.models.kv_cache import reply_in_place

if TYPE_CHECKING:
    from peft import PeftModel

logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)  # it speaks of kernels for other devices when imported
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def quiet() -> None:
    """Silence the libraries' own progress bars and notices: the stage's bar is the one place to look."""
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def fast_bf16() -> bool:
    """Whether bf16 matrix products run in hardware here: a GPU from Ampere on, a CPU with AMX or AVX512-BF16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def choose_dtype(model: Model) -> torch.dtype:
    """`auto` is bfloat16 on a GPU that has it in hardware, and float32 elsewhere.

    On a CPU master weights in float32 cost little, and greedy answers stay reproducible. Older GPUs (T4, V100) emulate
    bfloat16 slower than they run float32, and training in float16 would need a scaled loss.
    """
    if model.dtype != "auto":
        return DTYPES[model.dtype]
    return torch.bfloat16 if torch.cuda.is_available() and fast_bf16() else torch.float32


def choose_attention(model: Model, training: bool = False) -> str:
    """`auto` is flash-attn where it imports on a GPU, else SDPA; for training in bf16 on a CPU it is plain matrix
    products ("eager"), which run in hardware there while SDPA's bf16 kernel does not. A kernel of the hub is handed on
    to transformers by its name; none has been tried here on a GPU.

    Raises:
        RecipeError: flash_attention_2 or a kernel of the hub was asked for by name and cannot run here.
    """
    # FlashAttention-2 runs on the GPUs that have bf16 and on no older ones
    flash = importlib.util.find_spec("flash_attn") is not None and torch.cuda.is_available() and fast_bf16()
    if model.attn == "auto":
        plain = training and device() == "cpu" and fast_bf16()
        return "flash_attention_2" if flash else "eager" if plain else "sdpa"
    if "/" in model.attn and not is_kernels_available():
        raise RecipeError(
            "a kernel of the hub cannot be loaded here",
            where="model.attn",
            got=model.attn,
            allowed="auto, sdpa or eager on this machine",
            fix=f"pip install 'kernels>={KERNELS_MIN_VERSION},<{KERNELS_MAX_VERSION}', or set model.attn = \"auto\"",
        )
    if model.attn == "flash_attention_2" and not flash:
        raise RecipeError(
            "flash attention cannot run here",
            where="model.attn",
            got="flash_attention_2",
            allowed="auto, sdpa or eager on this machine",
            fix='install the extra `flash` on a machine with a GPU from Ampere on, or set model.attn = "auto"',
        )
    return model.attn


def location(model: Model) -> str:
    """What `from_pretrained` gets: a folder that exists, or a hub id."""
    folder = model_folder(model.name)
    if folder is None:
        return model.name
    if not Path(folder, "config.json").is_file():
        raise RecipeError(
            "the base model is not there",
            where="model.name",
            got=f"{model.name} ({folder} has no config.json)",
            allowed='"embedded", a folder written by save_pretrained, or a hub id owner/name',
            fix="correct the path; a folder starts with ./ or / or ~",
        )
    return str(folder)


def unreachable(model: Model, what: str, error: Exception) -> RecipeError:
    reason = " ".join(str(error).split())[:300]
    return RecipeError(
        f"the {what} cannot be loaded",
        where="model.name",
        got=f"{model.name}: {reason}",
        allowed=(
            '"embedded", a folder with config.json, *.safetensors and tokenizer files, '
            "or a hub id that this machine can reach"
        ),
        fix="check the name and the network; weights in pickle files (.bin) are refused, convert them to safetensors",
    )


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The tokenizer, padding left, with a pad token, and with the token that ends a reply as its end token.

    Raises:
        RecipeError: it cannot be loaded, it has no chat template, or one whose replies cannot be learnt.
    """
    quiet()
    if is_gguf(model.name):
        tokenizer = read_tokenizer(Path(model.name).expanduser())
    else:
        where = location(model)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                where, revision=model.revision, trust_remote_code=model.trust_remote_code, padding_side="left"
            )
        except (OSError, ValueError) as error:
            raise unreachable(model, "tokenizer", error) from error
    take_chat_form(tokenizer, model)
    return tokenizer


def describe_template(model: Model) -> str:
    """Which chat template a base has and how it is used, in words. Raises RecipeError as `load_tokenizer`."""
    form = chat_form_of(load_tokenizer(model))
    how = f"mended: {'; '.join(form.mended)}" if form.mended else "held as it is"
    return f"chat template {form.template}, {how}; a reply ends with {form.end}, a document with {form.document_end}"


def take_chat_form(reader: Any, model: Model) -> None:
    """Set a tokenizer or processor to the chat template of the recipe, or else its own.

    Raises:
        RecipeError: there is none, or its replies cannot be learnt (see `set_chat_form`).
    """
    if model.chat_template:
        take_template(reader, model.chat_template)
    if not read_template(reader):
        raise RecipeError(
            "the model has no chat template",
            where="model.name",
            got=f"{model.name}: {type(reader).__name__} without chat_template",
            allowed="an instruct model, or model.chat_template",
            fix='choose the instruct variant, or set model.chat_template = "NAME" or "./FILE.jinja" (docs/models.md)',
        )
    set_chat_form(reader, model.chat_template)


def stop_with(tokenizer: PreTrainedTokenizerBase, model) -> None:
    """Let `model.generate` stop at the tokenizer's end token too, beside those at which it stops already."""
    config = model.generation_config
    known = config.eos_token_id
    known = [] if known is None else [known] if isinstance(known, int) else known
    if tokenizer.eos_token_id not in known:
        config.eos_token_id = [tokenizer.eos_token_id, *known]


def sees(model: Model) -> bool:
    """Whether the base has a vision tower: transformers knows it as an image-text-to-text model."""
    try:
        config = AutoConfig.from_pretrained(
            location(model), revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise unreachable(model, "model", error) from error
    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def four_bits() -> dict[str, str | bool]:
    """What bitsandbytes is asked for by model.quantization = "nf4": QLoRA's settings (arXiv 2305.14314)."""
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16" if fast_bf16() else "float32",
    }


def load_base(model: Model, training: bool = False) -> PreTrainedModel:
    """The base model in the dtype, attention and quantization of the recipe, on the GPU where there is one.

    Args:
        training: whether it is loaded for supervised training, which on a CPU has an attention kernel of its own.

    Raises:
        RecipeError: it cannot be loaded, or bitsandbytes is missing for nf4.
    """
    quantization = None
    if model.quantization == "nf4":
        if importlib.util.find_spec("bitsandbytes") is None:
            raise RecipeError(
                "4-bit weights need bitsandbytes",
                where="model.quantization",
                got="nf4",
                allowed="none on this machine",
                fix='pip install bitsandbytes, or set model.quantization = "none"',
            )
        quantization = BitsAndBytesConfig(**four_bits())
    kind = AutoModelForImageTextToText if sees(model) else AutoModelForCausalLM
    try:
        base = kind.from_pretrained(
            location(model),
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            use_safetensors=True,
            dtype=choose_dtype(model),
            attn_implementation=choose_attention(model, training),
            allow_all_kernels=model.trust_remote_code,
            quantization_config=quantization,
            device_map={"": device()},
        )
    except (OSError, ValueError) as error:
        raise unreachable(model, "model", error) from error
    if device() == "cpu":
        reply_in_place(base)
        if quantization is not None:
            keep_differentiable(base)
    return base


def every_weight(base: PreTrainedModel, model: Model) -> PreTrainedModel:
    """`base` ready to learn with every weight: in float32, unless the recipe names another dtype.

    A bf16 weight has eight bits: what a step of a usual learning rate adds to it is lost in rounding. The products run
    in bf16 all the same where the hardware has it.
    """
    return base.float() if model.dtype == "auto" else base


def keep_differentiable(base) -> None:
    """Keep 4-bit weights in the layout that gradients flow through.

    On a CPU with AVX512-BF16 bitsandbytes packs them anew at the first pass in eval mode (a reply, a reference), for a
    kernel without a backward pass, and never back: what is trained after that gets wrong gradients without an error.
    """
    import bitsandbytes

    for module in base.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def unwrapped(model):
    """The model inside a DDP wrapper."""
    return model.module if isinstance(model, torch.nn.parallel.DistributedDataParallel) else model


def causal_lm(model):
    """The causal language model inside DDP and peft wrappers."""
    model = unwrapped(model)
    return model.get_base_model() if hasattr(model, "peft_config") else model


def load_adapters(base: PreTrainedModel, folders: dict[str, Path], trainable: bool = False) -> "PeftModel":
    """`base` with the named adapters on it; the first one is active.

    Args:
        folders: adapter name -> folder written by peft (safetensors).
        trainable: whether the adapters go on learning.
    """
    from peft import PeftModel

    for folder in folders.values():
        register_adapter(folder)
    (first, folder), *others = folders.items()
    model = PeftModel.from_pretrained(base, str(folder), adapter_name=first, is_trainable=trainable)
    for name, folder in others:
        model.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
    model.set_adapter(first)
    return model


def load_reached(
    whole: Model, adapter: Path | None, training: bool = False, trainable: bool = False
) -> "PreTrainedModel | PeftModel":
    """The model that a run has come to, from what `trained.start` says of it: the whole model, its adapter on it.

    Args:
        adapter: folder of the adapter, which is then called "default"; None for the whole model alone.
        training: whether it is loaded for supervised training (see `load_base`).
        trainable: whether the adapter goes on learning.
    """
    if adapter is not None:
        check_base(whole, adapter)
    model = load_base(whole, training)
    return model if adapter is None else load_adapters(model, {"default": adapter}, trainable)


def mergeable(model: torch.nn.Module) -> bool:
    """Whether the adapters, if there are any, can become part of the weights."""
    return all(is_mergeable(config) for config in getattr(model, "peft_config", {}).values())
