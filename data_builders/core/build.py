"""The end of every build: leaks taken out, files written, the data card made from the builder's own docstring."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from data_builders.core.benchmarks import without_items, without_leaks
from data_builders.core.leaks import leak_gate
from data_builders.core.ledger import Ledger, require_rows, unbalanced
from data_builders.core.paraphrases import Paraphrases
from data_builders.core.schema import GradedRow, SftRow, write_rows
from data_builders.core.selection import SURPLUS
from data_builders.sources.reader import count_tokens
from recipes.base.errors import RecipeError
from recipes.base.jsonl import write_json


@dataclass(frozen=True)
class Made:
    """What a builder made.

    `nodes` are what rows are made from, as the report reads them: node_id, number, path, family, text. `files` holds
    the rows of further JSONL files by stem: "cpt" (id, node_id, text) for continued pre-training, "sft_general" (as
    sft) for a first supervised stage, "rules" (id of a test row, reply) for what rules without a model answer, or
    anything of the builder's own. `teaches`: training rows are wanted, so that a build without any is an error.
    """

    nodes: Sequence
    sft: Sequence[SftRow]
    rl: Sequence[GradedRow]
    test: Sequence[GradedRow]
    files: dict[str, Sequence] = field(default_factory=dict)
    teaches: bool = True


@dataclass(frozen=True)
class Leaks:
    """How training rows are kept apart from tests.

    `threshold` is the share of test items that may be found in part before the build stops. Rows that hold an item of
    `outside` (name -> items, see quality.benchmarks) are taken out of all files, and of sft and rl also those that
    overlap with the recipe's own test in one of `kinds` (of quality.leaks.KINDS) or, where `alike` is given, in other
    words; `phrases` never count.
    """

    threshold: float = 0.005
    phrases: Sequence[str] = ()
    outside: dict[str, list] = field(default_factory=dict)
    kinds: Sequence[str] = ()
    alike: Paraphrases | None = None


LEARNT = ("cpt", "sft_general", "dpo")  # of `Made.files`, those that a model is trained on


def finish(out, name, version, doc, made, ledger: Ledger, leaks, say, flow=(), **told):
    """Write the artefact of a build under `out`; the metrics {"tokens", "dropped", "nodes", "sft", "rl", "test", …}.

    Files: sft, rl, test, nodes, ledger and `made.files` as JSONL, leaks.json, card.json. The card holds the builder's
    docstring `doc` (what stands behind "Limits: " apart), counts, and whatever else is `told`. `flow` says which steps
    of the ledger hand on to which, [(steps, steps that take in what those keep)]. Raises RecipeError where a whole test
    item stands in training, or more than `leaks.threshold` of them in part, where no training row is left, and where
    the ledger does not add up.
    """
    (sft, hit_sft), (rl, hit_rl) = (_cleaned(rows, made.test, leaks, ledger) for rows in (made.sft, made.rl))
    compared = ["test items", "benchmarks"] if leaks.outside else ["test items"]
    sft, rl = (_passed(rows, compared) for rows in (sft, rl))
    removed = {source: {"sft": hit_sft[source], "rl": hit_rl[source]} for source in leaks.outside}
    others = dict(made.files)
    for stem in LEARNT:
        if leaks.outside and stem in others:
            rows = [row if isinstance(row, dict) else asdict(row) for row in others[stem]]
            step = f"decontamination of {stem}"
            others[stem], hits = without_items(rows, leaks.outside, ledger, step, leaks.phrases)
            for source in leaks.outside:
                removed[source][stem] = {"rows_removed": hits[source]}
    found = leak_gate([*sft, *rl], made.test, leaks.threshold, out, leaks.phrases, removed)
    files = {"nodes": made.nodes, "sft": sft, "rl": rl, "test": made.test, **others, "ledger": ledger.rows}
    for stem, rows in files.items():
        write_rows(out / f"{stem}.jsonl", rows)
    if made.teaches:
        require_rows(sft, ledger, f"the training rows of the builder {name}")
    rows = {stem: len(files[stem]) for stem in ("sft", "rl", "test", *made.files)}
    kinds = Counter(row.kind for row in made.test)
    nodes = [node if isinstance(node, dict) else asdict(node) for node in made.nodes]
    about, _, limits = re.sub(r"(?<!\n)\n(?!\n)", " ", doc.strip()).partition("Limits: ")
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
            "sft": sum(count_tokens(turn["content"]) for row in sft for turn in row.prompt + row.completion),
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
    return {"tokens": card["tokens"]["sft"], "dropped": dropped, "nodes": len(nodes), **card["rows"]}


def _cleaned(rows, test, leaks, ledger):
    """(rows without those that `leaks` takes out, {source: counts})"""
    if not (leaks.outside or leaks.kinds or leaks.alike):
        return rows, {}
    return without_leaks(rows, test, leaks.outside, leaks.phrases, ledger, leaks.kinds, leaks.alike)


def _passed(rows, filters):
    """The rows with these filters behind those that `lineage.filters` names: what a row has passed, in order."""
    found = [(row, [*row.lineage.get("filters", ()), *filters]) for row in rows]
    return [replace(row, lineage=row.lineage | {"filters": names}) for row, names in found]
