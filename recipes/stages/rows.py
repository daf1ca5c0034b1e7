"""Rows -> rows: several sources put together, rows selected, made from others, and general ones added.

rows of one or more steps ──► select ──► augment ──► mix ──► rows, proven and compared with the tests again
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.decontamination import OWN, is_learnt
from data_builders.core.leaks import compare_row
from data_builders.core.ledger import CLEANED, Ledger
from data_builders.sources.reader import count_tokens
from data_builders.sources.texts import documents
from recipes.artifacts.forecasts import Work
from recipes.artifacts.proofs import prove_gold, prove_images
from recipes.artifacts.rows_context import RowsContext
from recipes.base.errors import RecipeError
from recipes.base.hashing import files_under
from recipes.base.jsonl import read_jsonl, write_json, write_jsonl
from recipes.base.table import Table, runtime_field
from recipes.config.slots import Method, many_of, module_of

VERSION = 1
PLACE = 10
LEAVES = "rows"
COMPARES = True  # rows with the test items
OWN_FILES = ("manifest.json", "card.json", "leaks.json")  # of an input, not taken over as they are


class Config(Table):
    """What is done to rows between the builder and training, in this order."""

    file: str = Field("sft", pattern=r"^[a-z_]+$", description="stem of the file whose rows are changed")
    select: dict[str, SerializeAsAny[Method]] = many_of("select")
    augment: dict[str, SerializeAsAny[Method]] = many_of("augment")
    mix: dict[str, SerializeAsAny[Method]] = many_of("mix")
    corpus: str = runtime_field(  # its content is part of what the result is
        "",
        "a folder of documents (./x, /x, ~/x) to learn in [cpt], in place of the builder's own texts",
        pattern=r"^([./~].*)?$",
    )


def list_reads(spec: Any) -> dict[str, list[str]]:
    """Files of the inputs that decide the result."""
    return {"rows": ["*"], "corpus": ["*"]}


def forecast(spec: Any, counts: dict[str, Any], runs: Path) -> Work:
    """Counts the rows after each method; adds them to `counts`, with the words of the recipe's own sft rows."""
    table, before = spec.rows, counts.get(spec.rows.file, 0)
    own = count_after((*table.select.values(), *table.augment.values()), before)
    rows = count_after(table.mix.values(), own)
    counts[table.file] = rows
    if table.file == "sft":
        counts["general_rows"] = counts.get("general_rows", 0) + rows - own
        if before and "tokens" in counts:
            counts["tokens"] = round(counts["tokens"] * own / before)
    if table.corpus:
        texts, counts["cpt_tokens"] = documents(Path(table.corpus).expanduser(), Ledger())
        counts["cpt"] = len(texts)
    return Work(rows=rows, steps=0, tokens=0, notes=f"{before} rows before")


def count_after(methods: Iterable[Method], rows: int) -> int:
    """Rows after some methods, of so many before; a method that cannot say is taken to keep their number."""
    for method in methods:
        count = getattr(module_of(method), "count_rows", None)
        rows = count(method, rows) if count else rows
    return rows


def run(spec: Any, inputs: dict[str, Path], out: Path, runtime: Any) -> dict[str, Any]:
    """Write a whole folder of rows to `out`; files that do not change are linked.

    Raises:
        RecipeError: rows of two sources have one id, or a method cannot work.
    """
    sources = {name: folder for name, folder in inputs.items() if name != "corpus"}
    clear(out)
    ledger = Ledger()
    card = take_over(sources, out)
    tests = {OWN: [compare_row(row) for row in read_jsonl(out / "test.jsonl")]}
    tests |= read_benchmarks(spec.benchmarks)
    context = RowsContext(
        spec.seed, tests, ledger, out, runtime, lambda: load_model(spec), lambda rows: load_reader(spec, rows)
    )
    if len(sources) > 1:  # one source's training rows may hold an item of another's test
        for file in sorted(out.glob("*.jsonl")):
            clean(file, context)
    if spec.rows.corpus:
        write_texts(inputs["corpus"], spec.rows.corpus, context)
    change_rows(spec.rows, context)
    card["ledger"] = card.get("ledger", {}) | ledger.totals()
    write_json(out / "card.json", card | {"methods": context.note} if context.note else card)
    write_jsonl(out / "rows_ledger.jsonl", ledger.rows)
    gold = prove_gold(out)
    prove_images(out)
    return count_files(out) | {"gold": gold}


def load_model(spec: Any) -> tuple[Any, Any]:
    """(the recipe's base, its tokenizer)"""
    from recipes.models import loader

    return loader.load_base(spec.model).eval(), loader.load_tokenizer(spec.model)


def load_reader(spec: Any, rows: Iterable[dict[str, Any]]) -> Any:
    """The tokenizer of the recipe's base, or its processor where rows have images."""
    from recipes.models import vision

    return vision.load_reader(spec.model, list(rows))


def change_rows(table: Config, context: RowsContext) -> None:
    """Run the methods over the rows of `table.file`, and write what is left."""
    file = context.folder / f"{table.file}.jsonl"
    if not (table.select or table.augment or table.mix):
        return
    rows = read_jsonl(file)
    for name, own in table.select.items():
        rows = select_rows(name, own, rows, context)
    for name, own in table.augment.items():
        made = module_of(own).augment(rows, own, context)
        rows = rows + context.remove_test_items(made, name)
    own_rows = list(rows)
    for own in table.mix.values():
        rows = rows + module_of(own).mix(own_rows, own, context)
    check_ids(rows, file)
    replace_file(file, rows)


def select_rows(name: str, own: Method, rows: list[dict[str, Any]], context: RowsContext) -> list[dict[str, Any]]:
    """The rows that a method keeps; the others are counted with their reasons."""
    kept, dropped = module_of(own).select(rows, own, context)
    if len(kept) + len(dropped) != len(rows):
        raise RecipeError(
            "a method of the slot select lost rows",
            where=f"rows.select.{name}",
            got=f"{len(rows)} rows in, {len(kept)} kept, {len(dropped)} dropped",
            allowed="every row kept, or dropped with a reason",
            fix="mend the method",
        )
    context.ledger.keep(name, len(kept))
    for row, reason in dropped:
        context.ledger.drop(name, reason, row["id"])
    if not kept:
        raise RecipeError("no row is left", where=f"rows.select.{name}", got=f"{len(rows)} rows in", allowed="one")
    return kept


def clear(out: Path) -> None:
    """Remove what an earlier attempt left."""
    for path in out.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def take_over(sources: dict[str, Path], out: Path) -> dict[str, Any]:
    """Link or join the files of the sources in `out`; their data card."""
    names = dict.fromkeys(name for folder in sources.values() for name in files_under(folder))
    for name in names:
        files = [folder / name for folder in sources.values() if (folder / name).is_file()]
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in OWN_FILES:
            continue
        if len(files) == 1 or not name.endswith(".jsonl"):
            link(files[0], target)
        else:
            rows = [row for file in files for row in read_jsonl(file)]
            check_ids(rows, target)
            write_jsonl(target, rows)
    cards = {name: read_card(folder) for name, folder in sources.items()}
    if len(cards) == 1:
        (folder,) = sources.values()
        if (folder / "leaks.json").is_file():
            link(folder / "leaks.json", out / "leaks.json")
        return next(iter(cards.values()))
    return {
        "name": " + ".join(str(card.get("name", name)) for name, card in cards.items()),
        "about": " ".join(str(card.get("about", "")) for card in cards.values()).strip(),
        "limits": " ".join(str(card.get("limits", "")) for card in cards.values()).strip(),
        "ledger": {
            f"{name}: {step}": total for name, card in cards.items() for step, total in card.get("ledger", {}).items()
        },
        "families": dict(sum((Counter(card.get("families", {})) for card in cards.values()), Counter())),
    }


def read_card(folder: Path) -> dict[str, Any]:
    """The data card of a folder of rows; empty where it has none."""
    file = folder / "card.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the disk knows no such."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def replace_file(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows in place of a file that may be linked from another step."""
    file.unlink(missing_ok=True)
    write_jsonl(file, rows)


def check_ids(rows: Iterable[dict[str, Any]], file: Path) -> None:
    """Raises RecipeError where two rows have one id."""
    counts = Counter(row["id"] for row in rows if "id" in row)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise RecipeError(
            "two rows have one id",
            where=file,
            got=f"{len(twice)} ids, such as {twice[0]}",
            allowed="ids that tell rows apart",
            fix="do not name one source twice; a method gives each row that it makes an id of its own",
        )


def clean(file: Path, context: RowsContext) -> None:
    """Take the rows out of a file that hold an item of a test, where it is one to learn."""
    rows = read_jsonl(file)
    if not is_learnt(file.stem, rows):
        return
    kept = context.remove_test_items(rows, f"{CLEANED} of {file.stem}")
    if len(kept) < len(rows):
        replace_file(file, kept)


def write_texts(folder: Path, name: str, context: RowsContext) -> None:
    """Write the documents of `folder` as cpt.jsonl, without those that hold a test item."""
    texts, _ = documents(folder, context.ledger)
    kept = context.remove_test_items(texts, "pre-training")
    replace_file(context.folder / "cpt.jsonl", kept)
    context.note["corpus"] = {"folder": name, "texts": len(kept)}


def count_files(out: Path) -> dict[str, Any]:
    """What later steps are told: rows of each kind of test, and words of the supervised rows."""
    kinds = Counter(row["kind"] for row in read_jsonl(out / "test.jsonl"))
    turns = [turn for row in read_jsonl(out / "sft.jsonl") for turn in row["prompt"] + row["completion"]]
    texts = read_jsonl(out / "cpt.jsonl") if (out / "cpt.jsonl").is_file() else []
    return {
        "tokens": sum(count_tokens(turn["content"]) for turn in turns),
        **({"cpt_tokens": sum(count_tokens(row["text"]) for row in texts)} if texts else {}),
        **{f"test_{kind}": count for kind, count in sorted(kinds.items())},
    }
