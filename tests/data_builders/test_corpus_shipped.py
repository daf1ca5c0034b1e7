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

UNITS = pint.UnitRegistry()
PURE = ("", "dB", "deg", "%", "bit", "V/V", "A/A")  # plain numbers to the formulas


@pytest.fixture(scope="module")
def corpus():
    return read_corpus(SHIPPED, 30, 10000, Ledger())


@pytest.fixture(scope="module")
def facts(corpus):
    return [fact for entry in corpus.facts.values() for fact in entry.fact]


@pytest.fixture(scope="module")
def formulas(corpus):
    return {formula.id: formula for entry in corpus.facts.values() for formula in entry.formula}


def test_it_has_nodes_over_many_families_each_with_prose_facts_and_terms(corpus, facts, formulas):
    assert len(corpus.nodes) >= 48 and not any(node.flags for node in corpus.nodes)
    families = Counter(node.family for node in corpus.nodes)
    assert len(families) >= 12 and min(families.values()) >= 3
    for node in corpus.nodes:
        assert 80 <= len(node.text.split()) <= 400, node.path
        assert len(corpus.facts[node.node_id].fact) >= 3, node.path
        assert all(term.casefold() in node.text.casefold() for term in corpus.terms[node.node_id]), node.path
    assert len(facts) >= 240 and len(formulas) >= 48


def test_chapters_and_sidecars_come_in_pairs_with_numbered_sections(corpus):
    assert {path.stem for path in SHIPPED.glob("*.md")} == {path.stem for path in SHIPPED.glob("*.toml")}
    for node in corpus.nodes:
        assert re.fullmatch(r"\d+\.\d+", node.number) and node.book_id.startswith(
            f"{int(node.number.split('.')[0]):02d}_"
        )


def test_every_stance_is_taken_often_enough(facts):
    counts = Counter(fact.stance for fact in facts)
    assert set(counts) == set(STANCES) and min(counts.values()) >= 25, counts


def faults_of_fact(fact):
    """What is not well formed in a fact, a few words each."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fact.id):
        yield "the id is not of small letters, digits and hyphens"
    if len(fact.questions) < 5:
        yield f"{len(fact.questions)} questions"
    yield from (f"asks twice: {question}" for question, count in Counter(fact.questions).items() if count > 1)
    for question in fact.questions:
        if not re.match(r"[A-Z]|[a-z]\w{1,2}\W", question) or question[-1] not in ".?":
            yield f"no sentence: {question}"
    if not 1 <= len(fact.answer.split()) <= 7 or fact.answer.endswith("."):
        yield f"the answer is not one to seven words without a full stop: {fact.answer}"
    for option in fact.wrong:
        if len(option.split()) > 9 or option.endswith("."):
            yield f"the option is not at most nine words without a full stop: {option}"
    if len(fact.why.split()) > 18 or not fact.why.endswith("."):
        yield f"the reason is no sentence of at most eighteen words: {fact.why}"


def test_every_fact_is_well_formed(facts):
    assert [f"{fact.id}: {fault}" for fact in facts for fault in faults_of_fact(fact)] == []


def test_a_fact_that_is_not_well_formed_is_named_with_all_its_faults(facts):
    questions = {"questions": ["What?", "What?", "no"]}
    rest = {"id": "Not_so", "answer": "It is.", "why": "so", "wrong": ["No."]}
    broken = facts[0].model_copy(update=questions | rest)
    assert list(faults_of_fact(facts[0])) == [] and [fault.split(":")[0] for fault in faults_of_fact(broken)] == [
        "the id is not of small letters, digits and hyphens",
        "3 questions",
        "asks twice",
        "no sentence",
        "the answer is not one to seven words without a full stop",
        "the option is not at most nine words without a full stop",
        "the reason is no sentence of at most eighteen words",
    ]


def test_questions_are_unique_in_the_whole_corpus(facts):
    counts = Counter(question for fact in facts for question in fact.questions)
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


def faults_of_values(formula):
    """What is wrong with the numbers of a formula: in its working units, and as a question with options."""
    tree = arithmetic.parse(formula.expression, formula.symbols, formula.id)
    combinations = arithmetic.combinations(formula, 42)
    if len(combinations) < 30:
        yield f"{len(combinations)} combinations of clean values"
    for values in combinations[:3]:
        quantities = {
            given.symbol: UNITS.Quantity(float(values[given.symbol]), as_unit(given.unit)) for given in formula.given
        }
        right = arithmetic.evaluate(tree, values)
        try:
            result = UNITS.Quantity(with_units(tree, quantities)).to(as_unit(formula.unit)).magnitude
        except pint.DimensionalityError as error:
            yield f"units do not fit: {error}"
            continue
        if result != pytest.approx(float(right), rel=1e-9):
            yield f"gives {float(right):g}, with units {result:g}, at {values}"
        if (options := len(distractors(formula, values, right))) != 3:
            yield f"{options} wrong options at {values}"
    if not 1 <= arithmetic.operations(tree) <= 4:
        yield f"{arithmetic.operations(tree)} operations"


def faults_of_formula(formula):
    """What is not well formed in a formula, a few words each."""
    if len(formula.questions) < 4:
        yield f"{len(formula.questions)} questions"
    yield from (f"asks twice: {question}" for question, count in Counter(formula.questions).items() if count > 1)
    for question in formula.questions:
        if question.count("{givens}") != 1 or "{" in question.replace("{givens}", ""):
            yield f"does not hold {{givens}} once and nothing else in braces: {question}"
    for expression in formula.wrong:
        arithmetic.parse(expression, formula.symbols, formula.id)
    if formula.expression in formula.wrong:
        yield "the right expression is among the wrong ones"
    if not formula.valid:
        yield "it does not say where it is valid"


@pytest.mark.parametrize("faults_of", [faults_of_formula, faults_of_values])
def test_every_formula_is_well_formed_and_right_in_its_working_units(formulas, faults_of):
    assert [f"{name}: {fault}" for name, formula in formulas.items() for fault in faults_of(formula)] == []


def test_a_wrong_formula_is_named_with_all_its_faults(formulas):
    formula = formulas["cs-gain"]
    broken = {"questions": ["{givens} {more}", "none"], "wrong": [formula.expression], "valid": ""}
    assert [fault.split(":")[0] for fault in faults_of_formula(formula.model_copy(update=broken))] == [
        "2 questions",
        "does not hold {givens} once and nothing else in braces",
        "does not hold {givens} once and nothing else in braces",
        "the right expression is among the wrong ones",
        "it does not say where it is valid",
    ]
    for unit, fault in (("V", "units do not fit"), ("uS", "with units")):
        given = [one.model_copy(update={"unit": unit}) if one.symbol == "gm" else one for one in formula.given]
        found = list(faults_of_values(formula.model_copy(update={"given": given})))
        assert len(found) == 3 and all(fault in each for each in found)


def test_ids_are_unique_over_facts_and_formulas(facts, formulas):
    counts = Counter([fact.id for fact in facts] + list(formulas))
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
def test_a_formula_agrees_with_ngspice(name, formulas, tmp_path):
    formula, (netlist, output, scale) = formulas[name], NETLISTS[name]
    tree = arithmetic.parse(formula.expression, formula.symbols, name)
    for values in arithmetic.combinations(formula, 42)[:3]:
        result = float(arithmetic.evaluate(tree, values))
        numbers = {symbol: float(value) for symbol, value in values.items()} | {"result": result}
        numbers["gate"] = 0.5 + numbers.get("Vov", 0)
        numbers["kp"] = numbers.get("gm", 0) * 1e-3 / 0.2 / 1000
        shown = re.sub(r"\{(\w+)\}", lambda match, numbers=numbers: f"{numbers[match.group(1)]:.9g}", netlist)
        assert simulate(shown, output, tmp_path) * scale == pytest.approx(result, rel=1e-3)
