"""A GGUF file as a base: its blocks are unpacked once into a folder of safetensors, which is what everything reads.

x.gguf ──► weights in bfloat16, configuration, tokenizer with its chat template ──► FOLDER/, with the file's digest
"""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.base.hashing import Digests, sample_digest
from recipes.config.schema import Model

MAGIC = b"GGUF"
SOURCE = "gguf.json"  # in the folder: which file it was made from, written last
WEIGHTS = "bases"  # folder beside the runs


def is_gguf(name: str) -> bool:
    """Whether a model name is that of a GGUF file."""
    return name.startswith((".", "/", "~")) and name.endswith(".gguf")


def with_weights(model: Model, runs: Path, say: Callable[[str], None]) -> Model:
    """The table of a base; of a GGUF file that of its weights beside the runs, which are unpacked where they are not
    there yet. Raises RecipeError as `convert_gguf`."""
    if not is_gguf(model.name):
        return model
    path = Path(model.name).expanduser()
    check_gguf(path)
    folder = choose_folder(path, runs)
    if not folder.exists():
        say(f"base      {path.name} is unpacked into {folder}")
    return model.model_copy(update={"name": str(convert_gguf(path, folder).resolve())})


def choose_folder(path: Path, runs: Path) -> Path:
    """Where the weights of a GGUF file lie among the results in `runs`; another file of that name gets another one."""
    size, digest = sample_digest(path).split(":")
    return runs / WEIGHTS / f"{path.stem}-{digest[:8]}-{size}"


def convert_gguf(path: Path, into: Path) -> Path:
    """Write the weights, configuration and tokenizer of a GGUF file to the folder `into`, which is returned.

    A folder that was made from a file of the same content is left as it is. Weights are rounded to bfloat16, in which
    models are published; what blocks of 4 to 8 bits have lost before is more.

    Args:
        path: the file.
        into: the folder; it appears when it is whole.

    Raises:
        RecipeError: the package gguf is not installed, the file is none of GGUF, holds a model that transformers cannot
            read, or the folder holds something else.
    """
    check_gguf(path)
    digest = Digests(into.parent / ".digests.json").of(path)
    if (into / SOURCE).is_file():
        made_from = json.loads((into / SOURCE).read_text(encoding="utf-8"))
        if made_from.get("sha256") == digest:
            return into
    if into.exists():
        raise RecipeError(
            "the folder for the weights of a GGUF file holds something else",
            where=into,
            got=f"no {SOURCE} that names this content of {path}",
            allowed="a folder that is not there yet, or one made from this file",
            fix="remove the folder",
        )
    part = into.with_name(f"{into.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    model, tokenizer = read_gguf(path)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    (part / SOURCE).write_text(json.dumps({"sha256": digest, "bytes": path.stat().st_size}) + "\n", encoding="utf-8")
    part.rename(into)
    return into


def check_gguf(path: Path) -> None:
    """Raises RecipeError where `path` is no GGUF file, or the package that reads it is missing."""
    with_magic = False
    if path.is_file():
        with open(path, "rb") as stream:
            with_magic = stream.read(len(MAGIC)) == MAGIC
    if not with_magic:
        raise RecipeError(
            "not a GGUF file",
            where="model.name",
            got=f"{path} " + ("begins otherwise" if path.is_file() else "is not there"),
            allowed="a file that begins with the letters GGUF",
            fix="correct the path, or download the file again",
        )
    if importlib.util.find_spec("gguf") is None:
        raise RecipeError(
            "a GGUF file needs the package gguf",
            where="model.name",
            got=path,
            allowed="a folder of safetensors or a hub id on this machine",
            fix="pip install -c constraints.txt gguf",
        )


def read_gguf(path: Path) -> tuple[Any, Any]:
    """(model in bfloat16, tokenizer) of a GGUF file.

    Raises:
        RecipeError: transformers cannot read it, or finds no weights in it for a part of the model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        if width := read_head_width(path):  # transformers 5.23 takes the default of the architecture
            config.head_dim = width
        model, told = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            config=config,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
        if lacking := sorted(told["missing_keys"]):
            raise ValueError(f"no weights for {len(lacking)} tensors of the model, such as {lacking[0]}")
    except Exception as error:  # of any kind, for a damaged file fails anywhere in the reader
        raise unreadable(path, "weights", error) from error
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, read_tokenizer(path)


def read_head_width(path: Path) -> int | None:
    """Numbers in a key of one attention head, where the file says so."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    width = fields.get(f"{fields['general.architecture'].contents()}.attention.key_length")
    return None if width is None else int(width.contents())


def read_tokenizer(path: Path) -> Any:
    """The tokenizer of a GGUF file, with the chat template that it holds. Raises RecipeError as `read_gguf`."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, padding_side="left")
    except Exception as error:
        raise unreadable(path, "tokenizer", error) from error


def unreadable(path: Path, part: str, error: Exception) -> RecipeError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return RecipeError(
        f"the {part} of a GGUF file cannot be read",
        where="model.name",
        got=f"{path}: {reason}",
        allowed="a whole file of one of the architectures that transformers reads from GGUF",
        fix="download the file again, or name the model as it was published in safetensors",
    )
