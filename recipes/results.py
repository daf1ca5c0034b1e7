"""Load what a run left: the model of a stage, ready to answer. Used by `chat` and `export`."""

from pathlib import Path

from recipes import artefact, models
from recipes.errors import RecipeError

STAGES = ("sft", "rl")  # in the order of training


def choose(recipe, runs: Path, wanted: str | None) -> tuple[str, Path | None]:
    """(stage, its artefact folder) for `wanted`: base, sft or rl; the last stage trained where it is None.

    Raises:
        RecipeError: that stage has no finished result.
    """
    home = runs / recipe.name / recipe.profile
    done = artefact.latest(home)
    if wanted == "base":
        return "base", None
    stages = [stage for stage in STAGES if stage in done]
    if wanted is None and stages:
        wanted = stages[-1]
    if wanted not in stages:
        raise RecipeError(
            "there is no such result yet",
            where=str(home),
            got=wanted or "no trained stage",
            allowed=", ".join(["base", *stages]),
            fix=f"python -m recipes run {recipe.name} --profile {recipe.profile} --runs {runs}",
        )
    return wanted, done[wanted]


def load(recipe, folder: Path | None):
    """(model, tokenizer) of a stage's artefact; the base model where `folder` is None."""
    tokenizer = models.load_tokenizer(recipe.model)
    if folder is not None and (folder / "model").is_dir():
        model = models.load_base(
            recipe.model.model_copy(update={"name": str(folder.resolve() / "model"), "revision": "main"})
        )
    else:
        model = models.load_base(recipe.model)
        if folder is not None:
            model = models.load_adapters(model, {"default": folder / "adapter"})
    return model.eval(), tokenizer


def reply(model, tokenizer, conversations: list[list[dict]], limit: int) -> list[str]:
    """Greedy replies, at most `limit` tokens each, to conversations of role/content messages, in one batch."""
    import torch

    texts = tokenizer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=True)
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=limit, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    return [
        text.strip() for text in tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    ]
