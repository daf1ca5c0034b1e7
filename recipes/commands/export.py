"""`export`: the newest result as a standard transformers folder, with proof that it answers like its adapter.

An adapter that cannot be merged is written as it is, with its base in `base/` where that is a folder.

An adapter that was trained on 4-bit weights, which cannot take it up, is merged into the unquantised ones. The folder
then has to answer like the adapter on the unquantised base, and how often that is the reply of the 4-bit model, which
was trained and evaluated, is said.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.artifacts.lineage import start
from recipes.base.errors import RecipeError
from recipes.config.schema import Model, Recipe, model_folder
from recipes.models import checkpoints

PARITY_PROMPTS = 64  # test prompts on which adapter and merged model have to give the same answers
CARD = """---
library_name: transformers
pipeline_tag: text-generation
base_model: {base}
tags: [fine-tuned, {recipe}]
---
# {recipe}, {stage} model

{summary}

Made from `{base}` by `python -m recipes run {recipe} --profile {profile}` (seed {seed}), \
stage `{stage}`, fingerprint `{fingerprint}`.
{laboratory}
## Scores

Greedy decoding, the model's own chat template, lm-eval tasks of this recipe. \
The report of the run has intervals and paired tests.

| model | {tasks} |
|---|{rule}|
{scores}

## Parity

{parity}
{loading}"""
PARITY = "This folder and {trained} gave the same reply to {same} of {asked} test prompts when it was written."
UNQUANTIZED = """

The scores above are those of the 4-bit model that was trained and evaluated. This folder holds the unquantised \
weights with the adapter merged into them, and gave the reply of the 4-bit model to {alike} of the {asked} test \
prompts."""
LOADING = """
## How to load it

What the adapter adds depends on the input, so it cannot be merged into the weights of the base. peft loads it once its
method is known:

```python
{known}
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

base = AutoModelForCausalLM.from_pretrained("{base}", dtype="{dtype}", quantization_config={quantization})
model = PeftModel.from_pretrained(base, "{folder}")
```
"""


def run(job: Any, *, model: str | None = None, to: Path) -> None:
    """Write `to`: merged weights, tokenizer, chat template, generation config and model card; `model` as in `chat`.

    Raises:
        RecipeError: `to` exists, there is no result or no data, or what is on disk answers otherwise than the model.
    """
    to = Path(to)
    if to.exists():
        raise RecipeError(
            "the folder to write is already there",
            where="--to",
            got=str(to),
            allowed="a folder that does not exist yet",
            fix="name another, or remove it",
        )
    recipe, runs, (stage, done) = job.recipe, job.runs, checkpoints.choose(job, model)
    whole, _ = start(recipe.model, done)
    rows = test_rows(job)
    from recipes.models import loader

    loaded, reader = checkpoints.load(recipe, done, rows)
    table = recipe.settings("evaluate")
    expected = before = answers(loaded, reader, rows, table)
    trained = "the model that was trained"
    if unquantized := recipe.model.quantization != "none" and loader.mergeable(loaded):
        del loaded  # both may not fit in memory
        loaded, _ = checkpoints.load(without_quantization(recipe), done, rows)
        expected = answers(loaded, reader, rows, table)
        trained = "the adapter on the unquantised base" if stage != "base" else "the unquantised base"
    unfinished = to.with_name(to.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    base = None if loader.mergeable(loaded) else base_beside(whole, unfinished, to)
    if base is None:
        write_merged(loaded, unfinished)
    else:
        from recipes.models import training

        if (unfinished / "base").is_dir():
            loaded.generation_config.save_pretrained(unfinished / "base")  # it may stop at one token more
        loaded.peft_config["default"].base_model_name_or_path = base
        training.save_result(loaded, unfinished, base=whole)
    reader.save_pretrained(unfinished)
    after = reread(recipe, unfinished, reader, rows)
    same, alike = (sum(a == b for a, b in zip(replies, after, strict=True)) for replies in (expected, before))
    print(f"parity: the folder gives the reply of {trained} to {same} of {len(rows)} test prompts")
    if same < len(rows):
        first = next(i for i, (a, b) in enumerate(zip(expected, after, strict=True)) if a != b)
        raise RecipeError(
            f"the written folder answers otherwise than {trained}",
            where=str(unfinished),
            got=(
                f"{len(rows) - same} of {len(rows)} replies differ; "
                f"the first to {rows[first]['prompt'][0]['content']!r}"
            ),
            allowed="equal replies",
            fix=(
                'set model.dtype = "float32" (rounding to fewer bits is the usual cause), or use the adapter itself; '
                "the folder is kept for a look"
            ),
        )
    if unquantized:
        print(
            f"4-bit weights: it gives the reply of the 4-bit model, whose scores are known, to {alike} of {len(rows)}"
        )
    parity = PARITY + UNQUANTIZED if unquantized else PARITY
    parity = parity.format(trained=trained, same=same, alike=alike, asked=len(rows))
    package = None if base is None else package_of(loaded)
    loading = "" if base is None else loading_text(recipe.model, base, to, package)
    write_card(recipe, runs, stage, done.get(stage), unfinished, parity, loading)
    unfinished.rename(to)
    print(f"written: {to}")
    if any(row.get("images") for row in rows):
        print("lm_eval by itself shows a model no images of these tasks; the recipe's own evaluation does")
    else:
        print(f"score it:  {score_command(recipe, runs, to, base, package)}")
        if recipe.model.quantization != "none":
            print("lm_eval does so on unquantised weights; the scores of the report are those of 4-bit weights")


def without_quantization(recipe: Recipe) -> Recipe:
    """The recipe with its base in the weights that it was published with."""
    return replace(recipe, model=recipe.model.model_copy(update={"quantization": "none"}))


def loading_text(model: Model, base: str, folder: Path, package: str | None) -> str:
    """The card's section on how the adapter in `folder` is loaded on `base`, in 4 bits where it learnt on those, once
    `package` has made its method known to peft."""
    from recipes.models import loader

    known = f"import {package}" if package else "# import the file of the method, and call its register()"
    settings = ", ".join(f"{key}={value!r}" for key, value in loader.four_bits().items())
    quantization = "None" if model.quantization == "none" else f"BitsAndBytesConfig({settings})"
    return LOADING.format(base=base, folder=folder, dtype=dtype_name(model), quantization=quantization, known=known)


def dtype_name(model: Model) -> str:
    """The dtype in which the recipe's base was loaded here, which may be another than that of its files."""
    from recipes.models import loader

    return str(loader.choose_dtype(model)).removeprefix("torch.")


def write_merged(model, folder: Path) -> None:
    from recipes.models.value_head import HEAD

    merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    if hasattr(merged, HEAD):
        delattr(merged, HEAD)  # PPO's value head has no part in the answers
    merged.generation_config.do_sample = False
    merged.generation_config.temperature = merged.generation_config.top_p = merged.generation_config.top_k = None
    merged.save_pretrained(folder)


def base_beside(model, folder: Path, to: Path) -> str:
    """Where the exported adapter finds its base: a hub id, or a copy of the base's folder inside the export."""
    source = model_folder(model.name)
    if source is None:
        return model.name
    shutil.copytree(source, folder / "base")
    return str(to / "base")


def test_rows(job) -> list[dict]:
    """An even choice of the newest test set's rows."""
    from recipes.artifacts import store

    data = store.latest(job.home).get("data")
    if data is None:
        raise RecipeError(
            "there are no test prompts yet to compare replies on",
            where=str(job.home),
            got="no data",
            fix=f"{job.command} --until data",
        )
    from recipes.models import training

    rows = training.read_rows(data / "test.jsonl")
    return rows[:: max(1, len(rows) // PARITY_PROMPTS)][:PARITY_PROMPTS]


def answers(model, reader, rows, table) -> list[str]:
    return [
        text
        for i in range(0, len(rows), table.batch_size)
        for text in checkpoints.reply(model, reader, rows[i : i + table.batch_size], table.max_new_tokens)
    ]


def reread(recipe, folder: Path, reader, rows) -> list[str]:
    """Replies of what lies on disk, loaded like any transformers folder, or as an adapter beside its base."""
    from recipes.models import loader

    adapter = (folder / "adapter_config.json").is_file()
    where = folder / "base" if adapter else folder
    whole = recipe.model if adapter else without_quantization(recipe).model
    if where.is_dir():
        whole = whole.model_copy(update={"name": str(where.resolve()), "revision": "main"})
    model = loader.load_reached(whole, folder if adapter else None)
    return answers(model.eval(), reader, rows, recipe.settings("evaluate"))


def package_of(model: Any) -> str | None:
    """The package that makes the method of a model's adapter known to peft; None where it names none."""
    from recipes.models.adapter_methods import find_method, type_of

    return getattr(find_method(type_of(model.peft_config["default"])), "PACKAGE", None)


def score_command(recipe: Any, runs: Path, to: Path, base: str | None, package: str | None = None) -> str:
    """The lm_eval command that scores the folder `to`; run by the `package` that makes the adapter's method known to
    peft, where the adapter lies beside its `base`.

    On a machine like this one it gives the report's scores again, but for a base that was evaluated in 4 bits, which
    lm-eval 0.4.13 cannot load so.
    """
    from recipes.artifacts import store

    data = store.latest(runs / recipe.name / recipe.profile)["data"]
    table = recipe.settings("evaluate")
    tasks = ",".join([*table.tasks, *table.general])
    program = f"python -m {package} run" if package else "lm_eval"
    weights = f"pretrained={to},dtype=auto"
    if base is not None:
        weights = f"pretrained={base},peft={to},tokenizer={to},dtype={dtype_name(recipe.model)}"
    return (
        f"{program} --model hf --model_args {weights} --include_path eval/tasks --tasks {tasks} "
        f"--metadata '{json.dumps({'data': str(data)})}' "
        f"--apply_chat_template --gen_kwargs max_gen_toks={table.max_new_tokens} "
        f"--batch_size {table.batch_size} --seed {recipe.seed} --log_samples --output_path {to}/lm_eval"
    )


def write_card(recipe, runs, stage, folder, out, parity, loading):
    from recipes.artifacts import store

    done = store.latest(runs / recipe.name / recipe.profile)
    scores = store.read_manifest(done["evaluate"])["metrics"]["scores"] if "evaluate" in done else {}
    tasks = sorted({task for row in scores.values() for task in row})
    table = "\n".join(
        f"| {name} | " + " | ".join(f"{row[t]:.3f}" if t in row else "" for t in tasks) + " |"
        for name, row in scores.items()
    )
    laboratory = (
        "\nThis is a laboratory model of a few million parameters. "
        "It knows very little and is of no use outside its tests.\n"
        if recipe.model.name == "embedded"
        else ""
    )
    (out / "README.md").write_text(
        CARD.format(
            base=recipe.model.name,
            recipe=recipe.name,
            summary=recipe.summary,
            profile=recipe.profile,
            seed=recipe.seed,
            stage=stage,
            laboratory=laboratory,
            fingerprint=store.read_manifest(folder)["fingerprint"] if folder else "none",
            tasks=" | ".join(tasks),
            rule="---|" * len(tasks),
            scores=table,
            parity=parity,
            loading=loading,
        ),
        encoding="utf-8",
    )
