"""Gates, duplicates and the ledger: each gate finds its planted fault, and the sums are exact."""

from dataclasses import replace

import pytest

from data_builders.analogseeker.duplicates import without_duplicates
from data_builders.analogseeker.gates import GATES, TOO_LONG, Limits, first_failed
from data_builders.analogseeker.records import Qtsa
from data_builders.core.ledger import Ledger

OPEN = Qtsa(
    id="id",
    node_id="node",
    fact_id="fact",
    family="family",
    stance="concepts",
    kind="open",
    wording=0,
    draw=0,
    question="What flows in a wire?",
    thinking="Charge moves in a wire.",
    solution="So: a current.",
    answer="a current",
    options=None,
    unit=None,
    operations=0,
    split="sft",
    span=None,
    request="r",
    teacher="t",
    prompt_version=1,
)
MCQ = replace(
    OPEN,
    kind="mcq",
    answer="B",
    options=("heat", "a current", "light", "sound"),
    solution="So the right option is: a current.",
)
CALC = replace(
    OPEN,
    kind="calc",
    question="With I = 2 mA and R = 3 kOhm find V.",
    thinking="V = I * R = 2 * 3 = 6",
    solution="The voltage is 6 V.",
    answer="6 V",
    unit="V",
    operations=1,
)

FAULTS = [
    (replace(OPEN, thinking=" "), "empty field"),
    (replace(OPEN, question="What is </think> here?"), "think or answer tag inside a field"),
    (replace(OPEN, question="What is $x$ here?"), "garbled markup or math"),
    (replace(OPEN, question="What is the \\frac of it?"), "garbled markup or math"),
    (replace(OPEN, question="What does @fig-a say?"), "garbled markup or math"),
    (replace(OPEN, asked=("k",), question="What is \\frac{a}{b of it?"), "garbled markup or math"),
    (replace(OPEN, answer="the \rho"), "garbled markup or math"),
    (replace(OPEN, question="What is \beta of it?"), "garbled markup or math"),
    (replace(MCQ, options=("heat", "a current", "light", "{x}")), "garbled markup or math"),
    (
        replace(OPEN, question="What does see Figure 3 show?"),
        "refers to a figure, equation, table or other place in the book",
    ),
    (
        replace(OPEN, solution="It follows from equation (4.2)."),
        "refers to a figure, equation, table or other place in the book",
    ),
    (
        replace(OPEN, question="What does the text above say?"),
        "refers to a figure, equation, table or other place in the book",
    ),
    (
        replace(OPEN, question="What is shown in the figure?"),
        "refers to a figure, equation, table or other place in the book",
    ),
    (
        replace(OPEN, question="As in Table 2.1, what flows?"),
        "refers to a figure, equation, table or other place in the book",
    ),
    (replace(OPEN, stance="maths"), "not of the schema"),
    (replace(OPEN, answer=6), "not of the schema"),
    (replace(OPEN, question="According to the passage, what flows?"), "speaks of the text it was made from"),
    (replace(OPEN, solution="The author says that charge moves."), "speaks of the text it was made from"),
    (replace(OPEN, solution="As an AI I can only say: a current."), "speaks as an assistant, or refuses"),
    (replace(OPEN, answer="I cannot answer that."), "speaks as an assistant, or refuses"),
    (replace(OPEN, question="What flows?"), "question too short"),
    (replace(OPEN, answer="a current; a voltage"), "several answers in one"),
    (replace(MCQ, options=("heat", "a current", "light", "None of the above")), "several answers in one"),
    (replace(CALC, answer="6 mV"), "unit of the answer is not the unit asked for"),
    (replace(CALC, answer="6"), "unit of the answer is not the unit asked for"),
    (replace(CALC, solution="The voltage is 60 V."), "solution does not come to the answer"),
    (replace(OPEN, answer="word " * 40), TOO_LONG),
    (replace(OPEN, question="word " * 200), TOO_LONG),
    (replace(MCQ, options=("heat", "a current", "Heat", "sound")), "not four distinct options"),
    (replace(MCQ, options=("heat", "a current", "light")), "not four distinct options"),
    (replace(OPEN, options=("a", "b", "c", "d")), "not four distinct options"),
    (replace(MCQ, options=("b", "a current", "light", "sound")), "option reads like a letter"),
    (replace(MCQ, answer="E"), "not exactly one right option"),
    (replace(MCQ, answer="A"), "not exactly one right option"),
    (replace(CALC, answer="about six volts"), "calculated answer is not a number with a unit"),
    (replace(OPEN, question="Is it a current that flows in a wire?"), "answer stands in the question"),
]


@pytest.mark.parametrize(("record", "reason"), FAULTS)
def test_a_planted_fault_is_found_by_its_gate(record, reason):
    assert first_failed(record) == reason


def test_every_gate_has_a_planted_fault():
    assert {*(name for name, _ in GATES), TOO_LONG} == {reason for _, reason in FAULTS}


@pytest.mark.parametrize(
    "record",
    [
        OPEN,
        MCQ,
        CALC,
        replace(OPEN, question="Which drawing shows how a table of 16 sine values sets the figure of merit?"),
        replace(OPEN, question="With A = 1 + R2 / R1 and Pc = D*I**2*Ron, what doubles the loss?"),
        replace(CALC, answer="-2.5 uA/V^2", unit="uA/V^2", solution="The transconductance is -2.5 uA/V^2."),
        replace(CALC, answer="12", unit="", solution="The ratio is 12."),
    ],
)
def test_a_good_record_passes_every_gate(record):
    assert first_failed(record) is None


MODEL = replace(
    OPEN,
    asked=("key",),
    thinking="The document says $V_{GS}$, as in Figure 3; I am sorry.",
    question="Why is $g_m = \\frac{2I_D}{V_{OV}}$ larger here?",
    answer="a larger \\(I_D\\); the same V_{OV}",
)


def test_of_a_model_the_reasoning_is_not_gated_and_latex_is_no_fault():
    assert first_failed(MODEL) is None and first_failed(replace(MODEL, asked=())) == "garbled markup or math"


def test_a_reply_is_too_long_only_where_a_limit_says_so():
    long = replace(MODEL, thinking="word " * 4000)
    assert first_failed(long) is None and first_failed(long, Limits(reply=1000)) == TOO_LONG
    assert first_failed(replace(MODEL, question="word " * 200), Limits(question=0)) is None


def test_repeats_go_and_wordings_of_one_fact_stay():
    question = "Which quantity stays the same in both branches of the simple current mirror circuit"
    records = [
        replace(OPEN, id="1", question=question + "?"),
        replace(OPEN, id="2", question=question + "?"),
        replace(OPEN, id="3", question=question + " here?"),
        replace(OPEN, id="4", fact_id="other", question=question + " now?"),
        replace(OPEN, id="5", fact_id="other", question="What moves along a copper wire under a field?"),
        replace(OPEN, id="6", split="knowledge", question=question + "?"),
        replace(CALC, id="7"),
        replace(CALC, id="8", question="With I = 2 mA and R = 4 kOhm find V.", answer="8 V"),
    ]
    ledger = Ledger()
    kept, similarity = without_duplicates(records, ledger)
    assert [record.id for record in kept] == ["1", "3", "5", "6", "7", "8"]
    assert (similarity["threshold"], similarity["compared"], sum(similarity["bins"])) == (0.8, 5, 5)
    totals = ledger.totals()["records"]
    assert totals == {"in": 8, "kept": 6, "dropped": 2, "reasons": {"exact duplicate": 1, "near duplicate": 1}}


def test_records_of_a_model_are_compared_by_their_questions_whatever_the_answer():
    """A model words every answer and every wrong option anew."""
    question = "Which quantity stays the same in both branches of the simple current mirror circuit"
    records = [
        replace(OPEN, id="1", asked=("a",), question=question + "?"),
        replace(OPEN, id="2", asked=("b",), question=question + "? Explain.", answer="the drain currents are"),
        replace(MCQ, id="3", asked=("c",), question=question.upper() + " ?", options=("a", "b", "c", "d")),
        replace(OPEN, id="4", asked=("d",), question="What moves along a copper wire under a field?"),
    ]
    kept, similarity = without_duplicates(records, Ledger())
    assert [record.id for record in kept] == ["1", "4"]
    assert similarity["bins"][0] == 1 and sum(similarity["bins"]) == 3


def test_the_ledger_adds_up_and_names_each_drop():
    ledger = Ledger()
    ledger.keep("a", 3)
    ledger.drop("a", "too short", "x", "detail")
    ledger.drop("a", "too short", "y", count=2)
    ledger.drop("b", "odd", "z")
    assert ledger.totals() == {
        "a": {"in": 6, "kept": 3, "dropped": 3, "reasons": {"too short": 3}},
        "b": {"in": 1, "kept": 0, "dropped": 1, "reasons": {"odd": 1}},
    }
    assert ledger.rows[0] == {"step": "a", "reason": "too short", "source": "x", "detail": "detail", "count": 1}
