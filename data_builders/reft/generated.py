"""Word problems from the templates of families.toml and transfer.toml: read, draw numbers, work out, split.

Tested value combinations are set aside before anything else is drawn, so no training row holds one of them. Half of the
test items of a taught family also use the wording that no training row has.
"""

import math
import random
import re
import string
import tomllib
from dataclasses import dataclass

from data_builders.core import arithmetic
from data_builders.core.schema import order
from data_builders.core.selection import first, in_turns
from data_builders.reft import chains
from data_builders.reft.worked import Worked
from recipes.base.errors import RecipeError
from recipes.base.toml import read_toml

FILE, HELD_OUT = "families.toml", "transfer.toml"
LEVELS = {1: "one", 2: "two", 3: "three", 4: "four"}
KEYS = {"result", "expression", "given", "wordings"}
SPARE, LEAST = 4, 160  # clean value combinations looked at: so many for each that is needed, and no fewer


@dataclass(frozen=True)
class Given:
    symbol: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """A template. The last of its wordings is kept for the test; `words` holds what {who}, {thing} … may be."""

    id: str
    family: str
    transfer: bool
    result: str
    expression: str
    given: tuple[Given, ...]
    wordings: tuple[str, ...]
    words: dict

    @property
    def symbols(self):
        return [given.symbol for given in self.given]

    @property
    def tree(self):
        return arithmetic.parse(self.expression, self.symbols, self.id)

    @property
    def difficulty(self):
        return arithmetic.operations(self.tree)


def read_problems(folder):
    """Every problem of the two files, or of the first alone. Raises RecipeError that lists all that is wrong."""
    found, faults = [], []
    for file in (folder / FILE, folder / HELD_OUT):
        if file.name == FILE or file.is_file():
            more, wrong = _read_file(file)
            found, faults = found + more, faults + wrong
    faults += _shared_formulas(found)
    if faults or not found:
        raise RecipeError(
            "The word problems are not usable.",
            where=str(folder),
            got="\n".join(faults[:10]) or "no [[family.problem]]",
            allowed="two or more wordings with each given once, one to four operations, no taught formula held out",
            fix="mend the problems named",
        )
    return found


def _shared_formulas(problems):
    """One fault for each held-out problem that is a taught one in other words."""
    taught = {chains.find_shape(problem.tree): problem.id for problem in problems if not problem.transfer}
    for problem in problems:
        if problem.transfer and (known := taught.get(chains.find_shape(problem.tree))):
            yield f"{problem.id}: {problem.expression} is the formula of {known}"


def _read_file(file):
    """(problems, faults) of one file."""
    try:
        table = read_toml(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError("The word problems cannot be read.", where=str(file), got=str(error)) from None
    found, faults = [], []
    for family in table.get("family", ()):
        words = table.get("words", {}) | {
            key: value for key, value in family.items() if key not in ("name", "transfer", "problem")
        }
        for number, entry in enumerate(family.get("problem", ()), 1):
            name = f"{family.get('name')}-{number}"
            if entry.keys() != KEYS:
                faults.append(f"{name}: keys {sorted(entry)}, expected {sorted(KEYS)}")
                continue
            given = tuple(Given(symbol, _span(*limits)) for symbol, limits in entry["given"].items())
            problem = Problem(
                name,
                family["name"],
                family.get("transfer", False),
                entry["result"],
                entry["expression"],
                given,
                tuple(entry["wordings"]),
                words,
            )
            faults += _faults(problem)
            found.append(problem)
    return found, faults


def _span(low, high, step=1):
    return tuple(range(low, high + 1, step))


def _faults(problem):
    if not 1 <= problem.difficulty <= len(LEVELS):
        yield f"{problem.id}: {problem.difficulty} operations"
    if len(problem.wordings) < 2:
        yield f"{problem.id}: {len(problem.wordings)} wordings"
    for wording in problem.wordings:
        slots = [name for _, name, _, _ in string.Formatter().parse(wording) if name]
        for symbol in problem.symbols:
            if slots.count(symbol) != 1:
                yield f"{problem.id}: {{{symbol}}} stands {slots.count(symbol)} times in {wording!r}"
        for name in set(slots) - set(problem.symbols) - problem.words.keys():
            yield f"{problem.id}: nothing to put for {{{name}}} in {wording!r}"


def combinations(problem, size, largest, seed):
    """Value combinations {symbol: Fraction} of which every number of the chain is whole, above 0 and <= largest.

    `size` of them are wanted; a few more or fewer come out.
    """
    tree = problem.tree
    return [
        values
        for values in arithmetic.combinations(problem, seed, max(LEAST, SPARE * size))
        if all(
            "." not in number and 0 < int(number) <= largest
            for part in arithmetic.steps(tree, values)[1:]
            for number in re.findall(r"[\d.]+", part)
        )
    ]


def solve(problem, values, wording, seed, forms=chains.FORMS):
    """The problem with these values in words, worked out in one of the ways to write a chain."""
    shown = {symbol: arithmetic.text(value) for symbol, value in values.items()}
    rng = random.Random(f"{seed} {problem.id} {wording} {shown}")
    words = {name: rng.choice(choices) for name, choices in sorted(problem.words.items())}
    form = random.Random(f"chain {seed} {problem.id} {wording} {shown}").choice(forms)
    symbolic, *line = arithmetic.steps(problem.tree, values)
    code = [f"{symbol} = {value}" for symbol, value in shown.items()]
    return Worked(
        node_id=problem.id,
        family=problem.family,
        question=problem.wordings[wording].format(**words, **shown),
        thinking=chains.write_chain(form, problem.result, problem.tree, values),
        solution=chains.state_answer(problem.result, line[-1]),
        plan=f"{problem.result} = {symbolic}",
        program="\n".join([*code, f"print({python(problem.expression)})"]),
        answer=line[-1],
        difficulty=problem.difficulty,
        lineage={
            "wording": wording,
            "values": shown,
            "seen_wording": wording < len(problem.wordings) - 1,
            "chain": form,
        },
    )


def python(expression):
    """The expression as Python; a quotient is whole by the choice of values, so it is printed as a whole number."""
    return expression.replace("/", "//")


def shares(spec, size, levels=frozenset(LEVELS)):
    """{operations: rows} of `size` rows by the mix, of the levels that there are; whole numbers that add up."""
    parts = {level: getattr(spec.mix, name) if level in levels else 0.0 for level, name in LEVELS.items()}
    whole, found, done = sum(parts.values()) or 1.0, {}, 0.0
    for level, part in parts.items():
        found[level] = round((done + part) * size / whole) - round(done * size / whole)
        done += part
    return found


def collect(spec, folder, seed, ledger):
    """(problems, sft, rl, {kind: test items}); sft, rl and test items are Worked. Raises RecipeError for too few."""
    problems, forms = read_problems(folder), chains.FORMS if spec.forms == "several" else chains.FORMS[:1]
    tests, sft, rl = {"problems": [], "transfer": []}, [], []
    sizes = {name: shares(spec, size) for name, size in (("sft", spec.sft_rows), ("rl", spec.rl_rows))}
    wanted = {
        name: shares(spec, getattr(spec.tests, name), {p.difficulty for p in problems if p.transfer == held})
        for name, held in (("problems", False), ("transfer", True))
    }
    for level in LEVELS:
        level_sft, level_rl, level_tests = [], [], {name: [] for name in tests}
        members = [problem for problem in problems if problem.difficulty == level]
        taught = sum(not problem.transfer for problem in members)
        tested = {
            True: math.ceil(wanted["transfer"][level] / max(1, len(members) - taught)),
            False: math.ceil(wanted["problems"][level] / max(1, taught)),
        }
        trained = math.ceil(max(sizes["sft"][level], sizes["rl"][level]) / max(1, taught))
        for problem in members:
            wished = tested[problem.transfer] + (0 if problem.transfer else trained)
            wished *= 1 if spec.rl_prompts == "same" else 2
            pool, count = combinations(problem, wished, spec.largest, seed), len(problem.wordings)
            # A problem with few combinations keeps at least two thirds of them for training; a held-out one none.
            cut = min(tested[problem.transfer], len(pool) if problem.transfer else len(pool) // 3)
            if problem.transfer:
                level_tests["transfer"] += [solve(problem, v, n % count, seed, forms) for n, v in enumerate(pool[:cut])]
                continue
            level_tests["problems"] += [
                solve(problem, values, count - 1 if draw % 2 else draw // 2 % (count - 1), seed, forms)
                for draw, values in enumerate(pool[:cut])
            ]
            rest = pool[cut:]
            half = len(rest) // 2 if spec.rl_prompts == "fresh" else 0
            level_sft += _trained(problem, rest[half:], trained, seed, forms)
            level_rl += _trained(problem, rest[:half], trained, seed, forms)
        for name, items in level_tests.items():
            tests[name] += _enough(items, wanted[name][level], f"tests.{name}", level, seed, ledger)
        chosen = first(in_turns(level_sft, _node, seed), sizes["sft"][level], "sft", ledger)
        sft += chosen
        source = chosen if spec.rl_prompts == "same" else level_rl
        rl += first(in_turns(source, _node, seed), sizes["rl"][level], "rl", ledger)
    return problems, _shuffled(sft, seed), _shuffled(rl, seed), tests


def _trained(problem, pool, size, seed, forms):
    """`size` problems, or all: every combination once before any comes again in another of the wordings taught."""
    taught = len(problem.wordings) - 1
    drawn = [(values, (draw + turn) % taught) for turn in range(taught) for draw, values in enumerate(pool)]
    return [solve(problem, values, wording, seed, forms) for values, wording in drawn[:size]]


def _node(worked):
    return worked.node_id


def _shuffled(records, seed):
    return sorted(records, key=lambda worked: order(seed, "rows", worked.id))


def _enough(items, size, where, level, seed, ledger):
    chosen = first(in_turns(items, _node, seed), size, where.split(".")[1], ledger)
    if len(chosen) < size:
        raise RecipeError(
            "The word problems give too few test items.",
            where=f"data.{where}",
            got=f"{len(chosen)} items of {level} operations",
            allowed=f"{size} items, as asked",
            fix=f"ask for fewer, lower data.mix.{LEVELS[level]}, or raise data.largest",
        )
    return chosen
