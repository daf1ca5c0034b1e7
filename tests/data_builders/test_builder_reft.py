"""The reft data: generated and published problems, splits, chains and programs, determinism, the ledger."""

import io
import json
import re
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import pytest

from data_builders.core import arithmetic
from data_builders.core.ledger import Ledger
from data_builders.reft import builder, chains, generated, published
from data_builders.reft.checking import check_program, check_words, find_numbers
from data_builders.reft.fields import gold_number
from data_builders.reft.gsm8k import write_program
from data_builders.reft.mathqa import read_mathqa
from data_builders.reft.spec import Spec
from data_builders.reft.svamp import read_table_row
from data_builders.sources.reader import count_tokens
from eval.graders import grade, grade_all
from eval.graders.reply import format_score
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.base.places import ROOT
from recipes.base.rows import dump_row
from recipes.base.runtime import Runtime
from recipes.lab.arithmetic import work

pytestmark = pytest.mark.slow  # whole data sets are built

REAL = ROOT.parent / "shared" / "data"
REAL = next((p for p in (REAL, ROOT.parent.parent / "shared" / "data") if p.is_dir()), REAL)
QUIET = Runtime(io.StringIO())
FILES = ["card.json", "leaks.json", "ledger.jsonl", "nodes.jsonl", "rl.jsonl", "sft.jsonl", "test.jsonl"]
SMALL = {"sft_rows": 240, "rl_rows": 160, "tests": {"problems": 90, "transfer": 40}}


def build(out, seed=42, **changes):
    out.mkdir(parents=True, exist_ok=True)
    spec = Spec.model_validate(changes)
    metrics = builder.build(spec, builder.corpus_dir(spec), out, seed, QUIET.bar, QUIET.say)
    rows = {name: read_jsonl(out / f"{name}.jsonl") for name in ("sft", "rl", "test", "nodes", "ledger")}
    return metrics, rows, json.loads((out / "card.json").read_text())


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return build(tmp_path_factory.mktemp("shipped"))


def question(row):
    return row["prompt"][-1]["content"]


def values(row):
    return row["node_id"], tuple(sorted(row["lineage"]["values"].items()))


def test_the_shipped_problems_give_rows_of_the_promised_sizes(shipped):
    metrics, rows, card = shipped
    spec = Spec()
    assert (len(rows["sft"]), len(rows["rl"])) == (spec.sft_rows, spec.rl_rows) == (metrics["sft"], metrics["rl"])
    assert Counter(row["kind"] for row in rows["test"]) == {
        "problems": spec.tests.problems,
        "transfer": spec.tests.transfer,
    }
    assert len(card["families"]) >= 12 and len(card["held_out"]) >= 3 and card["leaks"]["passed"]
    assert "Limits" not in card["about"] and card["limits"].startswith("a generated problem")
    assert {row["node_id"] for row in rows["sft"] + rows["test"]} <= {node["node_id"] for node in rows["nodes"]}


def test_gold_scores_one_and_silence_nothing(shipped):
    for row in shipped[1]["test"] + shipped[1]["rl"]:
        assert (grade(row, row["reply"]), grade(row, ""), format_score(row["reply"])) == (1.0, 0.0, 1.0), row


def test_operations_are_those_of_the_chain_and_follow_the_mix(shipped):
    _, rows, _ = shipped
    for row in rows["test"]:
        chain = row["reply"].partition("</think>")[0]
        assert row["difficulty"] == chain.count(" = ") - (row["lineage"]["chain"] == "line"), row["reply"]
        line = chain.partition(" = ")[2].partition(" = ")[0]
        signs = sum((chain if row["lineage"]["chain"] != "line" else line).count(f" {sign} ") for sign in "+-*/")
        assert signs == row["difficulty"]
    mix = Spec().mix
    for kind, size, levels in (("problems", 300, (1, 2, 3, 4)), ("transfer", 200, (2, 3, 4))):
        found = Counter(row["difficulty"] for row in rows["test"] if row["kind"] == kind)
        parts = {level: getattr(mix, generated.LEVELS[level]) for level in levels}
        for level in (1, 2, 3, 4):
            assert abs(found[level] - parts.get(level, 0) * size / sum(parts.values())) <= 1
    found = Counter(row["lineage"]["difficulty"] for row in rows["sft"])
    assert abs(found[4] - mix.four * len(rows["sft"])) <= 1


def test_every_family_has_problems_of_one_to_four_operations():
    found = defaultdict(set)
    for problem in generated.read_problems(builder.SHIPPED):
        if not problem.transfer:
            found[problem.family].add(problem.difficulty)
        assert len(problem.wordings) == len(set(problem.wordings)) >= (2 if problem.transfer else 4)
    assert set(map(frozenset, found.values())) == {frozenset({1, 2, 3, 4})}


def test_the_chain_is_the_one_that_the_base_writes_and_every_number_is_whole(shipped):
    spec = Spec()
    for problem in generated.read_problems(builder.SHIPPED):
        for combination in generated.combinations(problem, 3, spec.largest, 1)[:3]:
            worked = generated.solve(problem, combination, 0, 1, ("line",))
            steps = work(problem.expression, combination)
            assert worked.thinking == " = ".join([problem.result, *steps[1:]])
            assert all(0 < int(number) <= spec.largest for number in re.findall(r"[\d.]+", worked.thinking))
            assert worked.answer == steps[-1]
    assert max(len(row["prompt"][0]["content"].split()) for row in shipped[1]["test"]) <= 60


def test_values_of_the_test_occur_in_no_training_row_and_some_wordings_neither(shipped):
    _, rows, _ = shipped
    trained = rows["sft"] + rows["rl"]
    problems = [row for row in rows["test"] if row["kind"] == "problems"]
    assert {values(row) for row in trained}.isdisjoint({values(row) for row in rows["test"]})
    assert {question(row) for row in trained}.isdisjoint({question(row) for row in rows["test"]})
    wordings = {(row["node_id"], row["lineage"]["wording"]) for row in trained}
    new = [row for row in problems if not row["lineage"]["seen_wording"]]
    assert len(problems) / 3 < len(new) < 2 * len(problems) / 3
    assert wordings.isdisjoint({(row["node_id"], row["lineage"]["wording"]) for row in new})
    assert {row["family"] for row in problems} <= {row["family"] for row in trained}


def test_transfer_families_are_in_no_training_row(shipped):
    _, rows, card = shipped
    held = {row["family"] for row in rows["test"] if row["kind"] == "transfer"}
    assert held == set(card["held_out"]) and held.isdisjoint({row["family"] for row in rows["sft"] + rows["rl"]})


def test_at_least_forty_families_are_held_out_and_none_has_a_trained_formula(shipped):
    problems = generated.read_problems(builder.SHIPPED)
    taught = {chains.find_shape(problem.tree) for problem in problems if not problem.transfer}
    held = [problem for problem in problems if problem.transfer]
    assert len({problem.family for problem in held}) >= 40
    assert [problem.id for problem in held if chains.find_shape(problem.tree) in taught] == []
    tested = Counter(row["node_id"] for row in shipped[1]["test"] if row["kind"] == "transfer")
    assert len(tested) >= 40 and max(tested.values()) <= 8


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("a * b + c", "x + y * z", True),
        ("a - b - c", "x - (y + z)", True),
        ("a / b / c", "x / (y * z)", True),
        ("2 * (a + b)", "(x + y) * 2", True),
        ("a - b + c", "x + y - z", True),
        ("a * b + c", "a * b - c", False),
        ("2 * (a + b)", "c * (a + b)", False),
        ("(a + b) / c", "a + b / c", False),
    ],
)
def test_a_formula_is_known_again_under_other_names_and_in_another_order(first, second, same):
    shapes = [chains.find_shape(arithmetic.parse(text, list("abcxyz"), "test")) for text in (first, second)]
    assert (shapes[0] == shapes[1]) is same


def test_a_held_out_problem_with_a_trained_formula_is_a_fault(tmp_path):
    for name in (generated.FILE, generated.HELD_OUT):
        (tmp_path / name).write_text((builder.SHIPPED / name).read_text(encoding="utf-8"), encoding="utf-8")
    text = (tmp_path / generated.HELD_OUT).read_text(encoding="utf-8")
    (tmp_path / generated.HELD_OUT).write_text(text.replace("floors * racks * boxes", "floors * racks + boxes"))
    with pytest.raises(RecipeError, match=r"shelves-1: floors \* racks \+ boxes is the formula of"):
        generated.read_problems(tmp_path)


def test_chains_are_written_in_several_ways_to_the_same_answer(shipped, tmp_path):
    found = Counter(row["lineage"]["chain"] for row in shipped[1]["sft"])
    assert set(found) == set(chains.FORMS) and min(found.values()) > 0.15 * len(shipped[1]["sft"])
    tree = arithmetic.parse("a * b + c * d", list("abcd"), "test")
    values = {name: Fraction(number) for name, number in zip("abcd", (3, 4, 5, 6), strict=True)}
    assert {form: chains.write_chain(form, "cost", tree, values) for form in chains.FORMS} == {
        "line": "cost = 3 * 4 + 5 * 6 = 12 + 5 * 6 = 12 + 30 = 42",
        "steps": "First 3 * 4 = 12. Then 5 * 6 = 30. Next 12 + 30 = 42.",
        "backward": "First 5 * 6 = 30. Then 3 * 4 = 12. Next 12 + 30 = 42.",
        "table": "3 * 4 = 12\n5 * 6 = 30\n12 + 30 = 42",
    }
    _, rows, _ = build(tmp_path, forms="line", **SMALL)
    assert {row["lineage"]["chain"] for row in rows["sft"]} == {"line"}


def test_solutions_count_what_can_be_counted():
    said = [chains.state_answer(result, "4") for result in ("weeks", "people", "money", "cost")]
    assert said == [
        "The number of weeks is 4.",
        "The number of people is 4.",
        "The amount of money is 4.",
        "The cost is 4.",
    ]


QUESTION = "A shop sells 3 boxes of 12 pens for $4.50 each, 20% off, twice a week. How much is that?"


@pytest.mark.parametrize(
    ("chain", "answer", "fault"),
    [
        ("3 boxes * 12 pens each = 36 pens. The answer is 36.", "36", None),
        ("First 3 x 12 = 36. Then 36 * 2 = 72 in all.", "72", None),
        ("3*12=$36, and 36*80%=28.8", "28.8", None),
        ("30 - 8 = 22. So it is 36.", "36", "the number 30 comes from nowhere"),
        ("3 * 12 = 35. 35 + 1 = 36.", "36", "a sum is wrong"),
        ("3 * 12 = 36. The answer is 40.", "41", "ends on another number"),
        ("It must be 36.", "36", "no sum in the chain"),
        ("29 + 7 = 36", "36", "the number 29 comes from nowhere"),
    ],
)
def test_a_chain_in_words_is_checked_beyond_its_last_number(chain, answer, fault):
    assert check_words(QUESTION, chain, answer) == fault


@pytest.mark.parametrize(
    ("program", "answer", "fault"),
    [
        ("boxes = 3\npens = boxes * 12\nprint(pens)", "36", None),
        ("print(3 * 12 * (1 - 20 / 100))", "28.8", None),
        ("print(36)", "36", "the number 36 comes from nowhere"),
        ("a = 3\nprint(a * 11 + 3)", "36", "the number 11 comes from nowhere"),
        ("print(3 * 12)", "40", "ends on another number"),
        ("import os\nprint(3 * 12)", "36", "the program is more than arithmetic"),
        ("print(pens)", "36", "the program cannot be worked out"),
        ("print(open('x'))", "36", "the program cannot be worked out"),
        ("a = 3", "3", "ends on another number"),
    ],
)
def test_a_program_is_checked_beyond_what_it_prints(program, answer, fault):
    assert check_program(QUESTION, program, answer) == fault


def test_the_numbers_of_a_question_are_those_in_digits_in_words_and_of_its_units():
    found = find_numbers("Twenty-five men work 1,200 hours at 5% for 1 1/2 years, a third of 400 000 EUR.")
    assert {25, 1200, 60, 5, Fraction(1, 20), Fraction(3, 2), 12, Fraction(1, 3), 400000} <= found
    assert not {7, 33, 4} & found


def test_a_teachers_chains_are_taught_where_they_hold(tmp_path):
    source = write_gsm8k(tmp_path / "in")
    asked = GSM8K[2]["question"]
    told = ["3 bags * 4 = 12, then 12 + 5 = 17.", "First 4 * 3 = 12. Then 12 + 5 = 17.", "9 + 8 = 17", "It is 17."]
    (tmp_path / "chains.jsonl").write_text("".join(json.dumps({"question": asked, "chain": c}) + "\n" for c in told))
    _, rows, card = build(tmp_path / "out", source=str(source), teacher_chains=str(tmp_path / "chains.jsonl"))
    taught = [row["thinking"] for row in rows["sft"] if row["question"] == asked]
    assert sorted(taught) == sorted(told[:2]) and [row["question"] for row in rows["rl"]].count(asked) == 1
    assert card["ledger"]["teacher"]["reasons"] == {"the number comes from nowhere": 1, "no sum in the chain": 1}
    with pytest.raises(RecipeError, match="The teacher's chains are not there"):
        build(tmp_path / "none", source=str(source), teacher_chains="./nowhere.jsonl")


def test_a_training_chain_that_ends_elsewhere_or_sums_wrongly_is_left_out_and_a_test_item_stays(tmp_path):
    (tmp_path / "in").mkdir()
    rows = [
        {"question": "What are 2 and 2?", "answer": "2+2=<<2+2=4>>4\n#### 4"},
        {"question": "What are 3 and 3?", "answer": "3+3=<<3+3=6>>6\n#### 7"},
        {"question": "What are 5 and 5?", "answer": "5+5=<<5+5=12>>12\n#### 12"},
    ]
    for name, given in (("train", rows), ("test", [row | {"question": f"Now: {row['question']}"} for row in rows])):
        (tmp_path / "in" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    _, found, card = build(tmp_path / "out", source=str(tmp_path / "in"))
    assert [row["answer"] for row in found["sft"]] == ["4"] and len(found["test"]) == 3
    assert card["ledger"]["sound"]["reasons"] == {
        "the chain ends on another number": 1,
        "a calculator mark is wrong": 1,
    }
    _, found, _ = build(tmp_path / "program", source=str(tmp_path / "in"), chain="program")
    assert len(found["test"]) == 3 and set(grade_all(found["test"], [row["reply"] for row in found["test"]])) == {1.0}


def test_a_question_longer_than_the_papers_limit_is_not_taught(tmp_path):
    source = write_gsm8k(tmp_path / "in")
    long = {"question": "A word " * 400 + "and 2 more?", "answer": "2+2=<<2+2=4>>4\n#### 4"}
    with (source / "train.jsonl").open("a") as file:
        file.write("\n" + json.dumps(long) + "\n")
    _, _, card = build(tmp_path / "out", source=str(source))
    assert card["ledger"]["sound"]["reasons"] == {"the question is longer than data.prompt_tokens": 1}


HEAD = "Question,Numbers,Equation,Answer,group_nums"
TRAINED = (
    (
        '"bryan has number0 books in each of his number1 bookshelves , how many books does he have ?"',
        "56.0 9.0",
        "504.0",
    ),
    ("you deposit number0 dollars at number1 % . how much do you earn in number2 years ?", "70.0 3.0 2.5", "5.25"),
    ("a pipe of number0 m is cut by number1 . what is left ?", "0.16666666 2", "1.0"),
)
EQUATIONS = ("* number0 number1", "* * * number0 number1 number2 0.01", "- number0 number1")
TESTED = (
    (
        "julia did n't play with number0 kids on monday . she played with number1 on tuesday . how many is that ?",
        "12 7",
    ),
    ("helen played with number0 kids . how many more than number1 is that ?", "18 10"),
)
SPLIT = {
    "train.csv": "\n".join(
        [
            f"{HEAD},Body,Ques",
            *(f'{q},{n},{e},{a},"[1]",x,y' for (q, n, a), e in zip(TRAINED, EQUATIONS, strict=True)),
        ]
    ),
    "dev.csv": "\n".join(
        [
            f"{HEAD},Type,Variation Type,Annotator,Alternate,Body,Ques",
            f'{TESTED[0][0]},{TESTED[0][1]},+ number0 number1,19.0,"[1]",Addition,00,A,0,julia plays,how many ?',
            f'{TESTED[1][0]},{TESTED[1][1]},- number0 number1,8.0,"[1]",Subtraction,11,A,0,helen plays,how many ?',
        ]
    ),
}


def test_svamps_published_split_trains_on_mawps_and_asdiv_and_tests_on_svamp(tmp_path):
    (tmp_path / "in").mkdir()
    for name, text in SPLIT.items():
        (tmp_path / "in" / name).write_text(text, encoding="utf-8")
    _, found, card = build(tmp_path / "out", source=str(tmp_path / "in"))
    assert {row["family"] for row in found["sft"]} == {"mawps"} and len(found["sft"]) == 2
    assert [row["kind"] for row in found["test"]] == ["svamp", "svamp"]
    assert card["ledger"]["rows"]["reasons"] == {"the equation does not give the stated answer": 1}
    asked = {row["question"]: row["thinking"] for row in found["sft"] + found["test"]}
    assert asked["Bryan has 56 books in each of his 9 bookshelves, how many books does he have?"] == "56 * 9 = 504"
    assert asked["You deposit 70 dollars at 3%. How much do you earn in 2.5 years?"].endswith("= 5.25")
    assert "Julia didn't play with 12 kids on monday. She played with 7 on tuesday. How many is that?" in asked


def test_the_whole_of_svamps_file_is_the_test_beside_its_training_table(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.csv").write_text(SPLIT["train.csv"], encoding="utf-8")
    (tmp_path / "in" / "SVAMP.json").write_text(json.dumps(list(svamp_rows())))
    _, found, _ = build(tmp_path / "out", source=str(tmp_path / "in"))
    assert len(found["test"]) == 60 and {row["family"] for row in found["sft"]} == {"mawps"}


def test_an_equation_in_prefix_form_that_does_not_end_is_named():
    row = {"Question": "number0 ?", "Numbers": "3", "Equation": "+ number0", "Answer": "3"}
    assert read_table_row(row) == (None, "the equation cannot be read")


MATHQA = [
    {
        "Problem": "a train runs 60 km in 2 hours . what is its speed in km / hr ?",
        "Rationale": '"explanation : speed = 60 / 2 = 30 km / hr . answer : c"',
        "options": "a ) 10 , b ) 20 , c ) 30 km / hr , d ) 1,200 , e ) none of these",
        "correct": "c",
        "annotated_formula": "divide(60, 2)",
        "linear_formula": "divide(n0,n1)|",
        "category": "physics",
    },
    {
        "Problem": "what is 50 % of 90 increased by 10 ?",
        "Rationale": "50 % of 90 = 45 , 45 + 10 = 55 . so the answer is option b",
        "options": "a ) rs . 50 , b ) rs . 55 , c ) 45 , d ) 54 , e ) 56",
        "correct": "b",
        "annotated_formula": "x",
        "linear_formula": "divide(n0,const_100)|multiply(n1,#0)|add(n2,#1)|",
        "category": "gain",
    },
    {
        "Problem": "which ratio is that ?",
        "Rationale": "it is 2 : 3 , so a",
        "options": "a ) 2 : 3 , b ) 3 : 2 , c ) 1 : 1 , d ) 4 , e ) 5",
        "correct": "a",
        "annotated_formula": "x",
        "linear_formula": "",
        "category": "other",
    },
]


def write_mathqa(folder):
    folder.mkdir()
    asked = {"Problem": "how fast is a car that needs 2 hours for 60 km ?", "linear_formula": "divide(n1,n0)|"}
    other = [MATHQA[0] | asked]
    for name, rows in (("train", MATHQA), ("test", other), ("dev", other), ("challenge_test", other)):
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def test_mathqa_asks_for_the_number_of_the_right_option(tmp_path):
    source = write_mathqa(tmp_path / "in")
    _, found, card = build(tmp_path / "out", source=str(source))
    assert {row["answer"] for row in found["sft"]} == {"30", "55"} and [row["kind"] for row in found["test"]] == [
        "mathqa"
    ]
    assert card["ledger"]["rows"]["reasons"] == {
        "the right option is not one number": 1,
        "of a development or challenge split": 2,
    }
    assert {row["thinking"] for row in found["sft"]} == {
        "speed = 60 / 2 = 30 km / hr",
        "50 % of 90 = 45 , 45 + 10 = 55",
    }
    _, found, _ = build(tmp_path / "program", source=str(source), chain="program")
    programs = {row["program"] for row in found["sft"]}
    assert "t0 = 50 / 100\nt1 = 90 * t0\nt2 = 10 + t1\nprint(t2)" in programs and len(programs) == 2
    assert set(grade_all(found["test"], [row["reply"] for row in found["test"]])) == {1.0}


def test_mathqa_as_a_choice_of_five(tmp_path):
    _, found, _ = build(tmp_path / "out", source=str(write_mathqa(tmp_path / "in")), mathqa="choice")
    (item,) = found["test"]
    assert item["grader"] == "choice" and item["answer"] == "C" and len(item["options"]) == 5
    assert grade(item, item["reply"]) == 1.0 and grade(item, "The answer is C.") == 1.0 and len(found["sft"]) == 3


def test_a_formula_of_mathqa_that_misses_the_option_makes_no_program():
    row = MATHQA[0] | {"linear_formula": "multiply(n0,n1)|"}
    assert read_mathqa(row, "numeric")[0].program is None
    assert read_mathqa(row | {"correct": "f"}, "numeric") == (None, "the options are not five with one of them right")


def test_reinforcement_asks_the_same_questions_or_fresh_ones_as_said(shipped, tmp_path):
    _, rows, _ = shipped
    assert {question(row) for row in rows["rl"]} <= {question(row) for row in rows["sft"]}
    _, rows, _ = build(tmp_path, rl_prompts="fresh", **SMALL)
    assert len(rows["rl"]) == SMALL["rl_rows"]
    assert {values(row) for row in rows["rl"]}.isdisjoint({values(row) for row in rows["sft"]})


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 42), ("b", 42), ("c", 43)):
        build(tmp_path / name, seed, **SMALL)
    for name in FILES:
        first, second = ((tmp_path / folder / name).read_bytes() for folder in "ab")
        assert first == second, name
    assert (tmp_path / "a" / "sft.jsonl").read_bytes() != (tmp_path / "c" / "sft.jsonl").read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == FILES


def test_the_ledger_accounts_for_every_candidate(shipped):
    _, rows, card = shipped
    for step, total in card["ledger"].items():
        assert total["in"] == total["kept"] + total["dropped"]
        assert total["dropped"] == sum(row["count"] for row in rows["ledger"] if row["step"] == step)
    assert card["ledger"]["sft"]["kept"] == len(rows["sft"])
    assert card["ledger"]["problems"]["kept"] + card["ledger"]["transfer"]["kept"] == len(rows["test"])


def test_the_forecast_is_what_the_build_makes(shipped):
    metrics, _, _ = shipped
    expected = builder.forecast(Spec(), builder.SHIPPED)
    assert {name: expected[name] for name in ("sft", "rl", "test", "nodes")} == {
        name: metrics[name] for name in ("sft", "rl", "test", "nodes")
    }
    assert abs(expected["tokens"] - metrics["tokens"]) < 0.05 * metrics["tokens"]


def test_programs_print_the_gold_answer(tmp_path):
    _, rows, card = build(tmp_path, chain="program", **SMALL)
    graded = rows["test"] + rows["rl"]
    assert {row["grader"] for row in graded} == {"program"} and card["chain"] == "program"
    assert set(grade_all(graded, [row["reply"] for row in graded])) == {1.0}
    assert set(map(format_score, (row["reply"] for row in graded))) == {1.0}
    # the plan before the program is the formula, not the worked chain
    assert {row["reply"].partition("</think>")[0].count("=") for row in graded} == {1}


def test_too_many_test_items_are_an_error_that_says_what_to_ask_for():
    with pytest.raises(RecipeError, match="too few test items") as caught:
        builder.forecast(Spec.model_validate({"tests": {"transfer": 5000}}), builder.SHIPPED)
    assert "data.tests.transfer" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{count} {thing} at {price} EUR each", "{count} {thing} each"), "{price} stands 0 times"),
        (("{who} buys", "{somebody} buys"), "nothing to put for {somebody}"),
        (('expression = "count * price"', 'expression = "count * cost"'), "count * cost"),
        (('result = "cost"', 'outcome = "cost"'), "keys"),
    ],
)
def test_a_faulty_template_is_named(tmp_path, change, message):
    text = (builder.SHIPPED / generated.FILE).read_text(encoding="utf-8")
    (tmp_path / generated.FILE).write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        generated.read_problems(tmp_path)
    assert message in str(caught.value)


GSM8K = [
    {"question": "Tom has 1,000 nuts and 24 more. How many?", "answer": "1000+24=<<1000+24=1024>>1024\n#### 1,024"},
    {"question": "Half of 9 apples?", "answer": "9/2 = <<9/2=4.5>>4.5\nSo it is 4.5.\n#### 4.5"},
    {"question": "3 bags of 4, then 5 more?", "answer": "3*4=<<3*4=12>>12\n12+5=<<12+5=17>>17\n#### $17"},
    {"question": "No mark here?", "answer": "It is 3."},
    {"question": "Not a number?", "answer": "So it is.\n#### many"},
    {"question": "", "answer": "2\n#### 2"},
    {"question": "Tom has 1,000 nuts and 24 more.  How many?", "answer": "again\n#### 1024"},
    {"question": "A <answer>7</answer>?", "answer": "7\n#### 7"},
    {"other": 1},
]
LEAK = "A farmer who has 17 cows buys 25 more cows at the market in the spring and sells 9 of them. How many are left?"


def write_gsm8k(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in [*GSM8K, {"question": f"Now: {LEAK}", "answer": "33\n#### 33"}]]
    (folder / "train.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
    test = [{"question": LEAK, "answer": "<<17+25-9=33>>33\n#### 33"}]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    return folder


def test_every_unusable_row_of_gsm8k_stands_in_the_ledger_with_its_reason(tmp_path):
    _, rows, card = build(tmp_path / "out", source=str(write_gsm8k(tmp_path / "in")))
    assert card["ledger"]["rows"] == {
        "in": 12,
        "kept": 6,
        "dropped": 6,
        "reasons": {
            'the answer has no "####"': 1,
            "the stated answer is not a number": 1,
            "empty question or chain": 1,
            "think or answer tag inside a field": 1,
            "not a row of GSM8K, SVAMP or MathQA": 1,
            "line is not JSON": 1,
        },
    }
    assert card["ledger"]["records"]["reasons"] == {"exact duplicate": 1}
    assert card["ledger"]["decontaminate"]["reasons"] == {"13-gram overlap with a test item": 1}
    assert sorted(row["answer"] for row in rows["rl"]) == ["1024", "17", "4.5"]
    assert not any("<<" in row["completion"][0]["content"] for row in rows["sft"])
    assert [(row["kind"], row["answer"], row["difficulty"]) for row in rows["test"]] == [("gsm8k", "33", 1)]


def test_calculator_marks_become_a_program_that_uses_earlier_results():
    asked = "3 bags of 4, 20% of 50, then 5 more?"
    assert write_program(asked, [("3*4", "12"), ("12+5", "17")], "17") == "v1 = 3*4\nv2 = v1+5\nprint(v2)"
    assert write_program(asked, [("20%*50", "10"), ("050-10", "40")], "40").splitlines()[0] == "v1 = (20/100)*50"
    assert write_program(asked, [("3*4", "12")], "13") is None
    assert write_program(asked, [("3*y", "12")], "12") is None
    assert write_program(asked, [], "3") is None


def test_a_number_of_the_question_is_not_taken_for_an_earlier_result_of_the_same_value():
    steps = [("10/5", "2"), ("2*2", "4"), ("4+3", "7")]
    asked = "10 sweets for 5 children, 2 bags each, then 3 more?"
    assert write_program(asked, steps, "7") == "v1 = 10/5\nv2 = 2*2\nv3 = v2+3\nprint(v3)"


@pytest.mark.parametrize("steps", [[("3*4", "12"), ("12+17", "29")], [("29", "29")], [("58/2", "29")]])
def test_a_program_with_a_number_from_nowhere_is_not_taught(steps):
    assert write_program("3 bags of 4 nuts and some more?", steps, "29") is None


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        *((" 1,200 ", "1200"), ("$3.50", "3.5"), ("-7.", "-7"), ("51.0", "51"), (51.0, "51"), ("5%", "5")),
        *(("", None), (".", None), ("3/4", None), ("1e5", None), ("12 apples", None)),
    ],
)
def test_a_stated_answer_becomes_a_plain_decimal_or_nothing(stated, read):
    assert gold_number(stated) == read


def svamp_rows():
    for story in range(30):
        for ask, equation, answer in (
            ("How many are there?", f"( {story + 5}.0 + 2.0 )", story + 7.0),
            ("How many more?", f"( {story + 5}.0 - 2.0 )", story + 3.0),
        ):
            body = f"Jar {story} holds {story + 5} nuts and 2 stones"
            yield {"ID": "x", "Body": body, "Question": ask, "Equation": equation, "Answer": answer}


def test_svamps_own_file_is_divided_by_story(tmp_path):
    rows = [*svamp_rows(), next(svamp_rows()) | {"Answer": 99.0, "Question": "How many then?"}]
    (tmp_path / "SVAMP.json").write_text(json.dumps(rows))
    _, found, card = build(tmp_path / "out", source=str(tmp_path / "SVAMP.json"))
    assert card["ledger"]["rows"]["reasons"] == {"the equation does not give the stated answer": 1}
    trained, tested = ({row["node_id"] for row in found[name]} for name in ("sft", "test"))
    assert trained and tested and trained.isdisjoint(tested) and len(trained | tested) == 30
    reply = found["sft"][0]["completion"][0]["content"]
    assert re.fullmatch(r"<think>\d+ [+-] 2 = \d+</think>\nThe answer is \d+\.\n<answer>\d+</answer>", reply)
    assert question(found["sft"][0]).startswith("Jar ") and " stones. How many" in question(found["sft"][0])


def test_the_layouts_of_the_hub_are_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow

    def write(path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)

    rows = list(svamp_rows())
    rows = [row | {"Answer": f"{row['Answer']}", "question_concat": ""} for row in rows]
    write(tmp_path / "svamp" / "data" / "train-00000-of-00001-0f6b.parquet", rows[:40])
    write(tmp_path / "svamp" / "data" / "test-00000-of-00001-9a2c.parquet", rows[40:])
    _, found, _ = build(tmp_path / "a", source=str(tmp_path / "svamp"))
    assert (len(found["sft"]), len(found["test"])) == (40, 20)
    good = GSM8K[:3]
    for configuration in ("main", "socratic"):
        write(tmp_path / "gsm8k" / configuration / "train-00000-of-00001.parquet", good[:2])
        write(tmp_path / "gsm8k" / configuration / "test-00000-of-00001.parquet", good[2:])
    _, found, card = build(tmp_path / "b", source=str(tmp_path / "gsm8k"))
    assert (len(found["sft"]), len(found["test"]), card["ledger"]["rows"]["in"]) == (2, 1, 3)


def test_a_source_without_problems_is_an_error(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(RecipeError, match="gives no problems"):
        builder.forecast(Spec(source=str(tmp_path)), tmp_path)
    with pytest.raises(RecipeError, match="source is not there"):
        builder.corpus_dir(Spec(source="./nowhere/at/all"))


def real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"the real data set {name} is not here")
    return str(REAL / name)


@pytest.mark.parametrize("chain", ["natural", "program"])
def test_the_real_gsm8k(tmp_path, chain):
    ledger = Ledger()
    spec = Spec(source=real("gsm8k"), chain=chain, sft_rows=9999, rl_rows=9999)
    sft, _, tests = published.collect(spec, Path(spec.source), 42, ledger)
    total = ledger.totals()["rows"]
    assert total["in"] == total["kept"] == 7473 + 1319 and len(tests["gsm8k"]) == 1319
    assert len(sft) > (0.95 if chain == "natural" else 0.7) * 7473
    assert {w.id for w in sft}.isdisjoint({w.id for w in tests["gsm8k"]})
    assert all(arithmetic.text(Fraction(w.answer)) == w.answer and "<<" not in w.thinking for w in sft)
    if chain == "natural":
        assert max(count_tokens(w.thinking) for w in sft) < 700
    else:
        assert all(check_program(w.question, w.program, w.answer) is None for w in sft)
        rows = [dump_row(builder.graded_row(w, "gsm8k", "program", 1e-6)) for w in tests["gsm8k"]]
        assert set(grade_all(rows, [row["reply"] for row in rows])) == {1.0}


def test_the_real_svamp(tmp_path):
    _, rows, card = build(tmp_path, source=real("svamp"))
    total = card["ledger"]["rows"]
    assert total["in"] == 1000 and total["kept"] >= 990
    assert {row["node_id"] for row in rows["sft"]}.isdisjoint({row["node_id"] for row in rows["test"]})
    assert all(grade(row, row["reply"]) == 1.0 for row in rows["test"]) and len(rows["test"]) > 250
