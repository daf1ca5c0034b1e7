"""Measure what is inside the models of an evaluation, by the probes that its recipe names."""

from pathlib import Path
from typing import Any

from recipes.base.hashing import fingerprint
from recipes.base.jsonl import read_jsonl
from recipes.base.places import GENERAL_TEST, GENERAL_TRAIN
from recipes.config.request_counts import given_of, tasks_of
from recipes.config.schema import Model, model_folder
from recipes.config.slots import Method, load, module_of, name_of, outside
from recipes.models.probe_context import ProbeContext
from recipes.models.replies import ReplyStore

PROBES = ("drift", "routing")  # of a recipe that names none


def list_probes(own: Any) -> dict[str, Method]:
    """{label: table} of the probes of a recipe."""
    return own.probe or {name: load("probe", name).Config(use=name) for name in PROBES}


def find_probe_texts(
    spec: Any, data: Path, rows: list[dict[str, Any]], runtime: Any
) -> dict[str, list[dict[str, Any]]]:
    """{kind of text: rows with prompt and gold reply} on which models are measured.

    "general" are rows that the base may be expected to know: of the embedded base this repository's general test, of
    another the recipe's own general tasks where they are rows of its test. It is left out where neither is there.
    """
    kinds = {given_of(table).get("kind") for table in tasks_of(spec.eval.general).values() if is_own(table)}
    if is_embedded(spec.model):
        general = read_jsonl(GENERAL_TEST)
    else:
        general = [row for row in rows if row["kind"] in kinds]
    if not general:
        runtime.say("evaluate: drift on general text left out, no general task has its rows in this repository")
    own = [row for row in rows if row["kind"] not in kinds]
    return {"field": own, "general": general} if general else {"field": own}


def is_own(table: dict[str, Any]) -> bool:
    """Whether a task asks rows of the recipe's own test."""
    return given_of(table)["source"] == "recipe"


def is_embedded(model: Model) -> bool:
    """Whether a base is the embedded one, or a folder that was built as it was: its general rows lie beside it."""
    folder = model_folder(model.name)
    return folder is not None and (folder / GENERAL_TRAIN.name).is_file()


def measure_model(
    spec: Any,
    name: str,
    models: Any,
    home: Path,
    reader: Any,
    texts: dict[str, list[dict[str, Any]]],
    runtime: Any,
) -> dict[str, dict[str, Any]]:
    """{label of a probe: what it measured} of one model; what was measured before is not measured again."""
    store = ReplyStore(home, models.describe(name))
    base = models.describe("base")
    asked = fingerprint({kind: [[row["prompt"], row["reply"]] for row in rows] for kind, rows in texts.items()})
    found = {}
    for label, probe in list_probes(spec.eval).items():
        file = outside(probe)
        code = fingerprint(file.read_text(encoding="utf-8")) if file else ""
        about = [module_of(probe).VERSION, probe.model_dump(mode="json", exclude={"use"}), code, base, asked]
        _, values = store.find_measures(name_of(probe), about)
        if values is None:
            with models.active(name) as (model, frozen):
                values = module_of(probe).measure(probe, ProbeContext(model, frozen, reader, texts, name))
            store.keep_measures(name_of(probe), about, values)
        found[label] = values
    return found
