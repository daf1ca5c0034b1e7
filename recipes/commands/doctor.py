"""`doctor`: what this machine has, and what each profile would miss on it; found without importing anything heavy."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from recipes.checks import leaves
from recipes.config import model_folder
from recipes.errors import ConfigErrors, RecipeError
from recipes.loader import load, profiles, read_file
from recipes.provenance import device, gpus, versions

CORE = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "lm_eval",
    "safetensors",
    "pint",
    "scipy",
    "jinja2",
)


def doctor(file, name=None):
    """Hardware, packages, and one sentence for each thing that a profile lacks, as text."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines = [
        f"hardware  {device()}, {memory / 1e9:.0f} GB memory, {shutil.disk_usage('.').free / 1e9:.0f} GB free here",
        f"packages  {', '.join(f'{package} {version}' for package, version in versions().items())}",
    ]
    if absent := [package for package in CORE if not find_spec(package)]:
        lines.append(f"missing   {', '.join(absent)}: pip install -c constraints.txt -e .")
    tables = read_file(file)
    for recipe in [name] if name else tables:
        for profile in profiles(tables.get(recipe, {})):
            try:
                missing = lacks(load(file, recipe, profile))
            except ConfigErrors as error:
                missing = [(True, f"{p.what}: {p.got}" + (f" ({p.fix})" if p.fix else "")) for p in error.problems]
            blocked = any(blocks for blocks, _ in missing)
            state = "cannot run" if blocked else "ready, but" if missing else "ready"
            lines.append(f"{recipe} {profile}: {state}")
            lines += [f"  - {sentence}" for _, sentence in missing]
    return "\n".join(lines)


def require(recipe, runtime):
    """Raise `RecipeError` for what a recipe cannot do without here; say what it merely lacks."""
    missing = lacks(recipe)
    if blocking := [sentence for blocks, sentence in missing if blocks]:
        raise RecipeError(f"{recipe.name} under profile {recipe.profile} cannot run here", got=" ".join(blocking))
    for _, sentence in missing:
        runtime.say(f"note: {sentence}")


def lacks(recipe):
    """[(whether it stops the run, one sentence)] for everything that the recipe asks for and this machine has not."""
    found = []
    model, teacher = recipe.model, getattr(recipe.data, "teacher", None)
    if model.quantization == "nf4" and not find_spec("bitsandbytes"):
        found.append(
            (True, 'bitsandbytes is not installed, and model.quantization = "nf4" needs it: pip install -e ".[gpu]".')
        )
    if model.attn == "flash_attention_2" and not find_spec("flash_attn"):
        found.append((True, 'flash-attn is not installed: pip install -e ".[flash]", or set model.attn = "auto".'))
    if recipe.rl and recipe.rl.use_vllm and not find_spec("vllm"):
        found.append(
            (
                False,
                'vLLM is not installed, so rl samples with transformers, which is slower: pip install -e ".[vllm]".',
            )
        )
    asked = [leaf for name in (*recipe.eval.tasks, *recipe.eval.general) for leaf in leaves(name)]
    if "ifeval" in asked and not (find_spec("langdetect") and find_spec("immutabledict")):
        found.append(
            (True, 'langdetect or immutabledict, which IFEval needs, is missing: pip install -e ".[benchmarks]".')
        )
    if model_folder(model.name) is None:
        if not gpus():
            found.append((False, f"No GPU is in use, so {model.name} would run on the CPU."))
        if not cached(model.name):
            found.append((False, f"{model.name} is not in the local cache and will be downloaded."))
    if (
        (variable := getattr(teacher, "api_key_env", None))
        and teacher.kind == "openai"
        and not os.environ.get(variable)
    ):
        found.append((False, f"The environment variable {variable} with the teacher's key is not set."))
    return found


def cached(hub_id):
    """Whether the hub's local cache holds a snapshot of a model."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    return any((cache / f"models--{hub_id.replace('/', '--')}" / "snapshots").glob("*/config.json"))
