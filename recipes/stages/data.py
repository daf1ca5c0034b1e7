"""Raw sources -> rows: run the recipe's builder, then prove that every gold answer scores 1.0 and silence 0.0."""

import importlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.decontamination import remove_test_items
from data_builders.core.leaks import Compared, compare_row
from data_builders.core.ledger import Ledger
from data_builders.core.schema import image_name
from data_builders.core.table import general_rows
from data_builders.llm.store import FILE
from data_builders.sources.texts import documents
from recipes.artifacts.forecasts import Work
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl, write_json, write_jsonl
from recipes.config.schema import WORLD

VERSION = 2
READS = {"corpus": ["*"], "texts": ["*"], "cpt_general": ["*"]}


def builder_module(name: str):
    return importlib.import_module(f"data_builders.{name}.builder")


def forecast(spec, counts: dict, runs: Path) -> Work:
    builder = builder_module(spec.builder)
    expected = builder.forecast(spec.data, builder.corpus_dir(spec.data), runs / FILE)
    if spec.mix is not None:
        general = round(expected["sft"] * spec.mix.share / (1 - spec.mix.share))
        expected = expected | {"general_rows": general, **{key: expected[key] + general for key in ("sft", "rows")}}
    counts.update(expected)
    if spec.texts:
        texts, counts["cpt_tokens"] = documents(Path(spec.texts).expanduser(), Ledger())
        counts["cpt"] = len(texts)
    bill, notes = expected.get("bill", {}), f"{expected['nodes']} nodes"
    if bill:
        length = f"guessed for {', '.join(bill['guessed'])}" if bill["guessed"] else "as it was before"
        notes += f", teacher: {bill['requests']:,} requests, {bill['tokens_in']:,} tokens in, "
        notes += f"{bill['tokens_out']:,} out (length of replies {length})"
    return Work(
        rows=expected["rows"],
        steps=expected["requests"],
        tokens=expected["tokens"],
        cost=bill.get("cost", 0.0),
        notes=notes,
    )


def run(spec, inputs: dict[str, Path], out: Path, runtime) -> dict:
    """Build into `out`; metrics are the builder's counts, `gold` is the number of rows proven.

    Replies of a model as teacher lie in one file that all recipes share.
    """
    replies = (runtime.runs or out) / FILE
    build = builder_module(spec.builder).build
    metrics = build(spec.data, inputs["corpus"], out, spec.seed, runtime.bar, runtime.say, replies)
    if spec.mix is not None:
        metrics |= mix_in(spec.mix, tests_of(out), outside_of(spec.data), spec.seed, out)
    if spec.texts:
        metrics |= write_texts(inputs["texts"], spec.texts, tests_of(out), outside_of(spec.data), out)
    if "cpt_general" in inputs:
        metrics |= write_general(inputs["cpt_general"], tests_of(out), outside_of(spec.data), out)
    metrics["gold"] = prove_gold(out)
    prove_images(out)
    return metrics


def tests_of(data: Path) -> list[Compared]:
    """The items of the recipe's own test, as they are compared."""
    return [compare_row(row) for row in read_jsonl(data / "test.jsonl")]


def outside_of(data) -> dict[str, list[Compared]]:
    """{name: items} of the test sets that a `[data]` table names."""
    return read_benchmarks(getattr(data, "benchmarks", ()))


def write_texts(
    folder: Path, name: str, tests: Sequence[Compared], outside: Mapping[str, Sequence[Compared]], data: Path
) -> dict:
    """Write the documents of `folder` as cpt.jsonl, in place of the builder's own; the metrics of that.

    Those that hold a test item, the recipe's own or one from `outside`, are left out; what is left out stands with its
    reason in cpt_ledger.jsonl, and the sums on the card.
    """
    ledger = Ledger()
    texts, tokens = documents(folder, ledger)
    kept, _ = remove_test_items(texts, tests, outside, ledger, "pre-training")
    write_jsonl(data / "cpt.jsonl", kept)
    write_jsonl(data / "cpt_ledger.jsonl", ledger.rows)
    note(data, pretraining={"corpus": name, "texts": len(kept), "ledger": ledger.totals()})
    return {"cpt": len(kept), "cpt_tokens": tokens}


def write_general(file: Path, tests: Sequence[Compared], outside: Mapping[str, Sequence[Compared]], data: Path) -> dict:
    """Write the general rows of `file` as cpt_general.jsonl, for pre-training to draw from; the metrics of that.

    Rows that hold a test item, the recipe's own or one from `outside`, are left out, and counted on the card.
    """
    ledger = Ledger()
    kept, _ = remove_test_items(read_jsonl(file), tests, outside, ledger, "cpt_general")
    write_jsonl(data / "cpt_general.jsonl", kept)
    note(data, cpt_general={"file": str(file), "rows": len(kept)} | left_out(ledger, "cpt_general"))
    return {"cpt_general": len(kept)}


def left_out(ledger: Ledger, step: str) -> dict:
    """{"left out": {reason: rows}} of a step of a ledger, {} where nothing was."""
    reasons = ledger.totals().get(step, {}).get("reasons")
    return {"left out": reasons} if reasons else {}


def note(data: Path, **about) -> None:
    """Put further things on the card of a data artefact that has one."""
    if (card := data / "card.json").is_file():
        write_json(card, json.loads(card.read_text(encoding="utf-8")) | about)


def mix_in(mix, tests: Sequence[Compared], outside: Mapping[str, Sequence[Compared]], seed: int, data: Path) -> dict:
    """Add general rows to sft.jsonl until they are `mix.share` of it, and note it on the card; the metrics of that.

    Rows that hold a test item, the recipe's own or one from `outside`, are left out, and counted on the card.

    Raises:
        RecipeError: a row of the file has no prompt and completion, or there are too few.
    """
    own, pool = read_jsonl(data / "sft.jsonl"), read_jsonl(general_rows(mix))
    faults = [
        f"line {number}: no prompt and completion"
        for number, row in enumerate(pool, 1)
        if not (row.get("prompt") and row.get("completion"))
    ]
    ledger = Ledger()
    if not faults:
        pool, _ = remove_test_items(pool, tests, outside, ledger, "general")
    wanted = round(len(own) * mix.share / (1 - mix.share))
    if wanted > len(pool):
        gone = f" beside {dropped} that hold a test item" if (dropped := len(ledger.rows)) else ""
        faults.append(f"{len(pool)} rows{gone}, {wanted} wanted for {len(own)} of the recipe's own")
    if faults:
        raise RecipeError(
            "the general rows cannot be mixed in",
            where=general_rows(mix),
            got="; ".join(faults[:5]),
            allowed="enough rows of the form of sft.jsonl that hold no test item",
            fix="mend the file, or lower mix.share",
        )
    general = [
        {"fact_id": "", "family": "general", "lineage": {"file": mix.general}, "node_id": "general"}
        | row
        | {"kind": WORLD, "id": row.get("id") or f"{WORLD}-{number:06d}"}
        for number, row in enumerate(random.Random(seed).sample(pool, wanted))
    ]
    write_jsonl(data / "sft.jsonl", own + general)
    note(data, general={"file": mix.general, "rows": wanted} | left_out(ledger, "general"))
    return {"general_rows": wanted, "sft": len(own) + wanted}


def prove_gold(data: Path) -> int:
    """Grade the gold reply and an empty reply of every rl and test row; the number of rows.

    Raises:
        RecipeError: a gold reply scores below 1.0, or an empty one above 0.0.
    """
    from eval.graders import grade

    faults, rows = [], 0
    for name in ("rl.jsonl", "test.jsonl"):
        for row in read_jsonl(data / name):
            rows += 1
            gold, empty = grade(row, row["reply"]), grade(row, "")
            if gold != 1.0 or empty != 0.0:
                faults.append(f"{name} {row['id']}: gold {row['answer']!r} scores {gold}, an empty reply {empty}")
    if faults:
        raise RecipeError(
            "gold answers do not score 1.0",
            where=str(data),
            got="\n".join(faults[:5]) + (f"\n… {len(faults)} rows in all" if len(faults) > 5 else ""),
            allowed="1.0 for every gold reply, 0.0 for an empty one",
            fix="correct the builder's reply or answer, or the grader; nothing has been trained",
        )
    return rows


def prove_images(data: Path) -> None:
    """Check that every image of a row is there under the name that its content has.

    Later stages know images by their names in the rows alone.

    Raises:
        RecipeError: an image is missing, or its content has another name.
    """
    rows = [row for name in ("sft.jsonl", "rl.jsonl", "test.jsonl") for row in read_jsonl(data / name)]
    named = sorted({image for row in rows for image in row.get("images", ())})
    faults = [
        image for image in named if not (data / image).is_file() or image_name((data / image).read_bytes()) != image
    ]
    if faults:
        raise RecipeError(
            "images of the rows are not what their names say",
            where=str(data),
            got=f"{len(faults)} of {len(named)}, such as {faults[0]}",
            allowed="files written by data_builders.core.schema.store_image",
            fix="correct the builder; nothing has been trained",
        )
