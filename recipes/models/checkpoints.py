"""Load what a run left: the model of a stage, ready to answer. Used by `chat` and `export`."""

from pathlib import Path

from recipes.artifacts import store
from recipes.artifacts.lineage import TRAINED, start
from recipes.base.errors import RecipeError


def choose(job, wanted: str | None) -> tuple[str, dict[str, Path]]:
    """(stage, {stage: artefact folder} up to it) for `wanted`, "base" or one of TRAINED; the last trained for None.

    Raises:
        RecipeError: that stage has no finished result.
    """
    done = store.latest(job.home)
    if wanted == "base":
        return "base", {}
    stages = [stage for stage in TRAINED if stage in done]
    if wanted is None and stages:
        wanted = stages[-1]
    if wanted not in stages:
        raise RecipeError(
            "there is no such result yet",
            where=str(job.home),
            got=wanted or "no trained stage",
            allowed=", ".join(["base", *stages]),
            fix=job.command,
        )
    return wanted, {stage: done[stage] for stage in stages[: stages.index(wanted) + 1]}


def load(recipe, done: dict[str, Path], rows=()):
    """(model, its tokenizer, or its processor where any of `rows` has images) that the stages in `done` came to; the
    base model where there is none."""
    from recipes.models import loader, vision

    model = loader.load_reached(*start(recipe.model, done))
    reader = vision.load_reader(recipe.model, rows)
    loader.stop_with(getattr(reader, "tokenizer", reader), model)
    return model.eval(), reader


def reply(model, reader, rows: list[dict], limit: int) -> list[str]:
    """Greedy replies, at most `limit` tokens each, to rows with a prompt (chat messages) and perhaps images, in one
    batch."""
    import torch

    from recipes.models import vision

    batch = vision.prompts_of(reader, rows, model)
    pad = getattr(reader, "tokenizer", reader).pad_token_id
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=limit, do_sample=False, pad_token_id=pad)
    return [
        text.strip() for text in reader.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    ]
