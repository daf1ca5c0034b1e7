"""Which model is asked which tasks in which way: the plan of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.artifacts.lineage import list_models
from recipes.base.hashing import fingerprint
from recipes.base.jsonl import read_jsonl
from recipes.config.request_counts import role_of, tasks_of
from recipes.config.slots import Method, module_of, name_of, outside
from recipes.models.answering import Answering, AnsweringContext


def answer_roughly(own: Method) -> Answering:
    """Samples and examples of a way to answer, by the keys of its table, before there is anything to answer with."""
    return Answering(shots=getattr(own, "shots", 0), samples=getattr(own, "samples", 1))


def chosen_tasks(own: Any, roles: dict[str, str]) -> list[str]:
    """The tasks that are answered in a way: those that its table names, else those of the roles that it is for."""
    wanted = getattr(module_of(own), "ROLES", ("field",))
    return list(own.tasks) or [task for task, role in roles.items() if role in wanted]


@dataclass(frozen=True)
class Variant:
    """A model answering in one way.

    Attributes:
        name: "base", a step, or "MODEL · LABEL" with the label of a way to answer.
        model: "base", "rules" or the step that left the model.
        tasks: lm-eval's names.
        label, own: of the way to answer; "" and None for plain answers.
        items: of a task, evenly chosen, at most; 0: all.
        replies: by rule, for the model "rules".
    """

    name: str
    model: str
    tasks: tuple[str, ...]
    label: str = ""
    own: Any = None
    answering: Answering = field(default_factory=Answering)
    items: int = 0
    replies: dict[str, str] | None = None

    @property
    def folder(self) -> str:
        """Of its results, below lm_eval/."""
        return f"{self.model}.{self.label}" if self.label else self.model

    @property
    def method(self) -> Any:
        """What the way to answer is, but for whom and what it is asked; None for plain answers."""
        if self.own is None:
            return None
        settings = self.own.model_dump(mode="json", exclude={"models", "tasks", "items", "use"})
        file = outside(self.own)
        code = fingerprint(file.read_text(encoding="utf-8")) if file else ""
        return [name_of(self.own), module_of(self.own).VERSION, settings, code]


def list_tuned(inputs: Mapping[str, Path]) -> list[str]:
    """Names of the inputs that hold a model to be asked, in their order."""
    models = list_models(inputs)
    asked = getattr(inputs, "asked", ())
    return [name for name in models if not asked or name in asked]


def find_parent(name: str, asked: list[str], lines: Mapping[str, tuple[str, ...]]) -> str:
    """The model that one was made from, among those that are asked; "" for the base and for rules."""
    if name not in asked[1:]:
        return ""
    before = lines[name][:-1] if name in lines else tuple(asked[1 : asked.index(name)])
    return next((one for one in reversed(before) if one in asked), asked[0])


def plan_variants(
    spec: Any,
    inputs: Mapping[str, Path],
    manager: Any,
    own_tasks: dict[str, list[str]],
    general: dict[str, list[str]],
    context: AnsweringContext,
) -> list[Variant]:
    """Which models are asked what: all of them plainly, each in the ways that are meant for it; then rules.

    Where the builder left replies by rule, these are scored as one more model on the tasks that they answer whole.

    Args:
        own_tasks, general: task as the report shows it -> lm-eval's tasks that make it.
    """
    roles = {name: role_of(table) for name, table in tasks_of(spec.eval.tasks).items() if name in own_tasks}
    own, others = ([task for parts in shown.values() for task in parts] for shown in (own_tasks, general))
    tuned = list_tuned(inputs)
    ways = {label: module_of(way).answer(way, context) for label, way in spec.eval.infer.items()}
    variants = []
    for model in ("base", *tuned):
        variants.append(Variant(model, model, (*own, *others)))
        for label, way in spec.eval.infer.items():
            shown = [name for name in chosen_tasks(way, roles) if name in own_tasks]
            if model in (way.models or tuned) and shown:
                parts = tuple(part for name in shown for part in own_tasks[name])
                variants.append(Variant(f"{model} · {label}", model, parts, label, way, ways[label], way.items))
    replies = read_rules(inputs["data"])
    if ruled := find_ruled_tasks(manager, own, replies):
        variants.append(Variant("rules", "rules", tuple(ruled), replies=replies))
    return variants


def read_rules(data: Path) -> dict[str, str]:
    """{id of a test row: reply} that the builder's rules gave without a language model; empty where it has none."""
    file = data / "rules.jsonl"
    return {row["id"]: row["reply"] for row in read_jsonl(file)} if file.is_file() else {}


def find_ruled_tasks(manager: Any, names: list[str], replies: dict[str, str]) -> list[str]:
    """The tasks of whose documents every one has a reply."""
    if not replies:
        return []
    tasks = {name: manager.load([name])["tasks"][name] for name in names}
    return [name for name, task in tasks.items() if all(doc.get("id") in replies for doc in task.test_docs())]


def find_results(out: Path, variant: Variant) -> Path | None:
    """The results that lm-eval wrote for a variant."""
    found = sorted((out / "lm_eval" / variant.folder).glob("*/results_*.json"))
    return found[-1] if found else None
