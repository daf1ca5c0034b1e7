"""How often a verdict is wrong: false alarms and power of this project's rule and of others, on simulated tunings.

The items are real answers of the laboratory's models, base and tuned, right or wrong, with the source each item
was made from: `calibration_items.csv`, from runs by `--items`. A simulated task draws sources, and items in them;
where nothing is to change, the two models' labels are exchanged at random, pair by pair for single items and for a
whole source at once where items share one: the true difference is zero, and those within a source still agree. A true
effect turns that share of the tuned model's wrong answers right (or right ones wrong). Graded items are the mean of
four answers from one source. "Uneven" sources hold 1 to 20 items.

    python -m benchmarks.calibration --tunings 2000 --write docs     tables and picture for docs/verdict.md
    python -m benchmarks.calibration --items runs/*/embedded         the table of answers anew
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.calibration_rules import ALPHA, MARGIN, RULES, Family
from recipes.report.answers import Model
from recipes.report.pairing import pair_models
from recipes.report.readers import Choice, read_evaluation
from recipes.report.stats import wilson

ITEMS = Path(__file__).parent / "calibration_items.csv"
SIZES, SOURCES, TASKS = (40, 100, 500, 2000), ("1", "5", "20", "uneven"), (1, 4, 8, 12)
EFFECTS = (0.02, 0.05, 0.10)
PARTS = 4  # answers in a graded item
SEED = 7


def read_items(file: Path = ITEMS) -> list[np.ndarray]:
    """For each source the answers [items, 2] of base and tuned model, 0 or 1."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found[row["task"], row["source"]].append((float(row["base"]), float(row["tuned"])))
    return [np.array(pairs) for pairs in found.values()]


def write_items(runs: list[Path], file: Path) -> int:
    """Write the table of right or wrong answers of base and tuned model, from the evaluations below `runs`."""
    rows = []
    for home in sorted(home for run in runs for home in run.rglob("lm_eval")):
        models = {name: Model(name, name, 0, home / name) for name in ("base", "rl", "sft") if (home / name).is_dir()}
        tuned = next((name for name in ("rl", "sft") if name in models), None)
        if "base" not in models or tuned is None:
            continue
        read = {name: read_evaluation(models[name].folder, models[name], Choice()) for name in ("base", tuned)}
        shared = read["base"].keys() & read[tuned].keys()
        found = pair_models({name: {task: read[name][task] for task in sorted(shared)} for name in read})
        for task, answers in found.items():
            numbers: dict[str, int] = {}
            for before, after in zip(answers["base"].items, answers[tuned].items, strict=True):
                source = numbers.setdefault(before.cluster, len(numbers))
                if {before.score, after.score} <= {0.0, 1.0}:
                    rows.append((task, source, int(before.score), int(after.score)))
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("task", "source", "base", "tuned"), *rows])
    return len(rows)


def make_sources(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Number of each item's source, [N]; of "uneven" ones the sizes are drawn from 1 to 20."""
    if kind != "uneven":
        return np.arange(n) // int(kind)
    sizes = rng.integers(1, 21, size=n)
    return np.repeat(np.arange(n), sizes)[:n]


def draw_pairs(
    pool: list[np.ndarray], source_N: np.ndarray, parts: int, tunings: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Answers (base, tuned) of one task, [N, parts, K] each, with labels exchanged at random: no true difference."""
    answers = np.concatenate(pool)
    sizes = np.array([len(pairs) for pairs in pool])
    starts = np.cumsum(sizes) - sizes
    chances = sizes / sizes.sum()  # a source as often as it has items, so that an item is drawn as often as any other
    drawn_CK = rng.choice(len(pool), p=chances, size=(int(source_N[-1]) + 1, tunings))
    swapped_CK = rng.random(drawn_CK.shape) < 0.5
    place = rng.random((len(source_N), parts, tunings)) * sizes[drawn_CK][source_N][:, None, :]
    place = starts[drawn_CK][source_N][:, None, :] + place.astype(int)
    first, second = answers[place, 0], answers[place, 1]
    swapped = swapped_CK[source_N][:, None, :]
    return np.where(swapped, second, first), np.where(swapped, first, second)


def make_family(
    pool: list[np.ndarray], n: int, kind: str, graded: bool, tasks: int, effect: float, tunings: int, seed: int
) -> Family:
    """`tasks` tasks of n items for `tunings` tunings whose true effect, on each task, is `effect`."""
    rng = np.random.default_rng([seed, n, SOURCES.index(kind), graded, round(1000 * abs(effect)), effect < 0])
    source_N = make_sources(kind, n, rng)
    base, tuned, differences, spreads = [], [], [], ([], [])
    right = np.concatenate(pool).mean()  # of either model once labels are exchanged
    for _ in range(tasks):
        before, after = draw_pairs(pool, source_N, PARTS if graded else 1, tunings, rng)
        if effect:
            share = abs(effect) / ((1 - right) if effect > 0 else right)
            touched = rng.random(after.shape) < share
            after = np.where(touched, 1.0 if effect > 0 else 0.0, after)
        before, after = before.mean(axis=1), after.mean(axis=1)
        base.append(before.mean(axis=0))
        tuned.append(after.mean(axis=0))
        differences.append(after - before)
        for found, scores in zip(spreads, (before, after), strict=True):
            found.append(scores.std(axis=0))
    stacked = (np.stack(spreads[0]), np.stack(spreads[1]))
    names = [str(source) for source in source_N]
    return Family(np.stack(base), np.stack(tuned), np.stack(differences), stacked, names, not graded)


def measure(tunings: int, sizes: tuple[int, ...], seed: int) -> list[dict]:
    """One row for each cell and rule: counts of wrong verdicts and of right ones."""
    pool, rows = read_items(), []
    for graded in (False, True):
        for kind in SOURCES:
            for n in sizes:
                cell = {"n": n, "sources": kind, "graded": graded, "tunings": tunings}
                started = time.monotonic()
                null = make_family(pool, n, kind, graded, max(TASKS), 0.0, tunings, seed)
                for test in ("p", "clusters", "items"):
                    null.list_p(test)
                for tasks in TASKS:
                    family = null.first(tasks)
                    for rule, say in RULES.items():
                        better, worse = say(family)
                        wrong = int((better | worse).any(axis=0).sum())
                        improved, harmed = int(better.any(axis=0).sum()), int(worse.any(axis=0).sum())
                        found = {"wrong": wrong, "improved": improved, "harmed": harmed}
                        rows.append(cell | {"rule": rule, "effect": 0.0, "tasks": tasks, **found})
                kept = null.list_p("lower")[0] > -MARGIN
                lost = make_family(pool, n, kind, graded, 1, -MARGIN, tunings, seed).list_p("lower")[0] > -MARGIN
                rows.append(cell | {"rule": "no worse", "effect": 0.0, "tasks": 1, "said": int(kept.sum())})
                rows.append(cell | {"rule": "no worse", "effect": -MARGIN, "tasks": 1, "said": int(lost.sum())})
                for effect in EFFECTS:
                    family = make_family(pool, n, kind, graded, 4, effect, tunings, seed)
                    for rule, say in RULES.items():
                        found = {"shown": int(say(family)[0][0].sum())}
                        rows.append(cell | {"rule": rule, "effect": effect, "tasks": 4, **found})
                print(f"{cell}: {time.monotonic() - started:.0f} s", flush=True)
    return rows


def select(rows: list[dict], **wanted) -> list[dict]:
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def rate(count: int, tunings: int) -> str:
    """Per cent with its 95 % Wilson interval."""
    around = wilson(count, tunings)
    return f"{100 * count / tunings:.1f} ({100 * around.low:.1f}–{100 * around.high:.1f})"


def as_markdown(rows: list[dict]) -> str:
    """The tables of docs/verdict.md."""
    tunings, sizes = rows[0]["tunings"], sorted({row["n"] for row in rows})
    lines = [
        "**False alarms of the whole verdict**: nothing changed, and at least one task is called better or worse,",
        f"per cent of {tunings:,} tunings with a 95 % interval; right or wrong items.",
        "",
    ]
    cells = [(8, 40, "1"), (4, 100, "1"), (4, 100, "5"), (4, 500, "5"), (12, 500, "20"), (12, 2000, "uneven")]
    cells = [cell for cell in cells if cell[1] in sizes]
    lines += ["| rule | " + " | ".join(f"{t} tasks of {n}, sources of {k}" for t, n, k in cells) + " |"]
    lines += ["|:--|" + "--:|" * len(cells)]
    for rule in RULES:
        counts = [select(rows, rule=rule, effect=0.0, tasks=t, n=n, sources=k, graded=False)[0] for t, n, k in cells]
        lines += [f"| {rule} | " + " | ".join(rate(row["wrong"], tunings) for row in counts) + " |"]
    alarms = [row for row in select(rows, rule="this project", effect=0.0) if "wrong" in row]
    worst = max(alarms, key=lambda row: row["wrong"])
    lines += [
        "",
        f"Over all {len(alarms)} cells ({', '.join(map(str, TASKS))} tasks) the worst here is",
    ]
    lines += [f"{rate(worst['wrong'], tunings)} %: {describe(worst)}."]
    formers = [row for row in select(rows, rule="… former bootstrap over clusters", effect=0.0) if "wrong" in row]
    worst = max(formers, key=lambda row: row["wrong"])
    lines += [f"The former bootstrap's worst was {rate(worst['wrong'], tunings)} %: {describe(worst)}.", ""]
    lines += ["**Power**: a true gain is shown on the first of four tasks, per cent; right or wrong items.", ""]
    cells = [(e, n, k) for e in EFFECTS for n, k in ((100, "1"), (500, "5"), (2000, "5")) if n in sizes]
    lines += ["| rule | " + " | ".join(f"+{100 * e:g} points, {n} items, sources of {k}" for e, n, k in cells) + " |"]
    lines += ["|:--|" + "--:|" * len(cells)]
    for rule in RULES:
        counts = [select(rows, rule=rule, effect=e, n=n, sources=k, graded=False)[0] for e, n, k in cells]
        lines += [f"| {rule} | " + " | ".join(f"{100 * row['shown'] / tunings:.0f}" for row in counts) + " |"]
    lines += [
        "",
        "**No worse** (within 5 points) said of a task, per cent: of a true loss of 5 points, which is the error,",
        "and of no change, which is the power.",
        "",
    ]
    lines += ["| items | sources of | error, right or wrong | error, graded | power, right or wrong | power, graded |"]
    lines += ["|--:|:--|--:|--:|--:|--:|"]
    for n in sizes:
        for kind in SOURCES:
            found = [
                select(rows, rule="no worse", effect=effect, n=n, sources=kind, graded=graded)[0]["said"]
                for effect in (-MARGIN, 0.0)
                for graded in (False, True)
            ]
            texts = [rate(count, tunings) for count in found[:2]] + [
                f"{100 * count / tunings:.0f}" for count in found[2:]
            ]
            lines += [f"| {n:,} | {kind} | " + " | ".join(texts) + " |"]
    return "\n".join(lines) + "\n"


def describe(row: dict) -> str:
    scores = "graded" if row["graded"] else "right or wrong"
    return f"{row['tasks']} tasks of {row['n']} items, sources of {row['sources']}, {scores}"


def draw_picture(rows: list[dict]) -> str:
    """False alarms of each rule as bars, over four tasks of 100 items in sources of 5, with a line at 5 %."""
    tunings = rows[0]["tunings"]
    n = 100 if select(rows, n=100) else rows[0]["n"]
    found = {
        rule: select(rows, rule=rule, effect=0.0, tasks=4, n=n, sources="5", graded=False)[0]["wrong"] for rule in RULES
    }
    left, wide, step = 250, 420, 30
    high = step * len(found) + 60
    box = f'viewBox="0 0 {left + wide + 90} {high}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="10" y="20" font-weight="bold">Nothing changed, a change is claimed: % of {tunings:,} tunings</text>',
    ]
    for place, (rule, count) in enumerate(found.items()):
        y, share = 40 + step * place, count / tunings
        colour = "#2563eb" if rule == "this project" else "#9ca3af"
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{rule.replace("`", "")}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{max(1, wide * share):.1f}" height="20" fill="{colour}"/>')
        parts.append(f'<text x="{left + wide * share + 6:.1f}" y="{y + 14}">{100 * share:.1f}</text>')
    x = left + wide * ALPHA
    parts.append(f'<line x1="{x}" x2="{x}" y1="34" y2="{high - 24}" stroke="#dc2626" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{x}" y="{high - 8}" text-anchor="middle" fill="#dc2626">5 %</text>')
    parts.append(f'<text x="{left + 60}" y="{high - 8}">four tasks of {n} items, five items a source</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--tunings", type=int, default=1000, help="simulated in each cell")
    about.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="items of a task")
    about.add_argument("--seed", type=int, default=SEED)
    about.add_argument(
        "--items", type=Path, nargs="+", metavar="RUN", help="write the table of answers from these runs"
    )
    about.add_argument("--write", type=Path, metavar="DIR", help="write calibration.md, .json and .svg there")
    options = about.parse_args()
    if options.items:
        print(write_items(options.items, ITEMS), "items")
        return
    rows = measure(options.tunings, tuple(options.sizes), options.seed)
    text = as_markdown(rows)
    print(text)
    if options.write:
        (options.write / "calibration.md").write_text(text, encoding="utf-8")
        (options.write / "calibration.svg").write_text(draw_picture(rows), encoding="utf-8")
        (options.write / "calibration.json").write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
