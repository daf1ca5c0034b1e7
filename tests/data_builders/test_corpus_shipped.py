"""The shipped mini-textbook: complete, well formed, consistent in its units, and right where a simulator can say so."""

import ast
import math
import re
import shutil
import subprocess
from collections import Counter

import pint
import pytest

from data_builders.analogseeker.builder import SHIPPED
from data_builders.analogseeker.expert import distractors
from data_builders.core import arithmetic
from data_builders.core.ledger import Ledger
from data_builders.sources.facts import STANCES
from data_builders.sources.reader import read_corpus

CORPUS = read_corpus(SHIPPED, 30, 10000, Ledger())
FACTS = [fact for entry in CORPUS.facts.values() for fact in entry.fact]
FORMULAS = {formula.id: formula for entry in CORPUS.facts.values() for formula in entry.formula}
UNITS = pint.UnitRegistry()
PURE = ("", "dB", "deg", "%", "bit", "V/V", "A/A")  # plain numbers to the formulas


def test_it_has_nodes_over_many_families_each_with_prose_facts_and_terms():
    assert len(CORPUS.nodes) >= 48 and not any(node.flags for node in CORPUS.nodes)
    families = Counter(node.family for node in CORPUS.nodes)
    assert len(families) >= 12 and min(families.values()) >= 3
    for node in CORPUS.nodes:
        assert 80 <= len(node.text.split()) <= 400, node.path
        assert len(CORPUS.facts[node.node_id].fact) >= 3, node.path
        assert all(term.casefold() in node.text.casefold() for term in CORPUS.terms[node.node_id]), node.path
    assert len(FACTS) >= 240 and len(FORMULAS) >= 48


def test_chapters_and_sidecars_come_in_pairs_with_numbered_sections():
    assert {path.stem for path in SHIPPED.glob("*.md")} == {path.stem for path in SHIPPED.glob("*.toml")}
    for node in CORPUS.nodes:
        assert re.fullmatch(r"\d+\.\d+", node.number) and node.book_id.startswith(
            f"{int(node.number.split('.')[0]):02d}_"
        )


def test_every_stance_is_taken_often_enough():
    counts = Counter(fact.stance for fact in FACTS)
    assert set(counts) == set(STANCES) and min(counts.values()) >= 25, counts


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.id)
def test_a_fact_is_well_formed(fact):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fact.id)
    assert len(set(fact.questions)) == len(fact.questions) >= 5
    assert all(re.match(r"[A-Z]|[a-z]\w{1,2}\W", question) and question[-1] in ".?" for question in fact.questions)
    assert 1 <= len(fact.answer.split()) <= 7 and not fact.answer.endswith(".")
    assert all(len(option.split()) <= 9 and not option.endswith(".") for option in fact.wrong)
    assert len(fact.why.split()) <= 18 and fact.why.endswith(".")


def test_questions_are_unique_in_the_whole_corpus():
    counts = Counter(question for fact in FACTS for question in fact.questions)
    assert [question for question, count in counts.items() if count > 1] == []


def as_unit(name):
    if name in PURE:
        return UNITS.dimensionless
    name = name.replace("rtHz", "Hz**0.5").replace("^", "**").replace("Mrad", "megaradian").replace("Ohm", "ohm")
    return UNITS.parse_units({"C": "kelvin"}.get(name, name))


def with_units(node, values):
    """The value of an expression tree on pint quantities, by nothing but the meaning of the signs."""
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return -with_units(node.operand, values)
    if isinstance(node, ast.Call):
        inner = with_units(node.args[0], values)
        return inner**0.5 if node.func.id == "sqrt" else math.log10(UNITS.Quantity(inner).to("").magnitude)
    left, right = with_units(node.left, values), with_units(node.right, values)
    if isinstance(node.op, ast.Pow):
        return left ** (right.to("").magnitude if hasattr(right, "to") else right)
    return {
        ast.Add: lambda: left + right,
        ast.Sub: lambda: left - right,
        ast.Mult: lambda: left * right,
        ast.Div: lambda: left / right,
    }[type(node.op)]()


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_a_formula_is_right_in_its_working_units_and_has_clean_values(formula):
    tree = arithmetic.parse(formula.expression, formula.symbols, formula.id)
    combinations = arithmetic.combinations(formula, 42)
    assert len(combinations) >= 30
    for values in combinations[:3]:
        quantities = {
            given.symbol: UNITS.Quantity(float(values[given.symbol]), as_unit(given.unit)) for given in formula.given
        }
        result = UNITS.Quantity(with_units(tree, quantities)).to(as_unit(formula.unit)).magnitude
        assert result == pytest.approx(float(arithmetic.evaluate(tree, values)), rel=1e-9)
        right = arithmetic.evaluate(tree, values)
        assert len(distractors(formula, values, right)) == 3
    assert 1 <= arithmetic.operations(tree) <= 4


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_a_formula_is_well_formed(formula):
    assert len(set(formula.questions)) == len(formula.questions) >= 4
    assert all(
        question.count("{givens}") == 1 and "{" not in question.replace("{givens}", "")
        for question in formula.questions
    )
    for expression in formula.wrong:
        arithmetic.parse(expression, formula.symbols, formula.id)
    assert formula.expression not in formula.wrong and formula.valid


def test_ids_are_unique_over_facts_and_formulas():
    counts = Counter([fact.id for fact in FACTS] + list(FORMULAS))
    assert max(counts.values()) == 1


def simulate(netlist, name, folder):
    """The value that ngspice prints for `name` in batch mode."""
    path = folder / "check.cir"
    path.write_text(netlist)
    done = subprocess.run(["ngspice", "-b", str(path)], capture_output=True, text=True)
    found = re.search(rf"^{re.escape(name)}\s*=\s*([-+.\deE]+)", done.stdout, re.M)
    assert found, done.stdout + done.stderr
    return float(found.group(1))


MODEL = ".model n nmos level=1 vto=0.5 kp={kp}u lambda=0 gamma=0"
NETLISTS = {
    # A source at the formula's own cutoff: the loss must be 1 / sqrt(2), printed as result / (sqrt(2) * loss).
    "rc-lowpass-cutoff-value": (
        """rc
v1 in 0 ac 1
r1 in out {R}k
c1 out 0 {C}n
.control
let f = {result}e6/6.283185307179586
ac lin 1 $&f $&f
let got = {result}*vm(out)*sqrt(2)
print got
.endc
.end
""",
        "got",
        1,
    ),
    "mos-square-law": (
        """square law
vd d 0 1.8
vg g 0 {gate}
m1 d g 0 0 n w=1u l=1u
"""
        + MODEL.format(kp="{k}")
        + """
.control
op
let got = -i(vd)
print got
.endc
.end
""",
        "got",
        1e6,
    ),
    "mirror-output-current": (
        """mirror
i1 0 g {Iref}u
m1 g g 0 0 n w=1u l=1u
m2 d g 0 0 n w={K}u l=1u
vd d 0 1.5
"""
        + MODEL.format(kp="200")
        + """
.control
op
let got = -i(vd)
print got
.endc
.end
""",
        "got",
        1e6,
    ),
    "cs-gain": (
        """common source: overdrive 0.2 V, so that kp * 0.2 = gm
vdd vdd 0 20
vg g 0 dc 0.7 ac 1
rd vdd d {RD}k
m1 d g 0 0 n w=1m l=1u
.model n nmos level=1 vto=0.5 kp={kp} lambda=0 gamma=0
.control
ac lin 1 1 1
let got = vm(d)
print got
.endc
.end
""",
        "got",
        1,
    ),
    "inverting-output-amplitude": (
        """inverting amplifier
v1 in 0 ac {Vin}m
r1 in x {R1}k
r2 x out {R2}k
e1 out 0 0 x 1e9
.control
ac lin 1 1k 1k
let got = vm(out)
print got
.endc
.end
""",
        "got",
        1e3,
    ),
}


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
@pytest.mark.parametrize("name", NETLISTS)
def test_a_formula_agrees_with_ngspice(name, tmp_path):
    formula, (netlist, output, scale) = FORMULAS[name], NETLISTS[name]
    tree = arithmetic.parse(formula.expression, formula.symbols, name)
    for values in arithmetic.combinations(formula, 42)[:3]:
        result = float(arithmetic.evaluate(tree, values))
        numbers = {symbol: float(value) for symbol, value in values.items()} | {"result": result}
        numbers["gate"] = 0.5 + numbers.get("Vov", 0)
        numbers["kp"] = numbers.get("gm", 0) * 1e-3 / 0.2 / 1000
        shown = re.sub(r"\{(\w+)\}", lambda match, numbers=numbers: f"{numbers[match.group(1)]:.9g}", netlist)
        assert simulate(shown, output, tmp_path) * scale == pytest.approx(result, rel=1e-3)
