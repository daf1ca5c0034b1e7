"""Graders class, label and close, and the measures of numbers: the reward table, tricks, the size of errors."""

import math
import statistics

import pytest

from eval.graders import error_of, grade, is_readable, read_answer
from eval.graders.classes import macro_f1, pair, recognised
from eval.graders.measures import score_numbers
from eval.graders.named import SYNONYMS
from tests.helpers.bounded import ends_within

LABELS = list(SYNONYMS)
EMPTY = {"id": "r", "unit": None, "tolerance": None, "options": LABELS, "level": None}
CLASS = EMPTY | {"grader": "class", "answer": "inner race fault", "reply": "<answer>inner race fault</answer>"}
LABEL = CLASS | {"grader": "label"}
BOTH = CLASS | {"answer": "single harmonic + ball fault"}
HERTZ = EMPTY | {"grader": "numeric", "answer": "120 Hz", "unit": "Hz", "tolerance": 0.05, "options": None}
CLOSE = HERTZ | {"grader": "close"}
SENTENCE = "The signal shows damage of the inner ring."
# Gold: inner race fault. The table of the shaped reward, to two decimals, and beside it what the test metric says.
TABLE = [
    ("inner race fault", 1.00, 1.0),
    ("Inner race fault.", 1.00, 1.0),
    (SENTENCE, 0.60, 1.0),
    ("inner race fault or outer race fault", 0.00, 0.0),
    ("ball fault", 0.00, 0.0),
    ("inner race falt", 0.19, 0.0),
    ("unknown", 0.00, 0.0),
    (" ".join(["inner race fault"] * 6), 0.40, 1.0),
    (", ".join(LABELS), 0.00, 0.0),
    ("", 0.00, 0.0),
]


def block(text):
    return f"<think>so</think>\nThe type is this.\n<answer>{text}</answer>"


@pytest.mark.parametrize(("reply", "reward", "right"), TABLE)
def test_the_reward_table(reply, reward, right):
    for shown in (reply, block(reply)) if reply else ("", block("")):
        assert round(grade(LABEL, shown), 2) == reward
        assert grade(CLASS, shown) == right


@pytest.mark.parametrize("label", LABELS)
def test_every_name_of_a_class_stands_for_it_alone(label):
    row = CLASS | {"answer": label}
    for name in (label, *SYNONYMS[label]):
        for text in (name, name.upper(), f"a {name}.", f"I am sure: {name}", name.replace(" ", "-")):
            assert read_answer(row, block(text)) == label, text
        assert not any(grade(CLASS | {"answer": other}, block(name)) for other in LABELS if other != label)


@pytest.mark.parametrize(
    "text",
    [
        *("AM and AM-FM", "FM AM", "AM, FM", "inner race fault / ball fault", "not an inner race fault"),
        *("no inner race fault", "it isn't an inner race fault", "race fault", "innerrace", "xinner race fault"),
        *("inner race faulty", "inner and outer race fault, outer race fault", "the class named in the prompt"),
        *("single harmonic + inner race fault", "inner race", "BPFI"),
    ],
)
def test_naming_something_else_or_more_is_wrong(text):
    assert grade(CLASS, block(text)) == 0.0
    assert grade(LABEL, block(text)) < 0.2


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        *(("outer race fault", f"inner{joint}outer race fault") for joint in (" or ", "/", ", ", " and ", ", or the ")),
        ("inner race fault", "damage of the inner race or the outer race"),
        ("inner race fault", "inner race fault, outer race or ball"),
        *((gold, "ball, inner race, outer race or gear fault") for gold in ("ball fault", "gear fault")),
        ("multi harmonic", "single or multi harmonic"),
        *((gold, "amplitude or frequency modulation") for gold in ("AM", "FM", "AM-FM")),
        *(
            (gold, "It is either a rolling element or an inner ring defect.")
            for gold in ("ball fault", "inner race fault")
        ),
        ("outer race fault", "not an inner or outer race fault"),
        ("outer race fault", "an outer race fault is not what it shows"),
        ("ball fault", "neither inner race nor ball fault"),
    ],
)
def test_a_list_that_says_the_common_word_once_names_every_class(gold, text):
    row = CLASS | {"answer": gold}
    assert grade(row, block(text)) == 0.0
    assert grade(row | {"grader": "label"}, block(text)) < 0.2


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        *(("healthy", text) for text in ("healthy, no fault", "Healthy (no defect)", "normal, without any damage")),
        ("healthy", "There is no ball fault, no gear fault and no race fault: healthy."),
        ("single harmonic", "The signal shows no sidebands, so it is a single harmonic."),
        ("inner race fault", "inner race fault, not an outer race fault"),
        ("inner race fault", "It isn't a gear fault but an inner race fault"),
        ("FM", "It is FM. Amplitude is constant, a single line swings."),
        ("ball fault", "ball fault, ball defect"),
    ],
)
def test_one_class_with_a_denial_of_something_else_beside_it_is_that_class(gold, text):
    assert read_answer(CLASS | {"answer": gold}, block(text)) == gold


def test_a_class_may_be_a_word_of_denial():
    row = CLASS | {"options": ["yes", "no", "maybe"], "answer": "no"}
    said = {"no": "no", "No.": "no", "yes": "yes", "no, it does not": "no", "yes or no": "yes + no", "not yes": None}
    assert {text: read_answer(row, block(text)) for text in said} == said
    row = CLASS | {"options": ["true", "false"], "answer": "false"}
    assert [read_answer(row, block(text)) for text in ("false", "not true", "true/false")] == [
        *("false", None, "true + false")
    ]


def test_of_a_superposition_exactly_its_classes_have_to_be_named_in_any_order():
    for text in ("single harmonic + ball fault", "ball fault + single harmonic", "A ball defect and a pure tone"):
        assert grade(BOTH, block(text)) == 1.0
    for text in ("single harmonic", "ball fault", "single harmonic, ball fault, chirp", ", ".join(LABELS)):
        assert grade(BOTH, block(text)) == grade(BOTH | {"grader": "label"}, block(text)) == 0.0
    assert grade(BOTH | {"grader": "label"}, block("single harmonic + ball fault")) == 1.0
    assert grade(BOTH | {"grader": "label"}, block("ball fault + single harmonic")) == 0.6


def test_classes_that_are_no_options_of_the_row_are_no_answers():
    row = CLASS | {"options": ["healthy", "inner race fault"]}
    assert not is_readable(row, block("chirp")) and is_readable(row, block("normal"))
    with pytest.raises(ValueError, match="one of its options"):
        grade(row | {"answer": "chirp"}, block("normal"))


@pytest.mark.parametrize("row", [CLASS, LABEL])
@pytest.mark.parametrize(
    "reply",
    [
        *("inner race fault " * 100_000, "x" * 1_000_000, block("inner " * 200_000), "not " * 250_000),
        *("a-b_" * 250_000, "+|" * 500_000, block("race fault" * 100_000), "I am " * 200_000),
    ],
)
def test_a_megabyte_is_read_in_bounded_time(row, reply):
    with ends_within(20):
        assert grade(row, reply) <= (0.4 if row is LABEL else 1.0)


def test_a_model_that_keeps_silent_has_no_accuracy_and_no_f1():
    pairs = [pair(CLASS | {"reply": block(label), "answer": label}, "") for label in LABELS]
    assert macro_f1(pairs) == recognised(pairs) == 0.0
    pairs = [pair(CLASS | {"reply": block(label), "answer": label}, block("chirp")) for label in LABELS]
    assert recognised(pairs) == 1.0 and macro_f1(pairs) == pytest.approx(2 / 13 / 12)


def test_closeness_falls_linearly_to_nothing_at_the_tolerance():
    for stated, worth in (("120 Hz", 1.0), ("123 Hz", 0.5), ("117 Hz", 0.5), ("0.123 kHz", 0.5), ("126 Hz", 0.0)):
        assert grade(CLOSE, block(stated)) == pytest.approx(worth, abs=1e-9)
    for stated in ("120", "120 m", "120 s", "", "a hundred and twenty", " ".join(f"{n} Hz" for n in range(100, 150))):
        assert grade(CLOSE, block(stated)) == 0.0
    assert grade(CLOSE, block("120 Hz or 123 Hz")) == pytest.approx(0.5)
    assert grade(CLOSE | {"answer": "0.5", "unit": None}, block("0.5")) == 1.0


def test_errors_are_bound_to_the_unit_and_the_worst_number_counts():
    assert error_of(HERTZ, block("132 Hz")) == pytest.approx(0.1)
    assert error_of(HERTZ, block("120 Hz and 240 Hz")) == pytest.approx(1.0)
    assert error_of(HERTZ, block("120")) == error_of(HERTZ, block("120 s")) == error_of(HERTZ, "") == math.inf


def test_one_wild_number_moves_the_median_by_one_rank_and_silence_is_counted():
    replies = [block(f"{120 + n} Hz") for n in range(9)]
    calm = [score_numbers(HERTZ, [reply])["error_median"] for reply in replies]
    wild = [score_numbers(HERTZ, [reply])["error_median"] for reply in [*replies[:-1], block("9e9 Hz")]]
    assert statistics.median(wild) == statistics.median(calm) and max(wild) == 1.0
    silent = score_numbers(HERTZ, [""])
    assert (silent["missing"], silent["error_mean"], silent["within_10"], silent["acc"]) == (1.0, 1.0, 0.0, 0.0)
    near = score_numbers(HERTZ, [block("127 Hz")])
    assert (near["missing"], near["within_5"], near["within_10"]) == (0.0, 0.0, 1.0)


def test_fifty_numbers_are_worth_no_more_than_none():
    many = block(", ".join(f"{n} Hz" for n in range(100, 150)))
    found = score_numbers(HERTZ, [many])
    assert found["acc"] == found["within_10"] == 0.0
