"""`doctor`: what this machine has, and what each profile would miss on it; found without importing anything heavy."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel

from data_builders.core.table import extra
from eval import sandbox
from recipes.artifacts.machine import Machine, find_machine
from recipes.artifacts.memory import estimate_recipe
from recipes.artifacts.provenance import device, versions
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.config.load import load, profiles, read_file
from recipes.config.request_counts import find_published, given_of, is_published, tasks_of
from recipes.config.schema import Recipe, model_folder

CORE = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "lm_eval",
    "safetensors",
    "scipy",
    "jinja2",
)
TASK_PACKAGES = {"ifeval": ("langdetect", "immutabledict")}  # of lm-eval's tasks that our groups hold


def doctor(file: Path, name: str | None = None, machine: Machine | None = None) -> str:
    """Hardware, packages, and one sentence for each thing that a profile lacks, as text.

    `machine` is other hardware than that at hand, on which the profiles' memory is reckoned.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines = [
        f"hardware  {device()}, {memory / 1e9:.0f} GB memory, {shutil.disk_usage('.').free / 1e9:.0f} GB free here",
        f"packages  {', '.join(f'{package} {version}' for package, version in versions().items())}",
    ]
    if absent := [package for package in CORE if not find_spec(package)]:
        lines.append(f"missing   {', '.join(absent)}: pip install -c constraints.txt -e .")
    lines.append(f"sandbox   {sandboxed()}")
    tables = read_file(file)
    for recipe in [name] if name else tables:
        for profile in profiles(tables.get(recipe, {})):
            try:
                missing = lacks(load(file, recipe, profile), machine)
            except ConfigErrors as error:
                missing = [(True, f"{p.what}: {p.got}" + (f" ({p.fix})" if p.fix else "")) for p in error.problems]
                missing += find_misfits(file, recipe, profile, machine)
            blocked = any(blocks for blocks, _ in missing)
            state = "cannot run" if blocked else "ready, but" if missing else "ready"
            lines.append(f"{recipe} {profile}: {state}")
            lines += [f"  - {sentence}" for _, sentence in missing]
    return "\n".join(lines)


def find_misfits(file: Path, name: str, profile: str, machine: Machine) -> list[tuple[bool, str]]:
    """What would not fit of a recipe some of whose files are not here yet; nothing where it is wrong in itself."""
    try:
        recipe = load(file, name, profile, here=False)
    except ConfigErrors:
        return []
    return [(one.stops, one.sentence) for one in estimate_recipe(recipe, machine).values() if not one.fits]


def require(recipe, runtime):
    """Raise `RecipeError` for what a recipe cannot do without here; say what it merely lacks."""
    missing = lacks(recipe)
    if blocking := [sentence for blocks, sentence in missing if blocks]:
        raise RecipeError(f"{recipe.name} under profile {recipe.profile} cannot run here", got=" ".join(blocking))
    for _, sentence in missing:
        runtime.say(f"note: {sentence}")


def open_published(recipe):
    """Read the items of every public benchmark that is evaluated, before anything trains.

    lm-eval's own tasks are not opened. Raises RecipeError for the first that cannot be read.
    """
    from eval.benchmarks.public import load_public
    from eval.hooks import TaskDataError, load

    spec = recipe.settings("evaluate")
    for task, table in tasks_of((*spec.tasks, *spec.general)).items():
        if not table or not is_published(table):
            continue
        read = load if table["custom_dataset"] == "entry.load" else load_public
        given = {key: value for key, value in given_of(table).items() if key != "shots" and value is not None}
        try:
            read(**given, **find_published(spec))
        except TaskDataError as error:
            what, *more = str(error).splitlines()
            raise RecipeError(
                f"the items of {task} cannot be read",
                where="eval.tasks or eval.general",
                got="; ".join([what, *map(str.strip, more)]),
                allowed="the benchmark's own files, or the hub",
                fix="name its files in [NAME.eval.published], or leave the task out",
            ) from None


def lacks(recipe: Recipe, machine: Machine | None = None) -> list[tuple[bool, str]]:
    """[(whether it stops the run, one sentence)] for everything that the recipe asks for and this machine has not.

    Args:
        machine: on which the memory is reckoned, where it is not the one at hand.
    """
    machine = machine or find_machine()
    estimates = estimate_recipe(recipe, machine)
    found = [(estimate.stops, estimate.sentence) for estimate in estimates.values() if not estimate.fits]
    if not estimates and model_folder(recipe.model.name) is None:
        found.append((False, f"The sizes of {recipe.model.name} are not at hand, so its memory is not known."))
    model = recipe.model
    if model.quantization == "nf4" and not find_spec("bitsandbytes"):
        found.append(
            (True, 'bitsandbytes is not installed, and model.quantization = "nf4" needs it: pip install -e ".[gpu]".')
        )
    if model.attn == "flash_attention_2" and not find_spec("flash_attn"):
        found.append((True, 'flash-attn is not installed: pip install -e ".[flash]", or set model.attn = "auto".'))
    if "/" in model.attn and not find_spec("kernels"):
        found.append(
            (
                True,
                f"kernels is not installed, and model.attn = {model.attn} is a kernel of the hub: pip install kernels, "
                'or set model.attn = "auto".',
            )
        )
    rl = recipe.settings("rl")
    if rl and rl.use_vllm and not find_spec("vllm"):
        found.append(
            (
                False,
                "vLLM is not installed, so rl samples with transformers, which is slower (docs/hardware.md).",
            )
        )
    if getattr(recipe.settings("data"), "chain", None) == "program" and not (sandbox.level().seccomp or unheld()):
        found.append((True, f"The recipe runs programs that a model writes, and here {sandboxed()}."))
    if model_folder(model.name) is None:
        if not machine.on_gpu:
            found.append((False, f"No GPU is in use, so {model.name} would run on the CPU."))
        if not is_cached(model.name, model.revision):
            found.append((False, f"{model.name} is not in the local cache and will be downloaded."))
    for step in recipe.steps:
        found += data_lacks(step.settings) if step.kind == "data" else []
    return found + tasks_lack(recipe.settings("evaluate"))


def data_lacks(data):
    """What the tables of `[data]` ask for and this machine has not: packages, and the keys of those who are asked."""
    found = {}
    for name, table in tables_of(data, "data"):
        for need in getattr(table, "needs", ()):
            if not find_spec(need.package):
                sentence = f"{need.package} is not installed, and [{name}] {need.why}: {need.install}."
                found.setdefault(need.package, (need.must, sentence))
        variable = table.api_key_env if getattr(table, "kind", "") == "openai" else ""
        if variable and not os.environ.get(variable):
            sentence = f"The environment variable {variable} with the key of [{name}] is not set."
            found.setdefault(variable, (False, sentence))
    return list(found.values())


def tables_of(table, name):
    """(dotted name, table) of a table and of all in it."""
    yield name, table
    for key in type(table).model_fields:
        if isinstance(inner := getattr(table, key), BaseModel):
            yield from tables_of(inner, f"{name}.{key}")


def tasks_lack(spec):
    """What lm-eval's own tasks ask for beside it, where one of them is evaluated, by itself or in a group."""
    asked = tasks_of((*spec.tasks, *spec.general))
    return [
        (True, f"{package} is not installed, and the task {task} needs it: {extra('benchmarks')}.")
        for task, packages in TASK_PACKAGES.items()
        for package in packages
        if task in asked and not find_spec(package)
    ]


def unheld():
    """Whether programs may run without a filter of system calls."""
    return os.environ.get(sandbox.WITHOUT_SECCOMP) == "1"


def sandboxed():
    """How programs that a model writes are held in here, in words."""
    level = sandbox.level()
    network = "an empty network of their own" if level.network else "the network of this machine"
    if level.seccomp:
        return f"programs run behind a filter of system calls, in {network}"
    if unheld():
        return f"programs run without a filter of system calls ({sandbox.WITHOUT_SECCOMP}=1), in {network}"
    return f"programs are not run: the kernel takes no filter of system calls ({sandbox.WITHOUT_SECCOMP}=1 runs them)"


def is_cached(hub_id: str, revision: str = "main") -> bool:
    """Whether the hub's local cache holds this revision of a model; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub_id, "config.json", revision=revision), str)
