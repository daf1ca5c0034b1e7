"""`methods`: every stage and method with what it does, and the two pages that are written from their files.

The list is the folder listing of each slot, what lies beside the recipe file, and the entry points of installed
packages. docs/methods.md and docs/refusals.md hold this package's own alone.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from recipes.base.errors import RecipeError
from recipes.base.toml import toml_value
from recipes.config.describe import allowed, is_table
from recipes.config.slots import SLOTS, Source, find, list_own, load_source
from recipes.config.typed import TypedDraft

STAGES = "stages"
KINDS = {STAGES: "what a step carries out"} | SLOTS
PLACES = {  # slot -> where its tables stand in a recipe
    "stages": "`[NAME.STAGE]`, or a step `[NAME.steps.STEP]` with `use`",
    "select": "`[NAME.rows.select.METHOD]`",
    "augment": "`[NAME.rows.augment.METHOD]`",
    "mix": "`[NAME.rows.mix.METHOD]`",
    "adapters": "`[NAME.sft.adapter]` and `[NAME.cpt.adapter]`, with `use`",
    "losses": "`[NAME.sft.losses.METHOD]`",
    "rl": "`[NAME.rl.method]`, with `use`",
    "edit": "a step `[NAME.steps.STEP]` with `use`, or `[NAME.edit.method]`",
    "infer": "`[NAME.eval.infer.METHOD]`",
    "probe": "`[NAME.eval.probe.METHOD]`",
    "env": "`[NAME.rl.env.METHOD]`",
}
EXAMPLE = """
summary = "a recipe to which the settings are added"
builder = "analogseeker"
model.name = "embedded"
sft.epochs = 2
rl.steps = 20
eval.tasks = ["analogseeker_knowledge"]
"""
LONGEST = 240  # signs of a cell
HEAD = "<!-- Written by `python -m recipes methods --write docs`; a test compares. -->"


def list_methods(slot: str | None, home: Path | None) -> str:
    """One line for each stage and method: slot, name, what it is, where it comes from if not from here.

    Raises:
        RecipeError: there is no such slot.
    """
    if slot is not None and slot not in KINDS:
        raise RecipeError(f"no slot {slot!r}", where="methods", allowed=", ".join(KINDS))
    lines = []
    for kind in [slot] if slot else KINDS:
        lines.append(f"{kind}: {KINDS[kind]}")
        for name, source in find(kind, home).items():
            more = "" if source.origin == "recipes" else f" [{source.about}]"
            lines.append(f"  {name:<22} {first_line(load_source(source))}{more}")
    return "\n".join(lines)


def write_pages(folder: Path) -> list[Path]:
    """Write methods.md and refusals.md into `folder`; their paths."""
    pages = {"methods.md": methods_page(), "refusals.md": refusals_page()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


def methods_page() -> str:
    """The page of all stages and methods of this package."""
    lines = [
        HEAD,
        "# Methods",
        "",
        "Each is one file, loaded where a recipe's table names it by `use`, or is called as it is. A file beside the "
        "recipe file, or an entry point of an installed package, counts the same.",
    ]
    for kind, about in KINDS.items():
        lines += ["", f"## {kind}: {about}", "", f"Stands in {PLACES[kind]}."]
        for name, source in list_own(kind).items():
            lines += ["", *describe(name, source)]
    return "\n".join(lines) + "\n"


def describe(name: str, source: Source) -> Iterator[str]:
    """The lines of one method: what it does, its paper, keys, what it logs and needs."""
    module = load_source(source)
    yield f"### {getattr(module, 'TABLE', name)}"
    yield ""
    yield first_line(module)
    config = getattr(module, "Config", None)
    facts = list(list_facts(module))
    if facts:
        yield ""
        yield from facts
    keys = [(key, about) for key, about in config.model_fields.items() if key != "use"] if config else []
    if keys:
        yield ""
        yield "| key | default | allowed | meaning |"
        yield "|---|---|---|---|"
        for key, about in keys:
            yield " | ".join(
                [f"| `{key}`", default_of(about), cell(allowed_of(about)), cell(about.description), ""]
            ).rstrip()


def list_facts(module: ModuleType) -> Iterator[str]:
    """What a file says of itself beside its keys, one line each."""
    if paper := getattr(module, "PAPER", ""):
        yield f"- paper: [{paper}](https://arxiv.org/abs/{paper.removeprefix('arXiv ')})"
    if needs := getattr(module, "NEEDS", ()):
        yield f"- needs: {', '.join(need.replace('_', ' ') for need in needs)}"
    for key, (title, unit) in getattr(module, "LOGS", {}).items():
        yield f"- logs `{key}`: {title}, {unit}"
    if leaves := getattr(module, "LEAVES", ""):
        yield f"- leaves: {leaves}"
    unread = [key for key in getattr(module, "UNREAD", ()) if not hasattr(module, "LEAVES")]
    if unread:
        yield f"- does not read {', '.join(f'`{key}`' for key in unread)} of its stage"


def first_line(module: ModuleType) -> str:
    """The first line of a file's docstring."""
    return (module.__doc__ or "").strip().split("\n")[0]


def default_of(about: FieldInfo) -> str:
    """A field's default as TOML, or what stands for it."""
    extra = about.json_schema_extra if isinstance(about.json_schema_extra, dict) else {}
    if about.is_required():
        return "*to be given*"
    if extra.get("slot"):
        return "none" if extra.get("many") else f"`{extra['default']}`"
    default = about.get_default(call_default_factory=True)  # type: ignore[call-arg]
    return "none" if default is None else "a table" if is_table(type(default)) else f"`{cell(toml_value(default))}`"


def allowed_of(about: FieldInfo) -> str:
    """What a field may hold; for a field of methods, their slot."""
    extra = about.json_schema_extra if isinstance(about.json_schema_extra, dict) else {}
    if extra.get("slot"):
        return f"methods of {extra['slot']}" if extra.get("many") else f"a method of {extra['slot']}"
    words = allowed(about) or ""
    if words == about.description:
        return "a string"
    if get_origin(about.annotation) is tuple and float in get_args(about.annotation):
        return "a list of numbers"
    return words


def cell(text: str | None) -> str:
    """Text that stays in its cell of a table."""
    return (text or "").replace("|", "\\|").replace("\n", " ")


def refusals_page() -> str:
    """The page of what does not go together, from the examples in the files."""
    lines = [
        HEAD,
        "# What does not go together",
        "",
        "`check` and `run` refuse these before anything starts. The settings are `--set` strings, added to a recipe "
        "with `sft`, `rl` and `eval`.",
    ]
    for kind in KINDS:
        found = [(name, load_source(source)) for name, source in list_own(kind).items()]
        if not any(getattr(module, "CONFLICTS", ()) for _, module in found):
            continue
        lines += ["", f"## {kind}", "", "| of | together | refused | why | instead |", "|---|---|---|---|---|"]
        for name, module in found:
            for settings, key in getattr(module, "CONFLICTS", ()):
                problem = find_problem(settings.split(), key)
                together = "<br>".join(f"`{cell(part)}`" for part in settings.split())
                why = problem.what.partition(": ")[2]
                instead = shortened("; ".join(str(part) for part in (problem.allowed, problem.fix) if part))
                lines.append(f"| {name} | {together} | `{key}` | {cell(why)} | {cell(instead)} |")
    return "\n".join(lines) + "\n"


def shortened(text: str) -> str:
    """A text of at most LONGEST signs; a longer one, such as a list of every task, is cut at a word."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(' ')[0]} …"


def find_problem(settings: list[str], key: str) -> RecipeError:
    """What is refused at `key` of the example recipe with these settings.

    Raises:
        RecipeError: nothing is.
    """
    problems = list_problems(settings)
    found = next((one for one in problems if str(one.what).startswith(f"{key}:")), None)
    if found is None:
        raise RecipeError(
            "an example of CONFLICTS is not refused",
            where=" ".join(settings),
            got="; ".join(str(one.what) for one in problems) or "nothing is refused",
            allowed=f"a refusal of {key}",
        )
    return found


def list_problems(settings: list[str]) -> list[RecipeError]:
    """Every problem of the example recipe with these `--set` strings; files of this machine are not looked for."""
    table: dict[str, Any] = tomllib.loads(EXAMPLE)
    draft = TypedDraft(Path("recipes.toml"), "example", "embedded", table)
    for text in settings:
        draft.set(text)
    draft.validate(here=False)
    return draft.problems
