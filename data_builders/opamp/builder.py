"""Specifications of a two-stage Miller op-amp, each with sizes that meet it.

Source: demands.toml, the values that loads and demands are drawn from (written for this recipe). Of each specification
the sizes of least power are looked for by a pattern search over the values of the series E12 that simulates the circuit
(recipes/base/opamp.py); the power that is allowed is that power with some slack, so that every specification can be
met. Sizes by hand formulas alone, without a simulation, are the rules of the report.

Splits: *design* tests specifications on loads of training, *transfer* specifications on loads that no training row has;
prompts of reinforcement have specifications of their own. No specification stands twice.

Limits: one topology, one made-up process, hand formulas in the place of a circuit simulator. The thinking states three
necessary conditions and does not derive the sizes, which come from a search. Not the op-amp task of arXiv 2508.10409,
whose specifications and scores are not public.
"""

import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.build import Leaks, Made, finish
from data_builders.core.leaks import KINDS
from data_builders.core.ledger import Ledger
from data_builders.core.progress import Bar, Say
from data_builders.core.schema import order
from data_builders.opamp.search import size_by_hand, specify
from data_builders.opamp.spec import Spec
from recipes.base.errors import RecipeError
from recipes.base.opamp import PROCESS, Sizes, Specification
from recipes.base.reply_form import Exchange, render_reply
from recipes.base.rows import GradedRow, SftRow

VERSION = 1
SHIPPED = Path(__file__).parent / "corpus"
ROW_TOKENS = 150
TRIES = 4  # specifications drawn for each row wanted, at most
DEMANDS = ("gain", "gbw", "phase", "overdrive", "slack")
SOLUTION = "All transistors have the length L, and Cc joins the output to the gate of M6."
DESCRIPTION = (
    f"A two-stage Miller op-amp: NMOS input pair M1 M2 of width W1 with PMOS mirror M3 M4 of width W3 and tail "
    f"current I5; "
    f"PMOS common source M6 of width W6 with sink current I7; all lengths L; Cc between the gate and the drain of M6. "
    f"Supply {PROCESS.vdd:g} V, common mode {PROCESS.vdd / 2:g} V, threshold {PROCESS.vth:g} V, KPn "
    f"{PROCESS.kpn * 1e6:g} uA/V^2, KPp {PROCESS.kpp * 1e6:g} uA/V^2, lambda {PROCESS.lambda_n:g}/L and "
    f"{PROCESS.lambda_p:g}/L for L in um. Power counts I5 and I7. Answer in the form "
    f"I5 = 10 uA, I7 = 50 uA, W1 = 5 um, W3 = 5 um, W6 = 20 um, L = 0.5 um, Cc = 1 pF."
)


@dataclass(frozen=True)
class Design:
    """A specification and sizes that meet it, for one use."""

    split: str
    wanted: Specification
    sizes: Sizes


def corpus_dir(spec: Spec) -> Path:
    """The folder that holds the corpus of a spec."""
    return SHIPPED if spec.corpus == "shipped" else Path(spec.corpus).expanduser()


def read_demands(folder: Path) -> dict[str, list[float]]:
    """The values of a corpus folder. Raises RecipeError where they do not fit."""
    file, needed = folder / "demands.toml", ("load", "held_out", *DEMANDS)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        found = {name: [float(value) for value in table[name]] for name in needed}
        wrong = [name for name, values in found.items() if not values or not all(0 < v < math.inf for v in values)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: no values, or not above 0")
    except (OSError, KeyError, TypeError, ValueError) as error:
        allowed = f"lists of numbers above 0: {', '.join(needed)}"
        raise RecipeError("The corpus cannot be read.", where=file, got=error, allowed=allowed, fix="mend it") from None
    return found


def count_rows(spec: Spec) -> dict[str, int]:
    """Rows wanted of each split."""
    return {"sft": spec.sft_rows, "rl": spec.rl_rows, **spec.tests.model_dump()}


def forecast(spec: Spec, corpus_dir: Path, replies: Path | None = None) -> dict[str, Any]:
    """What a build will come to: no request is sent."""
    counts, tests = count_rows(spec), sum(spec.tests.model_dump().values())
    rows = {"rows": sum(counts.values()), "sft": spec.sft_rows, "rl": spec.rl_rows, "test": tests}
    demands = read_demands(corpus_dir)
    nodes = len(demands["load"]) + len(demands["held_out"])
    return rows | {"nodes": nodes, "requests": 0, "tokens": ROW_TOKENS * spec.sft_rows}


def draw_designs(
    split: str, count: int, demands: dict[str, list[float]], spec: Spec, seed: int, seen: set[str], ledger: Ledger
) -> Iterator[Design]:
    """`count` designs of one split, fewer where draws repeat or cannot be met; `seen` holds what was drawn before."""
    loads, kept = demands["held_out" if split == "transfer" else "load"], 0
    for turn in range(TRIES * count):
        if kept == count:
            return

        def draw(name: str, turn: int = turn) -> float:
            return demands[name][order(seed, split, turn, name) % len(demands[name])]

        load = loads[turn % len(loads)]
        drawn = " ".join(f"{name}={draw(name):g}" for name in DEMANDS[:-1])
        if f"{load:g} {drawn}" in seen:
            ledger.drop("designs", "drawn before", split, f"load={load:g} {drawn}")
            continue
        seen.add(f"{load:g} {drawn}")
        found = specify(load, draw, spec.search_calls)
        if found is None:
            ledger.drop("designs", "no sizes found", split, f"load={load:g} {drawn}")
            continue
        ledger.keep("designs")
        kept += 1
        yield Design(split, *found)


def ask(wanted: Specification) -> str:
    """The question of a row."""
    return (
        f"Size a two-stage op-amp that drives {wanted.load:g} pF: gain {wanted.gain:g} dB, gain-bandwidth "
        f"{wanted.gbw:g} MHz, phase margin {wanted.phase:g} deg and slew rate {wanted.slew:g} V/us or more, power "
        f"{wanted.power:g} uW or less."
    )


def think(wanted: Specification, sizes: Sizes) -> str:
    """Three conditions that the demands set, with the gold's own capacitor; each is necessary, none sufficient."""
    least = wanted.slew * sizes.Cc
    gm1 = 2 * math.pi * wanted.gbw * sizes.Cc
    most = wanted.power / PROCESS.vdd
    return (
        f"With Cc = {sizes.Cc:g} pF the slew rate asks for I5 of at least {wanted.slew:g} * {sizes.Cc:g} = "
        f"{least:.3g} uA, "
        f"the gain-bandwidth for gm1 of at least 6.28 * {wanted.gbw:g} * {sizes.Cc:g} = {gm1:.3g} uS, and the "
        f"power for "
        f"I5 + I7 of at most {wanted.power:g} / {PROCESS.vdd:g} = {most:.3g} uA."
    )


def fields_of(design: Design, described: bool) -> dict[str, Any]:
    """What a row of a design holds; prompt and reply are written from it."""
    wanted, sizes = design.wanted, design.sizes
    return {
        "question": ask(wanted),
        "asks_for": "the sizes",
        "thinking": think(wanted, sizes),
        "solution": SOLUTION,
        "answer": str(sizes),
        "node_id": f"load {wanted.load:g} pF",
        "fact_id": str(wanted),
        "family": "two-stage Miller op-amp",
        "lineage": {"split": design.split},
        **({"context": DESCRIPTION, "context_first": True} if described else {}),
    }


def build(
    spec: Spec, corpus_dir: Path, out: Path, seed: int, bar: Bar, say: Say, replies: Path | None = None
) -> dict[str, Any]:
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. No teacher is asked, so `replies` is not used. Raises RecipeError for a corpus that cannot be read and where
    the demands give too few designs.
    """
    ledger, tests_outside, demands, seen = Ledger(), read_benchmarks(spec.benchmarks), read_demands(corpus_dir), set()
    made: dict[str, list[Design]] = {}
    with bar("designs", sum(count_rows(spec).values()), "designs") as progress:
        for split, count in sorted(count_rows(spec).items()):
            made[split] = []
            for design in draw_designs(split, count, demands, spec, seed, seen, ledger):
                made[split].append(design)
                progress.advance(1, split)
            if len(made[split]) < count:
                raise RecipeError(
                    "The demands give too few designs.",
                    where=f"data: rows of {split}",
                    got=len(made[split]),
                    allowed=count,
                    fix="ask for fewer rows, allow more data.search_calls, or widen demands.toml",
                )
    graded = {"grader": "sizing"}
    rl, design, transfer = (
        [
            GradedRow(kind=split, specification=str(d.wanted), **graded, **fields_of(d, spec.described))
            for d in made[split]
        ]
        for split in ("rl", "design", "transfer")
    )
    sft = [SftRow(kind="calc", **fields_of(d, spec.described)) for d in made["sft"]]
    tested = made["design"] + made["transfer"]
    rules = [
        {"id": row.id, "reply": render_reply(Exchange(question="", answer=str(size_by_hand(d.wanted))))}
        for row, d in zip(design + transfer, tested, strict=True)
    ]
    nodes = [
        {
            "node_id": f"load {load:g} pF",
            "number": "",
            "path": [f"{load:g} pF"],
            "family": "two-stage Miller op-amp",
            "text": f"Specifications on a load of {load:g} pF.",
        }
        for load in sorted({*demands["load"], *demands["held_out"]})
    ]
    return finish(
        out,
        "opamp",
        VERSION,
        __doc__,
        Made(nodes, sft, rl, design + transfer, {"rules": rules}),
        ledger,
        Leaks(spec.leak_threshold, (DESCRIPTION,), tests_outside, KINDS),
        say,
        flow=[],
        process={name: value for name, value in vars(PROCESS).items()},
        demands=demands,
        search_calls=spec.search_calls,
    )
