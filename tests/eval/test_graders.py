"""What counts as right: every form an answer may take, every form it may not, and bounded time on any reply."""

import json
import random
import time

import pint
import pytest

from eval.graders import grade, is_readable
from eval.graders.reply import MAX_CHARS, extract_answer, format_score
from recipes.base.places import ROOT

OPTIONS = ["A larger current", "the drain voltage", "the same gate-source voltage", "no feedback"]


def choice(answer="C", options=OPTIONS):
    return {"id": "c", "grader": "choice", "answer": answer, "options": options, "unit": None, "tolerance": None}


def numeric(answer, unit, tolerance=0.01):
    return {"id": "n", "grader": "numeric", "answer": answer, "options": None, "unit": unit, "tolerance": tolerance}


def text(answer, **more):
    return {"id": "t", "grader": "text", "answer": answer, "options": None, "unit": None, "tolerance": None, **more}


def reply(answer, thinking="because", solution="So it is."):
    return f"<think>{thinking}</think>\n{solution}\n<answer>{answer}</answer>"


def each(listed):
    """The items of a listing, written as "first | second | third"."""
    return listed.split(" | ")


ROWS = [
    choice(),
    numeric("60 uA", "uA"),
    numeric("0.25", ""),
    numeric("25", None),
    numeric("-40 dB", "dB"),
    numeric("20 V/V", "V/V"),
    text("the same gate-source voltage"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["answer"])
def test_gold_is_right_and_nothing_is_wrong(row):
    assert grade(row, reply(row["answer"])) == 1.0
    for nothing in ("", " \n", reply(""), "<answer>", "</answer>", "<answer></answer>", "<think>"):
        assert grade(row, nothing) == 0.0
        assert not is_readable(row, nothing)


@pytest.mark.parametrize(
    "block",
    each(
        "C |  c  | C) | (C) | [C] | C. | **C** | **C)** | `C` | $C$ | \\boxed{C} | Option C | The answer is C. | "
        "C) the same gate-source voltage | c. The same gate-source voltage. | the same gate-source voltage | "
        "The Same  gate-source voltage. | **C) the same gate-source voltage** | C) they share the gate voltage"
    ),
)
def test_choice_accepts_the_letter_in_the_block(block):
    assert grade(choice(), reply(block)) == 1.0


@pytest.mark.parametrize(
    "block",
    each(
        "A | D | A and C | A, C | A/C | A C | C or D | ABCD | CC | A larger current | A larger voltage | E | "
        "none | 3 | ? | C) no feedback | C) the same D) none | B) the same gate-source voltage | not C | "
        "Correct | \u0421"
    ),
)
def test_choice_refuses_another_letter_several_letters_or_none(block):
    assert grade(choice(), reply(block)) == 0.0


@pytest.mark.parametrize(
    "bare",
    each(
        "C | (C) | **C** | The current is copied.\nC | The answer is C. | "
        "the correct answer is (C) because of it | **Answer:** C | Answer: C | Final answer is: C | "
        "The correct option is C | So \\boxed{C} | So it is **C)**. | "
        "<think>maybe the answer is A</think>\nThe answer is C. | reasoning</think> The answer is C"
    ),
)
def test_choice_without_a_block_takes_the_letter_stated_as_final_answer(bare):
    assert grade(choice(), bare) == 1.0


@pytest.mark.parametrize(
    "bare",
    each(
        "A Current mirror copies. | The answer is A. No, the answer is C. | **A** is wrong, **C** is right | "
        "I see C here. | Comparing C with D shows it. | The answer is A larger current | the answer is not C | "
        "<think>the answer is C | <think>the answer is C</think> | <answer>C | C</answer> | "
        "<answer>A</answer> the answer is C | <answer>A</answer><answer>C</answer> | answer is CD | "
        "the answer is E"
    ),
)
def test_choice_without_a_clear_letter_is_unparsed_and_wrong(bare):
    assert grade(choice(), bare) == 0.0


PLANTS = ["an animal", "plant", "a rock", "the sea"]


@pytest.mark.parametrize(
    "bare",
    each(
        "B) plant | B. Plant. | (B) plant | **B) plant** | Grass grows.\nB) plant | B) plant\nBecause it grows. | "
        "Option B is correct. | (B) is the right answer. | B is correct | So choice B is the best option. | "
        "The answer is plant. | **The answer is: plant** | The correct answer is B) plant. | plant | Plant. | "
        "An animal moves, a rock does not grow. The answer is plant."
    ),
)
def test_a_choice_may_be_named_by_its_label_and_its_words(bare):
    row = choice("B", PLANTS)
    assert grade(row, bare) == 1.0 and grade(row | {"answer": "A"}, bare) == 0.0


@pytest.mark.parametrize(
    "bare",
    each(
        "A) an animal\nB) plant\nC) a rock\nD) the sea | A) plant | B) a rock | B) is wrong | B is not correct. | "
        "The answer is not plant. | The answer is a plant or a rock. | plant, rock | Is it a plant? | "
        "plant\nor a rock | B is correct. C is correct. | The answer is plant. The answer is the sea. | "
        "B) plant\nC) a rock | The answer is plant.\nThe answer is C."
    ),
)
def test_a_list_of_options_or_other_words_name_none(bare):
    assert grade(choice("B", PLANTS), bare) == 0.0


@pytest.mark.parametrize("letter", "ABCD")
@pytest.mark.parametrize("bare", ["", "I do not know.", "Give me a hint", "a", "It depends on the bias.", reply("?")])
def test_no_letter_is_a_default(letter, bare):
    assert grade(choice(letter), bare) == 0.0
    assert not is_readable(choice(letter), bare)


CLOSED = {
    "yes": (
        "The answer is yes. | **Yes** | <answer>Yes, it does</answer> | <answer>yes</answer> | Answer: yes | "
        "\\boxed{yes} | We saw effects.\nYes | Final answer: Yes, because no difference was seen. | "
        "<answer>Yes it does</answer>"
    ),
    "no": "No, there is no difference. | So: no.\n<answer>no</answer> | It shows it. So the answer is: **no**.",
    "maybe": "Maybe. | <answer>Maybe: the arms differ</answer> | The conclusion is maybe",
}
UNDECIDED = each(
    "yes or no | <answer>yes or no</answer> | <answer>yes/no</answer> | <answer>yes, no</answer> | yes\nno | "
    "<answer>yes, but maybe</answer> | <answer>yes no maybe</answer> | The answer is yes or no. | Yes, maybe. | "
    "The answer is yes. The answer is no. | <answer>no evidence</answer> | <answer>I have no idea</answer> | not yes | "
    "No difference. | The answer is not clear | <answer>maybe yes</answer> | <answer>yes</answer><answer>no</answer> | "
    "<answer>either yes or no</answer> | <answer>unknown</answer> | **Yes** **No** | <answer>n</answer> | "
    "Is it yes, no or maybe?"
)


@pytest.mark.parametrize("gold", CLOSED)
def test_a_closed_question_takes_the_word_that_is_stated(gold):
    row = text(gold) | {"options": list(CLOSED)}
    for stated in each(CLOSED[gold]):
        assert grade(row, stated) == 1.0, stated
        assert all(grade(row | {"answer": other}, stated) == 0.0 for other in CLOSED if other != gold), stated
    assert grade(text("true") | {"options": ["true", "false"]}, "The statement is true.") == 1.0


@pytest.mark.parametrize("stated", UNDECIDED)
def test_a_closed_question_is_not_answered_by_hedging_or_by_another_use_of_the_word(stated):
    for gold in CLOSED:
        row = text(gold) | {"options": list(CLOSED)}
        assert grade(row, stated) == 0.0 and not is_readable(row, stated)


def test_a_closed_question_without_its_answer_among_the_options_is_malformed():
    with pytest.raises(ValueError, match="one of its options"):
        grade(text("perhaps") | {"options": list(CLOSED)}, "yes")


def test_blocks_that_agree_are_one_answer():
    assert grade(choice(), "<answer>C</answer> so <answer>(C)</answer>") == 1.0
    assert grade(numeric("5 V", "V"), "<answer>5 V</answer><answer>5 V</answer>") == 1.0
    assert grade(numeric("5 V", "V"), "<answer>5 V</answer><answer>6 V</answer>") == 0.0
    assert extract_answer("<think><answer>5 V</answer></think><answer> 6 V </answer>") == "6 V"


@pytest.mark.parametrize(
    ("gold", "unit", "stated"),
    [
        (
            "60 uA",
            "uA",
            each(
                "60 uA | 60uA | 60 \u00b5A | 60 \u03bcA | 0.06 mA | 6e-5 A | 60e-6 A | 6*10^-5 A | 6 x 10^-5 A | "
                "6 × 10⁻⁵ A | 6 \\times 10^{-5}\\,\\text{A} | $60\\,\\mu\\text{A}$ | 60 \\mu A | 60.4 uA | "
                "Iout = 60 uA | Iout = 20 * 3 = 60 uA | 60 microamps | 60 microamperes | **60 uA** | "
                "about 60 uA. | 60 uA (0.06 mA) | +60 uA | The output current is 60 uA."
            ),
        ),
        ("10 mA", "mA", ["0.01 A", "10 mA", "10000 uA", "10,000 uA", ".01 A", "1e-2 A", "10 milliamps"]),
        (
            "4.7 kOhm",
            "kOhm",
            each(
                "4.7 k | 4.7k | 4700 Ohm | 4700 Ω | 4.7 k\u2126 | 4.7 kohms | 4.7 kilohms | 4.7\\,k\\Omega | "
                "0.0047 MOhm | 4.7 V/mA | 4,700 ohms"
            ),
        ),
        ("20 V/V", "V/V", ["20 V/V", "20", "20.0", "2000%", "20 times", "20 mV/mV"]),
        ("-40 dB", "dB", ["-40 dB", "\u221240 dB", "- 40 dB", "-40dB", "-40 decibels", "-4e1 dB"]),
        ("25 %", "%", ["25%", "25 percent", "0.25 V/V", r"25\%"]),
        ("60", "", ["60", "60.0", "6e1", "= 60", "60 apples", "60."]),
        ("60 deg", "deg", ["60 degrees", "60\u00b0", r"60^\circ", "1.0472 rad"]),
        (
            "2 uA/V^2",
            "uA/V^2",
            ["2 uA/V^2", "2e-6 A/V\u00b2", "0.002 mA/V^2", "2 \u00b5A / V\u00b2", "2 uA per V^2", "2 uA/(V*V)"],
        ),
        ("5 nV/rtHz", "nV/rtHz", ["5 nV/rtHz", "5 nV/\u221aHz", "5 nV/sqrt(Hz)", r"5 nV/\sqrt{Hz}", "5000 pV/Hz^0.5"]),
        ("3 MHz", "MHz", ["3 MHz", "3e6 Hz", "3000 kHz", "0.003 GHz", "3 Mhz", "3000000 1/s"]),
        ("10^6 Hz", "Hz", ["1 MHz", "10^6 Hz", "10\u2076 Hz"]),
        ("0.05 1/V", "1/V", ["0.05 1/V", "0.05 /V", "0.05 V^-1", "50 1/kV"]),
        ("2 mV/K", "mV/K", ["2 mV/K", "2 mV/\u00b0C", "2 mV/degC"]),
        ("12 bit", "bit", ["12 bits", "12 bit"]),
        ("3 LSB", "LSB", ["3 LSB"]),
        ("0 V", "V", ["0 V", "0 mV", "-0 V"]),
    ],
)
def test_numbers_are_compared_as_physical_quantities(gold, unit, stated):
    row = numeric(gold, unit)
    assert [s for s in stated if grade(row, reply(s)) != 1.0] == []


@pytest.mark.parametrize(
    ("gold", "unit", "stated"),
    [
        (
            "60 uA",
            "uA",
            each(
                "60 | 60 mA | 60 A | 60 nA | 60 uV | -60 uA | - 60 uA | 61 uA | 59 uA | 600 uA | 6 uA | 60 u | "
                "60 uA or 70 uA | 60 70 uA | 60 uA, 0.07 mA | 1 2 60 uA | sixty uA | 60-70 uA | 60 +/- 10 uA | "
                "uA | 60e uA | 60_0 uA | 60 uA = 70 uA | 60 uA = | nan uA | inf uA | NaN | 1e999 uA | "
                "-1e999 uA | 60e-99999999999999 uA | 0x3C uA | 60.0.0 uA | 6 0 uA | 60 is the answer | 60 UA | "
                "1/0 uA | 60 dB | 60 uA/V | 6*10 uA"
            ),
        ),
        ("20 V/V", "V/V", ["20 dB", "26 dB", "20 V", "20%", "21"]),
        ("20 dB", "dB", ["10 V/V", "10", "20", "20 dBm", "20 V/V"]),
        ("25 %", "%", ["25", "0.25", "25 V/V"]),
        ("60", "", ["60 V", "60%", "60 dB", "1/60", "60/s", "2^60", "60 59"]),
        ("2", "", ["2^10", "1,2", "2,000", "2 3"]),
        ("1 Hz", "Hz", ["1 rad/s", "6.28 rad/s", "1"]),
        ("4.7 kOhm", "kOhm", ["4.7", "4.7 M", "4.7 m", "4.7 K/W", "4.7 S"]),
        ("3 LSB", "LSB", ["3", "3 MSB"]),
        ("0 V", "V", ["0", "0.001 V", "1e-30 V"]),
    ],
)
def test_another_number_unit_or_several_numbers_are_wrong(gold, unit, stated):
    row = numeric(gold, unit)
    assert [s for s in stated if grade(row, reply(s)) != 0.0] == []


UNITS = {
    **{
        "V": "V mV uV",
        "A": "A mA uA nA",
        "Ohm": "Ohm kOhm MOhm",
        "S": "S mS uS",
        "F": "F mF uF nF pF fF",
        "H": "H mH uH",
    },
    **{"Hz": "Hz kHz MHz GHz", "s": "s ms us ns", "W": "W mW uW", "J": "J nJ pJ", "C": "C", "K": "K", "rad": "deg"},
    **{
        "V/s": "V/us",
        "rad/s": "rad/s Mrad/s",
        "A/V^2": "uA/V^2",
        "V/K": "mV/K",
        "V/Hz^0.5": "nV/Hz^0.5",
        "V*s": "uV*s",
    },
}


@pytest.mark.parametrize(
    ("gold", "unit", "stated"),
    [
        (
            "1000 Hz",
            "Hz",
            ["1 000 Hz", "1\u202f000 Hz", "1'000 Hz", "1\u2019000 Hz", "1.000,0 Hz", r"1\,000 Hz", "1,000 Hz"],
        ),
        ("1234567.5 Hz", "Hz", ["1 234 567,5 Hz", "1 234 567.5 Hz", "1,234,567.5 Hz", "1.234.567,5 Hz"]),
        (
            "0.5 A",
            "A",
            ["0,5 A", "0,500 A", "1/2 A", "1 / 2 A", r"\frac{1}{2} A", r"$\dfrac{1}{2}\,\text{A}$", "\u00bd A"],
        ),
        ("2.5 A", "A", ["2,5 A", "5/2 A", "2 1/2 A", "2\u00bd A", "2,50 A"]),
        ("1.25 V", "V", ["1,25 V", "1 1/4 V", "1250 mV"]),
        ("-2.5 A", "A", ["-2 1/2 A", "-5/2 A", "\u22122,5 A"]),
        (
            "6 rad/s",
            "rad/s",
            ["6 rad s^-1", "6 rad\u00b7s\u207b\u00b9", "6 rad s\u207b\u00b9", "6 rad/s", "6 rad per s"],
        ),
        ("3 W/m^2", "W/m^2", ["3 W m^-2", "3 W m\u207b\u00b2"]),
    ],
)
def test_numbers_and_units_are_read_as_people_write_them(gold, unit, stated):
    assert [s for s in stated if grade(numeric(gold, unit), reply(s)) != 1.0] == []


@pytest.mark.parametrize(
    ("gold", "unit", "stated"),
    [
        ("0.5 A", "A", ["0.5 mA", "1/0 A", "1/2/1 A", "5 A", "1,2 A", "1 2 A", "0/5 A"]),
        ("2 A", "A", ["2 1/2 A", "2,5 A", "2 000 A", "2.000,5 A", "1/2 A"]),
        ("6 rad/s", "rad/s", ["6 rad", "6 rad s", "6 rad s^-2", "6 s^-1", "6 rad in s^-1"]),
    ],
)
def test_another_number_is_not_read_into_such_a_form(gold, unit, stated):
    assert [s for s in stated if grade(numeric(gold, unit), reply(s)) != 0.0] == []


def test_a_count_is_right_with_whatever_unit_stands_behind_it():
    row = numeric("18", None, 1e-6)
    right = each(
        "18 | 18 meters | 18 km | 18 kg | 18 grams | 18 seconds | 18% | 18 percent | 18 degrees | 18 V | $18 | "
        "18 dollars | 18 feet | 18 apples | 3 * 6 = 18 m | 18.0 m/s | 18 million | 1.5 dozen | 36/2 | 1800 %"
    )
    assert [s for s in right if grade(row, reply(s)) != 1.0] == []
    wrong = each("18k | 18 k | 0.018 | 180 m | -18 m | 18 or 20 m | 1/18 | 18 in 2 days | 0.18 | m")
    assert [s for s in wrong if grade(row, reply(s)) != 0.0] == []
    for stated in ("18k", "18,000", "18 thousand", "18 000 m"):
        assert grade(numeric("18000", None, 1e-6), reply(stated)) == 1.0


@pytest.mark.parametrize("file", ["train", "test"])
def test_every_answer_of_gsm8k_counts_with_a_unit_behind_it(file):
    source = ROOT.parent / "shared" / "data" / "gsm8k" / f"{file}.jsonl"
    if not source.exists():
        pytest.skip("GSM8K lies in no ../shared/data")
    golds = [json.loads(line)["answer"].split("####")[1].strip() for line in source.read_text("utf-8").splitlines()]
    for gold in golds:
        row = numeric(gold.replace(",", ""), None, 1e-6)
        assert all(
            grade(row, reply(f"{gold}{unit}")) == 1.0 for unit in ("", " meters", " kg", " %", " hours", " V")
        ), gold


def test_unit_factors_agree_with_pint():
    registry = pint.UnitRegistry()

    def in_pint(unit):
        return unit.replace("C", "coulomb").replace("K", "kelvin").replace("Ohm", "ohm")

    for base, units in UNITS.items():
        for unit in units.split():
            magnitude = registry.Quantity(7, in_pint(unit)).to(in_pint(base)).magnitude
            row = numeric(f"7 {unit}", unit, None)
            assert grade(row, reply(f"{magnitude:.12e} {base}")) == 1.0, unit
            assert grade(row, reply(f"{magnitude * 1.001:.12e} {base}")) == 0.0, unit


def test_tolerance_is_relative_and_absent_means_exact():
    assert grade(numeric("100 V", "V", 0.05), reply("104.9 V")) == 1.0
    assert grade(numeric("100 V", "V", 0.05), reply("105.1 V")) == 0.0
    assert grade(numeric("0.3 V", "V", None), reply("300 mV")) == 1.0
    assert grade(numeric("0.3 V", "V", None), reply("300.001 mV")) == 0.0


def test_a_number_outside_the_answer_block_is_not_an_answer():
    assert grade(numeric("60 uA", "uA"), "The output current is 60 uA.") == 0.0
    assert grade(numeric("60 uA", "uA"), "<think>60 uA</think><answer>61 uA</answer>") == 0.0


@pytest.mark.parametrize(
    ("reply_text", "score"),
    [("c1ccccc1O", 1.0), ("c1cc ccc1O", 1.0), ("C1CCCCC1O", 0.0), ("c1ccccc1", 0.0), ("", 0.0)],
)
def test_a_notation_is_compared_letter_by_letter(reply_text, score):
    row = {"id": "x", "grader": "verbatim", "answer": "c1ccccc1O"}
    assert grade(row, f"<answer>{reply_text}</answer>") == score


def test_text_is_compared_without_case_articles_spacing_and_punctuation():
    row = text("the same gate-source voltage", aliases=["equal VGS"])
    for right in (
        "The same gate-source voltage.",
        "same gate source voltage",
        " SAME\n gate-source  voltage!",
        "equal vgs",
    ):
        assert grade(row, reply(right)) == 1.0
    for wrong in (
        "the same drain voltage",
        "the same gate-source voltage or none",
        "same",
        "gate-source",
        "not equal VGS",
    ):
        assert grade(row, reply(wrong)) == 0.0
    assert grade(text("-3 dB"), reply("3 dB")) == 0.0
    assert grade(text("a < b"), reply("a > b")) == 0.0
    assert grade(text("<"), reply(">")) == 0.0
    assert grade(text("a"), reply("the")) == 0.0
    assert grade(text("1.5"), reply("1.5.")) == 1.0
    assert grade(text("1.5"), reply("15")) == 0.0


@pytest.mark.parametrize(
    ("reply_text", "score"),
    [
        (reply("C"), 1.0),
        ("<think>a</think><answer>b</answer>", 1.0),
        ("  <think>a\nb</think>\n\ntext\n<answer>\nb\n</answer>\n", 1.0),
        ("", 0.0),
        ("<answer>b</answer>", 0.0),
        ("<think>a</think>", 0.0),
        ("<think></think><answer>b</answer>", 0.0),
        ("<think>a</think><answer> </answer>", 0.0),
        ("<answer>b</answer><think>a</think>", 0.0),
        ("<think>a<answer>b</answer></think>", 0.0),
        ("<think>a<answer></think>b</answer>", 0.0),
        ("x<think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer> so", 0.0),
        ("<think>a</think><think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer><answer>b</answer>", 0.0),
        ("<think>a</think></answer>b<answer>", 0.0),
        ("</think><think><answer>b</answer>", 0.0),
    ],
)
def test_format_wants_one_think_block_then_one_answer_block(reply_text, score):
    assert format_score(reply_text) == score


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**choice(), "grader": "vibes"}, "unknown grader 'vibes'"),
        (choice("E"), "letter of one of its options"),
        (choice(""), "letter of one of its options"),
        (choice("AB"), "letter of one of its options"),
        (choice("A", None), "letter of one of its options"),
        (numeric("60", "uA"), "one number with the row's unit"),
        (numeric("60 uA", ""), "one number with the row's unit"),
        (numeric("60 uA or 70 uA", "uA"), "one number with the row's unit"),
    ],
)
def test_a_malformed_row_is_an_error_that_names_it(row, message):
    with pytest.raises(ValueError, match=f"row {row['id']}: .*{message}"):
        grade(row, reply("60 uA"))


FRAGMENTS = each(
    "<think> | </think> | <answer> | </answer> | A | C | ) | ( | ** | \\boxed{ | } | = | 60 | uA |   | \n | "
    "1e9 | 10^ | - | + | , | . | / | * | ^ | \u00b5 | \u2126 | \x00 | \ud800 | \ufdfa | ٠ | the answer is  | % | "
    "k | { | $ | \\mu | nan | Infinity | _ | ⁵ | or | 0x | e | V | sqrt( | Hz | ½ | 三"
)


@pytest.mark.slow
def test_random_replies_never_fail_and_score_zero_or_one():
    rng = random.Random(7)
    for _ in range(3000):
        words = "".join(rng.choices(FRAGMENTS, k=rng.randrange(1, 40)))
        for row in ROWS:
            for candidate in (words, f"<answer>{words}</answer>"):
                assert grade(row, candidate) in (0.0, 1.0)
                assert format_score(candidate) in (0.0, 1.0)
                assert is_readable(row, candidate) >= grade(row, candidate)


def test_random_wrong_letters_and_numbers_never_pass():
    rng = random.Random(11)
    for _ in range(500):
        wrong = rng.choice("ABD")
        assert grade(choice(), reply(rng.choice(["{}", "({})", "**{}**", "{})", "option {}"]).format(wrong))) == 0.0
        value = rng.uniform(-1e3, 1e3)
        near = abs(value - 60) <= 0.6
        assert grade(numeric("60 uA", "uA"), reply(f"{value:.6f} uA")) == float(near)
        assert grade(numeric(f"{value:.3f} mV", "mV"), reply(f"{value / 1000:.6f} V")) == 1.0


PATHOLOGICAL = each(
    "<answer> | </answer> | <think> | <answer></answer> | 9 | 9,999, | 1e | 1e9 | 10^ | 60 uA  | 60 uA/V* | V/ | "
    "a | A) | ** | **A | \\boxed{ | the answer is  | answer | = |   | \n | ( | /( | sqrt( | \\mu  | \\ | -  | "
    "⁵ | \u00b5 | \ufdfa | 1.1. | + | 9_ | <answer>C</answer> | option  | C.  | .9 | 1 x 10"
)


@pytest.mark.parametrize("unit", PATHOLOGICAL, ids=repr)
def test_time_is_bounded_on_pathological_replies(unit):
    long = unit * (MAX_CHARS // len(unit))
    candidates = [long, f"<answer>{long}", f"<answer>{long}</answer>", f"<answer>{long}60 uA</answer>", long * 10]
    start = time.process_time()
    for row in ROWS:
        for candidate in candidates:
            grade(row, candidate)
    # 30 gradings of the longest text that is read take about 0.02 s; one quadratic step would take many seconds
    assert time.process_time() - start < 20


def test_the_end_of_a_long_reply_is_what_is_read():
    assert grade(choice(), "x" * 200_000 + reply("C")) == 1.0
    assert grade(choice(), reply("C") + "x" * 200_000) == 0.0


@pytest.mark.parametrize(
    "reply, score",
    [
        ("<answer>I</answer>", 1.0),
        ("<answer>A</answer>", 1.0),
        ("<answer>B</answer>", 0.0),
        ("<answer>Pt</answer>", 0.0),
    ],
)
def test_an_option_that_reads_like_a_letter_is_taken_as_text_unless_it_is_a_label_too(reply, score):
    row = {
        "id": "r",
        "grader": "choice",
        "answer": "A",
        "options": ["I", "Cs", "Pt", "B"],
        "unit": None,
        "tolerance": None,
    }
    assert grade(row, reply) == score
