"""The checkpoint of a finished step, ready to answer. Used by `chat` and `export`."""

from collections.abc import Sequence
from typing import Any, cast

from recipes.artifacts import store
from recipes.artifacts.lineage import Inputs, list_models, start
from recipes.artifacts.steps import line_of
from recipes.base.errors import RecipeError
from recipes.config.schema import Recipe


def choose(job: Any, wanted: str | None) -> tuple[str, Inputs]:
    """(step, the results that its model is made of) for `wanted`, "base" or a step; the last trained for None.

    Raises:
        RecipeError: that step has no finished model.
    """
    done, known = store.latest(job.home), {step.name: step for step in job.recipe.steps}
    if wanted == "base":
        return "base", Inputs({})
    models = [name for name in list_models(done) if name in known]
    if wanted is None and models:
        wanted = models[-1]
    if wanted not in models:
        raise RecipeError(
            "there is no such result yet",
            where=str(job.home),
            got=wanted or "no trained step",
            allowed=", ".join(["base", *models]),
            fix=job.command,
        )
    line = line_of(known[wanted], known)
    return wanted, Inputs({name: done[name] for name in line}, {wanted: line})


def load(recipe: Recipe, done: Inputs, rows: Sequence[dict[str, Any]] = ()) -> tuple[Any, Any]:
    """(model, its tokenizer, or its processor where any of `rows` has images) that the steps in `done` came to; the
    base model where there is none."""
    from recipes.models import loader, vision

    model = loader.load_reached(*start(recipe.model, done))
    reader = vision.load_reader(recipe.model, rows)
    loader.stop_with(cast(Any, getattr(reader, "tokenizer", reader)), model)
    return model.eval(), reader


def reply(model: Any, reader: Any, rows: list[dict[str, Any]], limit: int) -> list[str]:
    """Greedy replies, at most `limit` tokens each, to rows with a prompt (chat messages) and perhaps images, in one
    batch."""
    import torch

    from recipes.models import vision
    from recipes.models.chat_form import decode_reply

    batch = vision.prompts_of(reader, rows, model)
    pad = getattr(reader, "tokenizer", reader).pad_token_id
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=limit, do_sample=False, pad_token_id=pad)
    return [decode_reply(reader, ids).strip() for ids in out[:, batch["input_ids"].shape[1] :].tolist()]
