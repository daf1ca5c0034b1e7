"""What a book states reaches rows: quantities of every field, under any form of heading, no loss in silence."""

import json
import re
from contextlib import contextmanager

import pytest

from data_builders.analogseeker import builder
from data_builders.analogseeker.agent_plan import title_of
from data_builders.analogseeker.coverage import describe_coverage, measure_quantities
from data_builders.analogseeker.extractive import mine_facts, topic
from data_builders.analogseeker.spec import Spec
from data_builders.core.headings import name_subjects
from data_builders.core.ledger import Ledger
from data_builders.core.patterns import BOOK
from data_builders.core.quantities import find_quantities, scale_wrong
from data_builders.core.schema import Node
from data_builders.core.sentences import examine
from recipes.base.jsonl import write_jsonl
from recipes.base.places import ROOT

pytestmark = pytest.mark.slow

PLANTED = """The clamping force of the bench vise is 450 N at full handle torque.
The safety valve of the boiler opens at 6 bar in normal service.
The flywheel of the press has a mass of 85 kg including its hub.
The main spindle turns at 1450 rpm when the belt is on the large pulley.
The gearbox oil is changed after 4000 hours of operation.
The coolant tank of the lathe holds 60 litres when it is full.
The furnace is held at 1123 K during the whole annealing.
The cutting fluid contains 5 % of emulsified oil by volume.
The vacuum chamber is pumped down to 12 Pa before the coating starts.
The guide rail is 2400 mm long and is ground on both faces.
The drive motor draws 11 kW from the mains under full load.
The control cabinet is supplied with 24 V from a separate transformer.
The preload of the ball screw is 1200 N in the delivered state.
The hydraulic pump delivers a pressure of 210 bar to the clamping unit.
The counterweight of the crane has a mass of 3,200 kg in total.
The fan of the cooler runs at 2900 rpm on the fast stage.
The filter cartridge lasts 1500 hours in a clean workshop.
The fuel tank of the generator takes 220 litres of diesel.
The quench bath must stay below 323 K for hard steel.
The humidity of the store is kept at 45 % throughout the year.
The blower raises the duct pressure by 350 Pa above ambient.
The gap between the rolls is set to 15 mm for thin sheet.
The spindle motor is rated at 37 kW for continuous duty.
The solenoid valve needs 48 V to pull its armature home.
The return spring pushes with 75 N against the brake lever.
The air receiver is tested at 16 bar by the inspector.
The chuck of the turret lathe weighs 42 kg without its jaws.
The grinding wheel may run at 3600 rpm and never faster.
The annealing of one batch takes 18 hours from start to end.
The hydraulic reservoir contains 95 litres of mineral oil.
The liquid nitrogen dewar keeps the samples at 77 K for days.
The efficiency of the worm gear is 62 % under nominal load.
The dust extraction works with a suction of 900 Pa at the hood.
The thread of the lead screw has a pitch of 6 mm.
The hardening oven consumes 54 kW while it heats up.
The emergency circuit works with 12 V and has its own battery.
The door of the cabin closes with 110 N of force.
The accumulator is filled with nitrogen to 90 bar before use.
The mandrel of the bending machine has a mass of 17 kg.
The centrifuge reaches 8000 rpm after the second ramp.
The belt of the conveyor is renewed every 9000 hours.
The wash station uses 35 litres for each basket of parts.
The cold plate is regulated to 288 K by the chiller.
The scrap rate of the stamping line is 3 % in the average week.
The clean room has an overpressure of 25 Pa towards the corridor.
The bore of the cylinder measures 125 mm across the piston.
The induction coil delivers 90 kW into the workpiece.
The sensor bus operates at 36 V over a shielded cable.
The ejector presses with 640 N on the finished part.
The compressed air line carries 8 bar to every machine."""
FACTS = PLANTED.split("\n")
TITLES = ("Clamping", "Pressure", "Drives", "Furnaces", "Fluids", "Safety", "Handling", "Upkeep")
HEADINGS = {
    "atx": ("# {}", "## {}"),
    "setext": ("{}\n========", "{}\n--------"),
    "bold": ("**{}**", "**{}**"),
    "tight": ("#{}", "##{}"),
    "none": ("", ""),
    "chapters": ("# Chapter 1", "## Chapter 1.{number}"),
}
TEXTBOOK = ROOT / ".." / "shared" / "data" / "analog_textbook"
SMALL = {"knowledge": 2, "calculation": 0, "transfer": 0}


def write_book(folder, form, sections=8):
    """The facts as paragraphs of three sentences, under headings of one form."""
    top, below = HEADINGS[form]
    parts = [top.format("Manual")]
    for number, title in enumerate(TITLES[:sections]):
        own = [fact for place, fact in enumerate(FACTS) if place * sections // len(FACTS) == number]
        parts.append(below.format(title, number=number + 1))
        parts += [" ".join(own[start : start + 3]) for start in range(0, len(own), 3)]
    folder.mkdir()
    (folder / "manual.md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return folder


class Bar:
    def advance(self, n=1, note=None):
        pass


@contextmanager
def bar(title, total, unit):
    yield Bar()


def build(folder, out, **settings):
    """(rows of all files, card, what was said) of a build by rules."""
    said = []
    out.mkdir()
    spec = Spec.model_validate({"corpus": str(folder), "tests": SMALL} | settings)
    builder.build(spec, folder, out, 0, bar, said.append)
    files = [(out / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines() for stem in ("sft", "rl", "test")]
    rows = [json.loads(line) for file in files for line in file]
    return rows, json.loads((out / "card.json").read_text(encoding="utf-8")), said


def asked_facts(rows):
    """The planted facts whose quantity is the answer of a row."""
    answers = " ".join(turn["content"] for row in rows for turn in row.get("completion", ()))
    answers += " ".join(row.get("reply", "") for row in rows)
    shown = {fact: re.search(r"[\d,]+ \S+", fact)[0].rstrip(".") for fact in FACTS}
    return [fact for fact, value in shown.items() if f"<answer>{value}</answer>" in answers and fact in answers]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The build of the book with ATX headings."""
    folder = tmp_path_factory.mktemp("plain")
    return build(write_book(folder / "book", "atx"), folder / "out")


def test_at_least_forty_five_of_fifty_facts_in_twelve_units_reach_a_row(plain):
    rows, card, said = plain
    found = asked_facts(rows)
    assert len(found) >= 45, set(FACTS) - set(found)
    assert {re.search(r"[\d,]+ (\S+?)\.?(?: |$)", fact)[1] for fact in found} == {
        *("N", "bar", "kg", "rpm", "hours", "litres", "K", "%", "Pa", "mm", "kW", "V")
    }
    coverage = card["coverage"]
    assert coverage["reached"] >= 45 and coverage["found"] == coverage["reached"] + sum(coverage["left_out"].values())
    assert any(line.startswith(f"coverage: {coverage['reached']} of {coverage['found']} facts") for line in said)
    assert card["ledger"]["facts"]["kept"] >= 45


def test_fifty_facts_under_one_heading_are_not_capped(tmp_path):
    rows, _, _ = build(write_book(tmp_path / "book", "atx", sections=1), tmp_path / "out")
    assert len(asked_facts(rows)) >= 45


@pytest.mark.parametrize("form", [form for form in HEADINGS if form != "atx"])
def test_every_form_of_heading_gives_as_many_rows(form, plain, tmp_path):
    rows, _, _ = build(write_book(tmp_path / form, form), tmp_path / "out")
    assert abs(len(rows) - len(plain[0])) <= 0.1 * len(plain[0])
    assert len(asked_facts(rows)) >= 45


def test_a_cap_and_a_sentence_that_leans_on_others_are_counted_with_their_reasons(tmp_path):
    folder = write_book(tmp_path / "book", "atx", sections=1)
    with (folder / "manual.md").open("a", encoding="utf-8") as stream:
        stream.write("\nThis is why it needs 17 bar here.\n\n## Short\n\nIt is 3 bar.\n")
    _, card, said = build(folder, tmp_path / "out", facts_per_node=20)
    reasons = card["ledger"]["facts"]["reasons"]
    assert card["ledger"]["facts"]["kept"] == 20
    assert reasons["more than data.facts_per_node = 20 of one node"] == 30
    assert reasons["sentence leans on its neighbours or on a place in the book"] == 1
    assert card["coverage"]["left_out"]["in a section that is too short"] == 1
    assert card["coverage"]["reached"] == 20 and any("30 more than data.facts_per_node" in line for line in said)


def test_a_planted_fact_that_no_row_shows_is_missing_in_the_coverage(tmp_path):
    _, card, _ = build(write_book(tmp_path / "book", "atx"), tmp_path / "out", sft_rows=10, rl_rows=0)
    assert card["coverage"]["reached"] <= 12 and card["coverage"]["left_out"]["more than asked for"] >= 35


def test_of_a_models_rows_the_quantities_of_their_section_count(tmp_path):
    shown = {"prompt": [{"role": "user", "content": "How strong?"}], "node_id": "a", "answer": "450 N"}
    for name, rows in (("sft", []), ("rl", []), ("test", [shown])):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    texts = {"a": "It clamps with 450 N at 6 bar.", "b": "The press needs 450 N.", "c": "It is 3 kg."}
    nodes = [
        Node(name, "book", "f", "", ("T",), text, 9, "s", ("short",) * (name == "c")) for name, text in texts.items()
    ]
    coverage = measure_quantities(tmp_path, nodes)
    assert coverage["left_out"] == {"in no row of its section": 2, "in a section that is too short": 1}
    assert (coverage["found"], coverage["reached"], coverage["share"]) == (4, 1, 0.25)
    assert describe_coverage(coverage).startswith("coverage: 1 of 4 facts of the source reach a row; the others: 2 in")


@pytest.mark.parametrize(
    ("path", "subjects"),
    [
        (("Chapter 1",), ()),
        (("Chapter 12: Pumps", "Section 2.3"), ("Pumps",)),
        (("Part IV - Gears", "Appendix B. Tables of oils"), ("Gears", "Tables of oils")),
        (("Pumps", "See Figure 3"), ("Pumps",)),
        (("Chapters of steel", "Partial loads"), ("Chapters of steel", "Partial loads")),
    ],
)
def test_a_heading_says_its_subject_and_not_its_place(path, subjects):
    assert name_subjects(path) == subjects
    node = Node("n", "books/work_shop", "f", "", path, "", 0, "s")
    for text in (topic(node), topic(node, whole=True), title_of(node)):
        assert text and not BOOK.search(text)
    assert subjects or topic(node) == "work shop"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("between 5 and 10 bar, 3 kN·m, 20 °C and 5 m/s²", ["10 bar", "3 kN·m", "20 °C", "5 m/s²"]),
        ("1,450 rpm at -40 °C and 2.5 µm", ["1,450 rpm", "-40 °C", "2.5 µm"]),
        (
            "12 kilometres in 9 minutes at 80 km/h with 7.5 litres",
            ["12 kilometres", "9 minutes", "80 km/h", "7.5 litres"],
        ),
        ("a 5T-OTA, 3 in a row, 7 layers, Table 3, x=4V", []),
        ("12 mol/l, 3.2 mg/l, 40 EUR, 16 GB, 100 lx", ["12 mol/l", "3.2 mg/l", "40 EUR", "16 GB", "100 lx"]),
    ],
)
def test_quantities_of_every_field_are_found_whole(text, found):
    assert [text[one.start : one.end] for one in find_quantities(text)] == found


@pytest.mark.parametrize("text", ["62 %", "99 %", "1,450 rpm", "-40 °C", "3200000 N", "0.05 mm", "7 bar"])
def test_wrong_quantities_are_three_others_of_the_same_unit(text):
    (stated,) = find_quantities(text)
    wrong = scale_wrong(stated)
    assert 3 <= len(set(wrong)) == len(wrong) and text not in wrong
    assert all(option.endswith(text[-1]) and find_quantities(option) for option in wrong)
    assert not text.endswith("%") or all(float(option.rstrip("% ")) <= 100 for option in wrong)


def node_of(text):
    return Node("n", "book", "f", "", ("Pumps",), text, 0, "s")


def test_two_quantities_of_a_sentence_are_asked_apart_and_an_item_needs_no_full_stop():
    ledger = Ledger()
    node = node_of(
        "The pump runs at 1450 rpm and delivers 6 bar to the press.\n- The tank below the pump holds 60 litres"
    )
    facts = mine_facts([node], {"n": ()}, 0, ledger, 100, 2)["n"].fact
    assert {"1450 rpm", "6 bar", "60 litres"} <= {fact.answer for fact in facts}
    assert [sentence.text for sentence, lack in examine(node) if lack is None][
        1
    ] == "The tank below the pump holds 60 litres."


def test_a_quantity_beside_too_many_numbers_is_counted_not_asked():
    ledger = Ledger()
    nodes = [
        node_of("The pumps of types 1200 and 3400 have always been run at 6 bar.\nThe clamp needs 450 N of force.")
    ]
    mine_facts(nodes, {"n": ()}, 0, ledger, 100, 2)
    assert ledger.totals()["facts"]["reasons"] == {"other numbers in the sentence": 1}


@pytest.mark.skipif(not TEXTBOOK.is_dir(), reason="the textbook is not at ../shared/data/analog_textbook")
def test_a_real_textbook_gives_no_fewer_rows_than_with_electrical_units_alone(tmp_path):
    rows, card, _ = build(TEXTBOOK, tmp_path / "out", tests={"knowledge": 100, "calculation": 0, "transfer": 20})
    assert (
        card["rows"]["sft"] >= 2037
        and card["rows"]["rl"] >= 709
        and len(rows) == 120 + sum(card["rows"][stem] for stem in ("sft", "rl"))
    )
    assert card["coverage"]["reached"] >= 280
