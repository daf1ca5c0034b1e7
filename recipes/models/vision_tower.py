"""The vision tower of a model that sees: kept out of the training, and shown to be as it was, unless it is to learn."""

import hashlib
import re
from contextlib import contextmanager

import torch

from recipes.base.errors import RecipeError
from recipes.models.loader import causal_lm


def adapter_targets(base, target: tuple[str, ...], vision: str) -> str | list[str]:
    """peft's `target_modules` for `sft.target` on this base.

    In a model that sees, names such as gate_proj, and "all-linear" more so, are found in the vision tower too. While
    that is "frozen" the target is a regular expression for the language model alone, made of where it stands.
    """
    everywhere = target == ("all-linear",)
    if vision == "tuned" or not weights(base):
        return target[0] if everywhere else list(target)
    decoder = base.get_decoder()
    path = next(name for name, module in base.named_modules() if module is decoder)
    names = target
    if everywhere:
        linear = [name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)]
        names = sorted({name.rpartition(".")[2] for name in linear})
    return rf"{re.escape(path)}\.(.*\.)?({'|'.join(map(re.escape, names))})"


def weights(model) -> dict[str, torch.nn.Parameter]:
    """Parameters of the vision tower and of what joins it to the language model: all but the language model's, its
    head's and a value head's. None where a model reads text only."""
    core = causal_lm(model).base_model
    language = {id(weight) for weight in causal_lm(model).get_decoder().parameters()}
    head = causal_lm(model).get_output_embeddings()
    language |= {id(weight) for weight in head.parameters()} if head is not None else set()
    return {name: weight for name, weight in core.named_parameters() if id(weight) not in language}


def freeze(model, vision: str) -> None:
    """Let the vision tower learn nothing, unless `vision` is "tuned"."""
    if vision == "frozen":
        for weight in weights(model).values():
            weight.requires_grad_(False)


@contextmanager
def untouched(model, vision: str):
    """Holds a training to its word: where `vision` is "frozen", nothing in the vision tower learns or changes inside.

    Raises:
        RecipeError: before, if a weight or an adapter of the tower would learn; after, if a byte of it differs.
    """
    if vision == "tuned" or not weights(model):
        yield
        return
    learning = [name for name, weight in weights(model).items() if weight.requires_grad]
    if learning:
        raise touched(f"{len(learning)} tensors that learn, such as {learning[0]}")
    before = digest(model)
    yield
    if digest(model) != before:
        raise touched("other weights than before the training")


def touched(got: str) -> RecipeError:
    return RecipeError(
        "the vision tower is not left as it is",
        where='model.vision = "frozen"',
        got=got,
        allowed="adapters inside the language model only",
        fix='set sft.target to names of its layers, or model.vision = "tuned"',
    )


def digest(model) -> str:
    """SHA-256 of every byte of the vision tower."""
    found = hashlib.sha256()
    for name, weight in sorted(weights(model).items()):
        found.update(name.encode())
        found.update(weight.detach().reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return found.hexdigest()
