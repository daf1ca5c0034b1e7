"""The end of every build: test items taken out, files written, the data card made from the builder's own docstring."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from data_builders.core.decontamination import OWN, is_learnt, remove_test_items
from data_builders.core.leaks import Compared, compare_row, leak_gate
from data_builders.core.ledger import CLEANED, Ledger, require_rows, unbalanced
from data_builders.core.paraphrases import Paraphrases
from data_builders.core.progress import Say
from data_builders.core.schema import dump_any, write_rows
from data_builders.core.selection import SURPLUS
from data_builders.sources.reader import count_tokens
from recipes.base.errors import RecipeError
from recipes.base.jsonl import write_json
from recipes.base.rows import GradedRow, Row, SftRow


@dataclass(frozen=True)
class Made:
    """What a builder made.

    `nodes` are what rows are made from, as the report reads them: node_id, number, path, family, text. `files` holds
    the rows of further JSONL files by stem: "cpt" (id, node_id, text) for continued pre-training, "sft_general" (as
    sft) for a first supervised stage, "rules" (id of a test row, reply) for what rules without a model answer, or
    anything of the builder's own. `teaches`: training rows are wanted, so that a build without any is an error.
    `answer_as`: how replies name one of lettered options, see `recipes.base.reply_form.Exchange`.
    """

    nodes: Sequence[Any]
    sft: Sequence[SftRow]
    rl: Sequence[GradedRow]
    test: Sequence[GradedRow]
    files: dict[str, Sequence[Any]] = field(default_factory=dict)
    teaches: bool = True
    answer_as: Literal["words", "letter"] = "words"

    def __post_init__(self) -> None:
        if self.answer_as == "words":
            return
        for name in ("sft", "rl", "test"):
            object.__setattr__(self, name, [replace(row, answer_as=self.answer_as) for row in getattr(self, name)])
        files = {stem: [_named_so(row, self.answer_as) for row in rows] for stem, rows in self.files.items()}
        object.__setattr__(self, "files", files)


def _named_so(row: Any, answer_as: Literal["words", "letter"]) -> Any:
    return replace(row, answer_as=answer_as) if isinstance(row, Row) else row


@dataclass(frozen=True)
class Leaks:
    """How training rows are kept apart from tests.

    Rows that hold an item of `outside` (name -> items, see core.benchmarks) are taken out of all files to learn
    (decontamination.is_learnt), and of all but sft and rl those that hold an item of the recipe's own test. Of sft and
    rl, which the builder makes itself, those go that overlap with the own test in one of `kinds` (of core.leaks.KINDS)
    or, where `alike` is given, in other words; what is left stops the build where it holds a whole test item, or where
    more than the share `threshold` of the test items are found in part. `phrases` never count.
    """

    threshold: float = 0.005
    phrases: Sequence[str] = ()
    outside: Mapping[str, Sequence[Compared]] = field(default_factory=dict)
    kinds: Sequence[str] = ()
    alike: Paraphrases | None = None


AnyRow = TypeVar("AnyRow", bound=Row)


def finish(
    out: Path,
    name: str,
    version: int,
    doc: str | None,
    made: Made,
    ledger: Ledger,
    leaks: Leaks,
    say: Say,
    flow: Sequence[tuple[Sequence[str], Sequence[str]]] = (),
    **told: Any,
) -> dict[str, Any]:
    """Write the artefact of a build under `out`; the metrics {"tokens", "dropped", "nodes", "sft", "rl", "test", …}.

    Files: sft, rl, test, nodes, ledger and `made.files` as JSONL, leaks.json, card.json. Rows are written with their
    fields and with the turns that the renderer makes of them. The card holds the builder's docstring `doc` (what stands
    behind "Limits: " apart), counts, and whatever else is `told`. `flow` says which steps of the ledger hand on to
    which, [(steps, steps that take in what those keep)]. Raises RecipeError where a whole test item stands in training,
    or more than `leaks.threshold` of them in part, where no training row is left, and where the ledger does not add up.
    """
    tests = [compare_row(row) for row in made.test]
    removed: dict[str, dict[str, dict[str, int]]] = {}

    def clean(stem: str, rows: Sequence[Any], step: str, **how: Any) -> list[Any]:
        kept, counts = remove_test_items(rows, tests, leaks.outside, ledger, step, phrases=leaks.phrases, **how)
        for source, count in counts.items():
            removed.setdefault(source, {})[stem] = count
        return kept

    sft, rl = made.sft, made.rl
    if leaks.outside or leaks.kinds or leaks.alike:
        sft = clean("sft", sft, CLEANED, kinds=leaks.kinds, alike=leaks.alike)
        rl = clean("rl", rl, CLEANED, kinds=leaks.kinds, alike=leaks.alike)
    compared = ["test items", "benchmarks"] if leaks.outside else ["test items"]
    sft, rl = (_passed(rows, compared) for rows in (sft, rl))
    others = dict(made.files)
    for stem in others:
        if is_learnt(stem, others[stem]):
            rows = [dump_any(row) for row in others[stem]]
            others[stem] = clean(stem, rows, f"{CLEANED} of {stem}", alike=leaks.alike)
    own = removed.pop(OWN, {})
    found = leak_gate(
        [compare_row(row) for row in (*sft, *rl)], tests, leaks.threshold, out, leaks.phrases, removed, own
    )
    files = {"nodes": made.nodes, "sft": sft, "rl": rl, "test": made.test, **others, "ledger": ledger.rows}
    for stem, rows in files.items():
        write_rows(out / f"{stem}.jsonl", rows)
    if made.teaches:
        require_rows(sft, ledger, f"the training rows of the builder {name}")
    rows = {stem: len(files[stem]) for stem in ("sft", "rl", "test", *made.files)}
    kinds = Counter(row.kind for row in made.test)
    nodes = [node if isinstance(node, dict) else asdict(node) for node in made.nodes]
    about, _, limits = re.sub(r"(?<!\n)\n(?!\n)", " ", (doc or "").strip()).partition("Limits: ")
    card = {
        "name": name,
        "version": version,
        "about": about.strip(),
        "limits": limits,
        "notes": [],
        **told,
        "rows": rows | {f"test_{kind}": kinds[kind] for kind in sorted(kinds)},
        "sft_kinds": dict(Counter(row.kind for row in sft)),
        "tokens": {
            "counted_as": "words, numbers and signs; no tokenizer",
            "sft": sum(map(count_row_tokens, sft)),
            "nodes": sum(count_tokens(node["text"]) for node in nodes),
        },
        "families": dict(sorted(Counter(node["family"] for node in nodes).items())),
        "leaks": {key: found[key] for key in ("passed", "threshold", "share_13_gram", "counts")},
        "ledger": ledger.totals(),
        "flow": [[list(steps) for steps in pair] for pair in flow],
    }
    if faults := unbalanced(card["ledger"], card["flow"]):
        raise RecipeError(
            "The ledger does not add up.",
            where=f"the builder {name}",
            got="\n".join(faults),
            allowed="every step takes in what the steps before it keep",
            fix="this is a fault of the builder; nothing has been trained",
        )
    write_json(out / "card.json", card)
    for note in card["notes"]:
        say(note)
    for step, total in card["ledger"].items():
        for reason, count in total["reasons"].items():
            if reason != SURPLUS:
                say(f"{step}: {count} dropped, {reason}")
    dropped = sum(total["dropped"] for total in card["ledger"].values())
    texts = {"cpt_tokens": sum(count_tokens(row["text"]) for row in others["cpt"])} if "cpt" in others else {}
    return {"tokens": card["tokens"]["sft"], "dropped": dropped, "nodes": len(nodes), **card["rows"], **texts}


def count_row_tokens(row: Row) -> int:
    """Words, numbers and signs of the turns of a row."""
    return sum(count_tokens(turn["content"]) for turns in row.messages for turn in turns)


def _passed(rows: Sequence[AnyRow], filters: Sequence[str]) -> list[AnyRow]:
    """The rows with these filters behind those that `lineage.filters` names: what a row has passed, in order."""
    found = [(row, [*row.lineage.get("filters", ()), *filters]) for row in rows]
    return [replace(row, lineage=row.lineage | {"filters": names}) for row, names in found]
